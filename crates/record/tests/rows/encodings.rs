//! Encodings that write the same are equal: rows are encoded once for each distinct one.

use sockeye_record::{Encoding, FORMATS, Format};

use crate::common::{of_columns, plain};

#[test]
fn what_a_format_chooses_by_itself_equals_the_same_spelled_out() {
    for (format, name, _) in FORMATS {
        let spelled_out = |humanize| Encoding { humanize: Some(humanize), ..plain(format) };
        let own = matches!(format, Format::Csv | Format::Tsv | Format::Table);
        assert_eq!(plain(format), spelled_out(own), "{name}");
        assert_ne!(plain(format), spelled_out(!own), "{name}");
    }
}

#[test]
fn formats_and_columns_tell_encodings_apart() {
    assert_ne!(plain(Format::Csv), plain(Format::Tsv));
    assert_ne!(plain(Format::Csv), of_columns(Format::Csv, "hostname"));
    assert_ne!(
        of_columns(Format::Csv, "netns,hostname"),
        of_columns(Format::Csv, "hostname,netns")
    );
}
