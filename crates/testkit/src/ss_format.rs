//! How `ss` formats numbers: C's `%g`, timers and rates.

/// C's `%g`: six significant digits, no trailing zeros, an exponent below -4 and from 6 on.
pub fn c_g(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    // The exponent has to be that of the rounded value: 999999.5 prints as 1e+06.
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        without_trailing_zeros(&format!("{value:.decimals$}")).to_owned()
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.unsigned_abs())
    }
}

/// Microseconds in the milliseconds that `ss` prints (`%g` of a thousandth).
pub fn milliseconds(us: u64) -> String {
    c_g(float(us) / 1000.0)
}

/// `print_ms_timer` of ss.c: `11sec`, `2.865ms` (that is 2.865 s), `1min30sec`; nothing at all for 0.
pub fn timer(expires_ms: u64) -> String {
    let (mut seconds, mut milliseconds) = (expires_ms / 1000 % 60, expires_ms % 1000);
    let minutes = expires_ms / 60_000;
    let mut parts = Vec::new();
    if minutes > 0 {
        milliseconds = 0;
        parts.push(format!("{minutes}min"));
        if minutes > 9 {
            seconds = 0;
        }
    }
    if seconds > 0 {
        if seconds > 9 {
            milliseconds = 0;
        }
        parts.push(format!("{seconds}{}", if milliseconds > 0 { "." } else { "sec" }));
    }
    if milliseconds > 0 {
        parts.push(format!("{milliseconds:03}ms"));
    }
    parts.concat()
}

/// A rate in bits per second in each of the ways that a version of `ss` prints it.
///
/// First the one with `-n`, whole bits; then those without: `%.1fM` before iproute2 5.15, `%.3gM` since.
pub fn rates(bits_per_second: f64) -> [String; 3] {
    let one_decimal = match bits_per_second {
        rate if rate > 1e6 => format!("{:.1}Mbps", rate / 1e6),
        rate if rate > 1e3 => format!("{:.1}Kbps", rate / 1e3),
        rate => format!("{}bps", c_g(rate)),
    };
    let three_digits = match bits_per_second {
        rate if rate >= 1e12 => format!("{}Tbps", c_g3(rate / 1e12)),
        rate if rate >= 1e9 => format!("{}Gbps", c_g3(rate / 1e9)),
        rate if rate >= 1e6 => format!("{}Mbps", c_g3(rate / 1e6)),
        rate if rate >= 1e3 => format!("{}kbps", c_g3(rate / 1e3)),
        rate => format!("{}bps", c_g(rate)),
    };
    [format!("{bits_per_second:.0}bps"), one_decimal, three_digits]
}

/// The double that C converts an unsigned 64-bit number to.
#[expect(clippy::cast_precision_loss, reason = "ss loses the same bits in the same conversion")]
pub fn float(value: u64) -> f64 {
    value as f64
}

/// `%.3g` of a value from 1 to below 1000 (1e3 T is beyond any link).
fn c_g3(value: f64) -> String {
    let decimals = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    // 999.6 rounds to a fourth digit, which %.3g prints with an exponent.
    if text == "1000" { "1e+03".to_owned() } else { without_trailing_zeros(&text).to_owned() }
}

fn without_trailing_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_g_prints_what_printf_prints() {
        // Each expected text is printf "%g"'s of glibc.
        for (value, expected) in [
            (0.0, "0"),
            (0.083, "0.083"),
            (201.0, "201"),
            (739.0 / 256.0, "2.88672"),
            (0.0001, "0.0001"),
            (0.000_012_345_67, "1.23457e-05"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.23457e+06"),
            (999_999.5, "1e+06"),
            (4_294_967.295, "4.29497e+06"),
            (100.0, "100"),
        ] {
            assert_eq!(c_g(value), expected);
        }
    }

    #[test]
    fn a_timer_prints_in_the_units_of_ss() {
        for (expires_ms, expected) in [
            (0, ""),
            (204, "204ms"),
            (7, "007ms"),
            (2_865, "2.865ms"),
            (3_000, "3sec"),
            (11_750, "11sec"),
            (60_000, "1min"),
            (90_500, "1min30sec"),
            (659_000, "10min"),
        ] {
            assert_eq!(timer(expires_ms), expected);
        }
    }

    #[test]
    fn a_rate_is_known_in_all_three_ways_of_printing() {
        assert_eq!(rates(31_583_614_457.83), ["31583614458bps", "31583.6Mbps", "31.6Gbps"]);
        assert_eq!(rates(0.0), ["0bps", "0bps", "0bps"]);
        assert_eq!(rates(12_000.0), ["12000bps", "12.0Kbps", "12kbps"]);
    }
}
