//! How long a pattern becomes when its counted repetitions are written out, as the engine for look-around does.
//!
//! It reads just enough of a pattern for that, and judges nothing else; the engines say what is no pattern.

/// Atoms, each as often as the bounds around it ask for: `(ab{3}){2}` has 8. Saturating.
pub(super) fn written_out(pattern: &str) -> u64 {
    // One sum for each group that is open.
    let mut sums = vec![0_u64];
    let mut last = 0_u64;
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let (_, after) = rest.split_at(c.len_utf8());
        rest = after;
        match c {
            '(' => {
                add(&mut sums, std::mem::take(&mut last));
                sums.push(0);
            }
            ')' if sums.len() > 1 => last = sums.pop().unwrap_or(0).saturating_add(last),
            '{' => {
                if let Some((most, after)) = bounds(rest) {
                    last = last.saturating_mul(most.max(1));
                    rest = after;
                }
            }
            '*' | '+' | '?' | '|' | '^' | '$' | ')' => {}
            _ => {
                add(&mut sums, std::mem::replace(&mut last, 1));
                rest = match c {
                    '\\' => rest.get(rest.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default(),
                    '[' => class(rest),
                    _ => rest,
                };
            }
        }
    }
    sums.into_iter().fold(last, u64::saturating_add)
}

fn add(sums: &mut [u64], more: u64) {
    if let Some(sum) = sums.last_mut() {
        *sum = sum.saturating_add(more);
    }
}

/// The greater of `n`, `n,` or `n,m` before a brace that closes, and what follows it.
fn bounds(rest: &str) -> Option<(u64, &str)> {
    let (within, after) = rest.split_once('}')?;
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let (least, most) = within.split_once(',').unwrap_or((within, ""));
    if least.is_empty() || !digits(least) || !digits(most) {
        return None;
    }
    let number = |text: &str| if text.is_empty() { 0 } else { text.parse().unwrap_or(u64::MAX) };
    Some((number(least).max(number(most)), after))
}

/// What follows a class of characters whose bracket was opened.
fn class(rest: &str) -> &str {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' if at > 0 => return rest.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::written_out;

    #[test]
    fn repetitions_within_repetitions_multiply_and_beside_each_other_add_up() {
        for (pattern, atoms) in [
            ("", 0),
            ("abc", 3),
            ("(ab{3}){2}", 8),
            ("a{2}b{3,5}c{4,}", 11),
            ("[a-z{9}]{2}\\{3}", 5),
            ("((x{10}){10}){10}", 1000),
            ("a{99999999999999999999}", u64::MAX),
            (")))(((", 0),
            ("a{b}", 3),
            ("^(?=.{1,253}$)[a-z]{1,63}$", 317),
        ] {
            assert_eq!(written_out(pattern), atoms, "{pattern}");
        }
    }
}
