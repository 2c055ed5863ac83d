//! Comma-separated values (RFC 4180): numbers as in JSON, an unknown value is empty.

use super::escape::visible;
use super::json::scalar_text;
use kfilter_loader::record::Value;

/// Appends one line of `cells` to `out`.
pub(crate) fn push_line<'a>(out: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_cell(out, cell);
    }
    out.push('\n');
}

/// A value as a cell, not yet quoted.
pub(crate) fn cell(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        // Whoever reads it may show it on a terminal, and a line is a record.
        Some(Value::Text(bytes)) => visible(bytes),
        Some(scalar) => scalar_text(scalar),
    }
}

fn push_cell(out: &mut String, cell: &str) {
    if !cell.contains(['"', ',', '\n', '\r']) {
        return out.push_str(cell);
    }
    out.push('"');
    out.push_str(&cell.replace('"', "\"\""));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let mut out = String::new();
        push_line(&mut out, ["plain", "a,b", "say \"hi\"", "two\nlines", ""]);
        assert_eq!(out, "plain,\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",\n");
    }
}
