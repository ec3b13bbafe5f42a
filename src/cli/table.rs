//! Tables for a terminal: aligned columns, money exact.

use std::io::{self, Write};

/// How a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
    /// By the decimal point.
    Point,
}

/// Rows under headings.
#[derive(Debug, Default)]
pub struct Table {
    headings: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    footer: Option<Vec<String>>,
}

impl Table {
    pub fn new(headings: impl IntoIterator<Item = (String, Align)>) -> Self {
        Table { headings: headings.into_iter().collect(), ..Table::default() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// A last row, set apart by a line.
    pub fn footer(&mut self, cells: Vec<String>) {
        self.footer = Some(cells);
    }

    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns: Vec<Vec<String>> = (0..self.headings.len()).map(|place| self.column(place)).collect();
        let line = |place: usize| -> String {
            let cells: Vec<&str> = columns.iter().filter_map(|column| column.get(place)).map(String::as_str).collect();
            cells.join("  ").trim_end().to_owned()
        };
        let length = 1 + self.rows.len() + usize::from(self.footer.is_some());
        let width: usize =
            columns.iter().filter_map(|column| column.first()).map(|cell| cell.chars().count() + 2).sum();
        for place in 0..length {
            if self.footer.is_some() && place + 1 == length {
                writeln!(out, "{}", "─".repeat(width.saturating_sub(2)))?;
            }
            writeln!(out, "{}", line(place))?;
        }
        Ok(())
    }

    /// A column's cells, heading first and footer last, all of one width.
    fn column(&self, place: usize) -> Vec<String> {
        let Some((heading, align)) = self.headings.get(place) else { return Vec::new() };
        let cells =
            self.rows.iter().chain(&self.footer).map(|row| row.get(place).map(String::as_str).unwrap_or_default());
        let mut cells: Vec<String> = cells.map(printable).collect();
        if *align == Align::Point {
            let decimals = |cell: &str| cell.split_once('.').map_or(0, |(_, decimals)| decimals.len() + 1);
            let most = cells.iter().map(|cell| decimals(cell)).max().unwrap_or(0);
            for cell in &mut cells {
                let missing = most - decimals(cell);
                cell.extend(std::iter::repeat_n(' ', missing));
            }
        }
        cells.insert(0, heading.clone());
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        let pad = |cell: &String| {
            let space = " ".repeat(width - cell.chars().count());
            if *align == Align::Left { format!("{cell}{space}") } else { format!("{space}{cell}") }
        };
        cells.iter().map(pad).collect()
    }
}

/// `1,234,567`
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An adjustment may take back.
pub fn signed(count: i64) -> String {
    format!("{}{}", if count < 0 { "-" } else { "" }, grouped(count.unsigned_abs()))
}

/// Names come from callers: control characters in them must not reach the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_money_stands_by_its_point() {
        let mut table =
            Table::new([("MODEL".into(), Align::Left), ("CALLS".into(), Align::Right), ("USD".into(), Align::Point)]);
        table.row(vec!["gpt-4o".into(), grouped(1_234_567), "12.00".into()]);
        table.row(vec!["évil\u{1b}[2J".into(), "1".into(), "0.000000000001".into()]);
        table.footer(vec!["total".into(), "1,234,568".into(), "12.000000000001".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "\
MODEL         CALLS              USD
gpt-4o    1,234,567  12.00
évil\u{fffd}[2J          1   0.000000000001
────────────────────────────────────
total     1,234,568  12.000000000001
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 12_345, 1_000_000].map(grouped), ["0", "999", "1,000", "12,345", "1,000,000"]);
    }
}
