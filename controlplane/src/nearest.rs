//! The names that somebody may have meant: those nearest to what was written.

/// At most three of `names` that differ from `asked` by few letters, the nearest first.
pub fn nearest<'a>(asked: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let most = (asked.chars().count() / 3).max(2);
    let mut near: Vec<_> = names
        .into_iter()
        .map(|name| (if name.contains(asked) && !asked.is_empty() { 1 } else { distance(asked, name) }, name))
        .filter(|(far, _)| *far <= most)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

/// `; did you mean a, b or c?`, or nothing.
pub fn did_you_mean(near: &[&str]) -> String {
    match near {
        [] => String::new(),
        [one] => format!("; did you mean {one}?"),
        [first @ .., last] => format!("; did you mean {} or {last}?", first.join(", ")),
    }
}

/// How many letters must be added, left out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.windows(2)) {
            let &[diagonal, over] = above else { continue };
            left = (diagonal + usize::from(x != *y)).min(over + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_comes_first_and_far_ones_not_at_all() {
        let names = ["sqlite__read_query", "sqlite__read_queries", "n8n__run"];
        assert_eq!(nearest("sqlite__raed_query", names), ["sqlite__read_query", "sqlite__read_queries"]);
        assert_eq!(nearest("run", names), ["n8n__run"]);
        assert!(nearest("zzz", names).is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
