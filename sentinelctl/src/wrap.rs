//! Sentences on a narrow terminal: broken at spaces, so that no word is cut and no column scrolls away.
//!
//! What is longer than a line (a path, a digest, a command between backticks that has no room) stays whole: it is for
//! copying. Without a terminal nothing is broken; a line stays a line for grep.

use unicode_width::UnicodeWidthStr as _;

/// How much further in the lines after the first begin.
const HANGING: usize = 2;

/// Each line of `text` in at most `width` columns, where its words allow it.
pub(crate) fn to_width(text: &str, width: Option<u16>) -> String {
    let Some(width) = width.map(usize::from) else { return text.to_owned() };
    let lines: Vec<String> = text.split('\n').map(|line| broken(line, width)).collect();
    lines.join("\n")
}

fn broken(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let words = line.trim_start_matches(' ');
    let indent = line.len() - words.len();
    let hanging = indent.saturating_add(HANGING).min(width / 2);
    let mut shown = " ".repeat(indent);
    let mut column = indent;
    for word in pieces(words, width.saturating_sub(hanging)) {
        let wide = word.width();
        let is_first = column == indent && shown.trim_start().is_empty();
        if !is_first && column + 1 + wide > width {
            shown.truncate(shown.trim_end_matches(' ').len());
            shown.push('\n');
            shown.push_str(&" ".repeat(hanging));
            column = hanging;
        } else if !is_first {
            shown.push(' ');
            column += 1;
        }
        shown.push_str(word);
        column += wide;
    }
    shown
}

/// Words; what stands between backticks is one, where it has room on a line of its own.
fn pieces(words: &str, room: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = words;
    while !rest.is_empty() {
        let space = rest.find(' ').unwrap_or(rest.len());
        let mut end = space;
        if let Some(open) = rest.find('`').filter(|open| *open < space)
            && let Some(close) = rest.get(open + 1..).and_then(|after| after.find('`')).map(|close| open + 1 + close)
            && close > space
        {
            let whole = close + rest.get(close..).and_then(|after| after.find(' ')).unwrap_or(rest.len() - close);
            if rest.get(..whole).is_some_and(|piece| piece.width() <= room) {
                end = whole;
            }
        }
        let (piece, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        pieces.push(piece);
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_broken_at_spaces_and_goes_on_further_in() {
        assert_eq!(to_width("  one two three four", Some(12)), "  one two\n    three\n    four");
        assert_eq!(to_width("one two", Some(7)), "one two");
        assert_eq!(to_width("世界 世界", Some(6)), "世界\n  世界");
        assert_eq!(to_width("a b", None), "a b");
    }

    #[test]
    fn words_commands_and_lines_stay_whole() {
        assert_eq!(to_width("see /a/very/long/path", Some(10)), "see\n  /a/very/long/path");
        assert_eq!(to_width("end it: `ctl revoke 1`; now", Some(20)), "end it:\n  `ctl revoke 1`;\n  now");
        assert_eq!(to_width("`a b c d` e", Some(6)), "`a b c\n  d` e");
        assert_eq!(to_width("aa bb\ncc dd ee", Some(5)), "aa bb\ncc dd\n  ee");
        assert_eq!(to_width("", Some(5)), "");
    }
}
