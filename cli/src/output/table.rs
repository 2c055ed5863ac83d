//! Aligned columns for a terminal.

use super::terminal::Style;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A column never shrinks below this when a terminal is narrow.
const MIN_WIDTH: usize = 8;
const GAP: &str = "  ";

/// A table that is being filled.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: String,
    right: bool,
}

impl Table {
    /// An empty table.
    pub(crate) const fn new() -> Self {
        Self { columns: Vec::new(), rows: Vec::new() }
    }

    /// Adds a column; `right` aligns it so.
    pub(crate) fn column(&mut self, title: impl Into<String>, right: bool) {
        self.columns.push(Column { title: title.into(), right });
    }

    /// Adds a row; its cells are already escaped.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The table's text. On a terminal of `width` cells, the widest left-aligned columns
    /// are cut so that a row stays on one line where that is possible.
    pub(crate) fn render(&self, width: Option<usize>, style: Style) -> String {
        let widths = self.widths(width);
        let mut out = String::new();
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title.as_str()).collect();
        let mut header = String::new();
        self.push_line(&mut header, &titles, &widths);
        out.push_str(&style.bold(header.trim_end()));
        out.push('\n');
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            self.push_line(&mut out, &cells, &widths);
            out.push('\n');
        }
        out
    }

    fn widths(&self, width: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> =
            self.columns.iter().map(|column| column.title.width()).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(cell.width());
            }
        }
        let Some(width) = width else { return widths };
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(width);
        while excess > 0 {
            let widest = self
                .columns
                .iter()
                .zip(&mut widths)
                .filter(|(column, width)| !column.right && **width > MIN_WIDTH)
                .map(|(_, width)| width)
                .max();
            let Some(widest) = widest else { break };
            *widest -= 1;
            excess -= 1;
        }
        widths
    }

    fn push_line(&self, out: &mut String, cells: &[&str], widths: &[usize]) {
        let last = cells.len().saturating_sub(1);
        for (index, ((cell, column), &width)) in
            cells.iter().zip(&self.columns).zip(widths).enumerate()
        {
            let cell = cut(cell, width);
            let padding = width.saturating_sub(cell.width());
            if column.right {
                out.extend(std::iter::repeat_n(' ', padding));
            }
            out.push_str(&cell);
            if index < last {
                if !column.right {
                    out.extend(std::iter::repeat_n(' ', padding));
                }
                out.push_str(GAP);
            }
        }
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new();
        table.column("PID", true);
        table.column("COMM", false);
        table.column("CPU", true);
        table.row(vec!["1".into(), "a-rather-long-name".into(), "97.1%".into()]);
        table.row(vec!["4242".into(), "žluť".into(), "-".into()]);
        table
    }

    #[test]
    fn columns_align() {
        insta::assert_snapshot!(sample().render(None, Style::PLAIN), @r"
         PID  COMM                  CPU
           1  a-rather-long-name  97.1%
        4242  žluť                    -
        ");
    }

    #[test]
    fn a_narrow_terminal_cuts_text_but_no_number() {
        let text = sample().render(Some(24), Style::PLAIN);
        assert!(text.lines().all(|line| line.width() <= 24), "{text}");
        assert!(text.contains("97.1%") && text.contains('…'), "{text}");
    }

    #[test]
    fn wide_characters_count_two() {
        let mut table = Table::new();
        table.column("COMM", false);
        table.column("N", true);
        table.row(vec!["日本".into(), "1".into()]);
        table.row(vec!["abcd".into(), "22".into()]);
        assert_eq!(table.render(None, Style::PLAIN), "COMM   N\n日本   1\nabcd  22\n");
    }
}
