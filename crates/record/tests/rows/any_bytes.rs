//! Bytes that no kernel would send: every format takes whatever the views make of them, without a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use sockeye_record::{Encoder, Encoding, FORMATS, SocketRow};
use sockeye_wire::{AttrSet, InetDiag};

use crate::common::strategies::{Lengths, dump, socket};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn damaged_messages_are_refused_or_encoded(
        dump in dump(), socket in socket(Lengths::Any), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(), wanted in any::<u32>()
    ) {
        let mut payload = socket.payload();
        for (place, byte) in damage {
            let place = place.index(payload.len());
            payload[place] = byte;
        }
        let wanted = (0..31).filter(|bit| wanted >> bit & 1 != 0).fold(AttrSet::NONE, |set, bit| set.union(AttrSet::of(bit)));
        for end in [payload.len(), cut.index(payload.len())] {
            print(&dump.context(), &payload[..end], wanted);
            print(&dump.context(), &payload[..end], AttrSet::ALL);
        }
    }

    #[test]
    fn noise_behind_a_family_is_refused_or_encoded(dump in dump(), noise in vec(any::<u8>(), 72..600), ipv6: bool) {
        let mut payload = noise;
        payload[0] = if ipv6 { 10 } else { 2 };
        print(&dump.context(), &payload, AttrSet::ALL);
    }
}

fn print(dump: &sockeye_record::DumpContext<'_>, payload: &[u8], wanted: AttrSet) {
    let Ok(diag) = InetDiag::parse(payload, wanted) else { return };
    for (format, ..) in FORMATS {
        for humanize in [false, true] {
            let mut encoder =
                Encoder::new(&Encoding { format, columns: None, humanize: Some(humanize) });
            let mut out = Vec::new();
            encoder.begin_dump(dump);
            encoder.row(&SocketRow::new(&diag, 1, 2, 3), &mut out);
            assert!(!out.is_empty());
        }
    }
}
