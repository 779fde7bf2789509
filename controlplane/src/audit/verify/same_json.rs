//! Whether two JSON texts say the same, as a database that keeps JSON as values (`jsonb`) and not as text would have it:
//! order of members, spaces, escapes and the way a number is written count for nothing. It knows no record.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Deeper than any plane lets arguments be: what is deeper is the same only where its text is.
const DEEPEST: usize = 256;

/// False also where one of them is no JSON that a database can hold.
pub(super) fn same(a: &str, b: &str) -> bool {
    same_within(a, b, DEEPEST)
}

fn same_within(a: &str, b: &str, depth: usize) -> bool {
    let (a, b) = (a.trim_ascii(), b.trim_ascii());
    if a == b {
        return true;
    }
    let Some(depth) = depth.checked_sub(1) else { return false };
    match (a.as_bytes().first(), b.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => match (members(a), members(b)) {
            (Some(a), Some(b)) => {
                a.len() == b.len()
                    && a.iter().zip(&b).all(|((a, x), (b, y))| a == b && same_within(x.get(), y.get(), depth))
            }
            _ => false,
        },
        (Some(b'['), Some(b'[')) => match (items(a), items(b)) {
            (Some(a), Some(b)) => {
                a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same_within(a.get(), b.get(), depth))
            }
            _ => false,
        },
        (Some(b'"'), Some(b'"')) => match (serde_json::from_str::<String>(a), serde_json::from_str::<String>(b)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        },
        _ => matches!((Number::of(a), Number::of(b)), (Some(a), Some(b)) if a == b),
    }
}

/// Of a name that stands twice the last one, as databases keep it.
fn members(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(text).ok()
}

fn items(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

/// A decimal without what has no weight: 1.50, 15e-1 and 1.5 are one.
#[derive(Debug, PartialEq, Eq)]
struct Number {
    negative: bool,
    /// Without zeros at either end; empty: zero.
    digits: String,
    /// Of the last digit.
    exponent: i64,
}

impl Number {
    fn of(text: &str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (decimal, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let exponent: i64 = exponent.parse().ok()?;
        let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let kept = all.trim_end_matches('0');
        let digits = kept.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let dropped = i64::try_from(all.len() - kept.len()).ok()?;
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
        Some(Self { negative, digits: digits.to_owned(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_writes_in_its_own_way_is_the_same() {
        for (a, b) in [
            (r#"{"b":1,"a":[1,{"x":null}]}"#, r#"{"a": [1, {"x": null}], "b": 1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a": 2}"#),
            (r#""\u00e4\/""#, r#""ä/""#),
            ("1.50", "15e-1"),
            ("1E2", "100"),
            ("-0", "0"),
            ("0.000", "0"),
            ("123456789012345678901234567890.10", "123456789012345678901234567890.1"),
            ("true", " true "),
        ] {
            assert!(same(a, b) && same(b, a), "{a} {b}");
        }
    }

    #[test]
    fn what_differs_in_the_smallest_thing_is_not() {
        for (a, b) in [
            (r#"{"a":1}"#, r#"{"a":2}"#),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#),
            ("[1,2]", "[2,1]"),
            ("1", "\"1\""),
            ("1", "-1"),
            ("10", "1"),
            ("0.1", "0.01"),
            ("12345678901234567890", "12345678901234567891"),
            ("true", "false"),
            ("null", "0"),
            ("nul", "null"),
            (r#""a""#, r#""b""#),
            ("", "{}"),
            ("1e", "1"),
        ] {
            assert!(!same(a, b) && !same(b, a), "{a} {b}");
        }
        let deep = |leaf: &str| format!("{}{leaf}{}", "[".repeat(2000), "]".repeat(2000));
        assert!(same(&deep("1"), &deep("1")) && !same(&deep("1"), &deep("2")), "and no stack is too small for it");
    }
}
