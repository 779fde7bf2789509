//! The time of day, and how a time is written for people and in JSON. The one place of this crate that asks for it.

use jiff::Timestamp;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Now, as names of files hold it: `20261124T000340Z`.
pub(crate) fn stamp() -> String {
    Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// RFC 3339 in UTC, to the millisecond, of one length; 0 is "never", and gives an empty text.
pub(crate) fn rfc3339_ms(unix_ms: i64) -> String {
    if unix_ms == 0 {
        return String::new();
    }
    Timestamp::from_millisecond(unix_ms).map_or_else(|_| format!("{unix_ms} ms"), |at| format!("{at:.3}"))
}

/// RFC 3339 in UTC, to the microsecond, of one length.
pub(crate) fn rfc3339_us(unix_us: i64) -> String {
    Timestamp::from_microsecond(unix_us).map_or_else(|_| format!("{unix_us} µs"), |at| format!("{at:.6}"))
}

/// How long ago, for people: `4 s ago`. `never` for 0.
pub(crate) fn ago(unix_ms: i64, now_ms: i64) -> String {
    if unix_ms == 0 {
        return "never".to_owned();
    }
    let secs = now_ms.saturating_sub(unix_ms).max(0) / 1000;
    match secs {
        0..=119 => format!("{secs} s ago"),
        120..=7199 => format!("{} min ago", secs / 60),
        7200..=172_799 => format!("{} h ago", secs / 3600),
        _ => format!("{} d ago", secs / 86_400),
    }
}

/// A length of time as `90`, `30s`, `5m`, `2h`, `7d`; seconds. Errors: one sentence.
pub(crate) fn parse_span_secs(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no length of time; write 30s, 5m, 2h or 7d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let scale = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    count.checked_mul(scale).filter(|secs| *secs > 0).ok_or_else(wrong)
}

/// A moment: `2h` ago, or RFC 3339; milliseconds since 1970. Errors: one sentence.
pub(crate) fn parse_moment_ms(text: &str, now_ms: i64) -> Result<i64, String> {
    if let Ok(secs) = parse_span_secs(text) {
        return i64::try_from(secs)
            .ok()
            .and_then(|secs| secs.checked_mul(1000))
            .and_then(|ms| now_ms.checked_sub(ms))
            .ok_or_else(|| format!("`{text}` is too long ago"));
    }
    text.parse::<Timestamp>().map(|at| at.as_millisecond()).map_err(|_| {
        format!("`{text}` is no moment; write how long ago (30s, 5m, 2h, 7d) or RFC 3339 (2026-11-23T10:00:00Z)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_span_ago_or_rfc_3339() {
        assert_eq!(parse_moment_ms("2h", 10_000_000).unwrap(), 2_800_000);
        assert_eq!(parse_moment_ms("1970-01-01T00:00:01Z", 5).unwrap(), 1000);
        assert!(parse_moment_ms("yesterday", 5).unwrap_err().contains("write how long ago"));
        assert!(parse_moment_ms("99999999999999999d", 5).is_err());
    }

    #[test]
    fn a_span_has_a_unit_and_is_not_zero() {
        assert_eq!(parse_span_secs("24h").unwrap(), 86_400);
        assert_eq!(parse_span_secs("90").unwrap(), 90);
        assert!(parse_span_secs("0s").is_err());
        assert!(parse_span_secs("5y").is_err());
        assert!(parse_span_secs("").is_err());
    }
}
