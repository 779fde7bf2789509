//! Rows as a terminal shows them: a table where its columns have room for their titles and the words in them, else one
//! block a row, a line a cell. Without a terminal a row is a line, however long.

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};
use unicode_width::UnicodeWidthStr as _;

use crate::output::{Rows, Tone};
use crate::printable::printable;

/// Columns that people copy from: not broken over lines where the terminal has room.
const WHOLE: [&str; 3] = ["REQUEST ID", "ID", "TOKEN"];
/// A terminal of so many columns has room.
const ROOMY: u16 = 100;
/// Words of a cell may be broken (an id, a time, an address), but into pieces that can still be read.
const PIECE: usize = 8;
/// A space on either side of a cell.
const PADDING: u16 = 2;

/// The rows as text that ends with a line break; `width` in columns, none: no terminal.
pub(crate) fn shown(rows: Rows, width: Option<u16>, colour: bool) -> String {
    let Some(width) = width else { return table(rows, None, &[], colour) };
    let least: Vec<u16> = (0..rows.header().len()).map(|at| least(&rows, at)).collect();
    let needed = least.iter().fold(0, |sum: u16, column| sum.saturating_add(*column));
    if needed <= width { table(rows, Some(width), &least, colour) } else { blocks(rows, width, colour) }
}

/// What a column cannot do without, its padding included.
fn least(rows: &Rows, at: usize) -> u16 {
    let longest = |text: &str| text.split(' ').map(str::width).max().unwrap_or(0);
    let title = rows.header().get(at).map_or(0, |title| longest(title));
    let cells = rows.cells().filter_map(|row| row.get(at)).map(|(text, _)| longest(text).min(PIECE)).max();
    u16::try_from(title.max(cells.unwrap_or(0))).unwrap_or(u16::MAX).saturating_add(PADDING)
}

fn table(rows: Rows, width: Option<u16>, least: &[u16], colour: bool) -> String {
    let whole: Vec<usize> =
        rows.header().iter().enumerate().filter(|(_, title)| WHOLE.contains(title)).map(|(at, _)| at).collect();
    let mut table = empty(width, colour);
    table.set_header(rows.header().iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    for row in rows.into_cells() {
        table.add_row(row.into_iter().map(cell));
    }
    let is_roomy = width.is_some_and(|width| width >= ROOMY);
    for (at, least) in least.iter().enumerate() {
        let Some(column) = table.column_mut(at) else { continue };
        column.set_constraint(if is_roomy && whole.contains(&at) {
            ColumnConstraint::ContentWidth
        } else {
            ColumnConstraint::LowerBoundary(Width::Fixed(*least))
        });
    }
    lines(&table)
}

/// Cells without a word are left out, and there is a line between two rows.
fn blocks(rows: Rows, width: u16, colour: bool) -> String {
    let titles: Vec<&'static str> = rows.header().to_vec();
    let row = |row: Vec<(String, Tone)>| {
        let mut table = empty(Some(width), colour);
        for (title, value) in titles.iter().zip(row).filter(|(_, (text, _))| !text.is_empty()) {
            table.add_row([Cell::new(title).add_attribute(Attribute::Bold), cell(value)]);
        }
        if let Some(column) = table.column_mut(0) {
            let longest = titles.iter().map(|title| title.width()).max().unwrap_or(0);
            let wide = u16::try_from(longest).unwrap_or(u16::MAX).saturating_add(PADDING);
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(wide)));
        }
        lines(&table)
    };
    rows.into_cells().map(row).collect::<Vec<_>>().join("\n")
}

fn empty(width: Option<u16>, colour: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // Without a terminal nothing is wrapped: a line stays a line for grep.
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if colour {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    table
}

fn cell((text, tone): (String, Tone)) -> Cell {
    let cell = Cell::new(printable(&text));
    match tone {
        Tone::Good => cell.fg(Color::Green),
        Tone::Doubtful => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Plain => cell,
    }
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::plain;

    fn planes() -> Rows {
        let mut rows = Rows::new(&["PLANE", "STATE", "UNSHIPPED"]);
        rows.push([plain("berlin-one"), ("connected".to_owned(), Tone::Good), plain(0)]);
        rows.push([plain("two"), plain("lost since yesterday"), plain("")]);
        rows
    }

    #[test]
    fn with_room_it_is_a_table_whose_titles_are_whole() {
        for width in [34, 60] {
            let text = shown(planes(), Some(width), false);
            assert!(text.lines().all(|line| line.width() <= usize::from(width)), "{text}");
            assert!(text.starts_with(" PLANE") && text.contains("UNSHIPPED"), "{text}");
        }
        assert_eq!(shown(planes(), None, false).lines().count(), 3);
    }

    #[test]
    fn without_it_a_row_is_a_block_and_what_is_empty_is_left_out() {
        let text = shown(planes(), Some(28), false);
        let expected = " PLANE      berlin-one\n STATE      connected\n UNSHIPPED  0\n\n PLANE      two\n STATE      lost since\n            yesterday\n";
        assert_eq!(text, expected);
    }
}
