//! The records of one sweep of one filter, in the chosen format.

use super::table::Table;
use super::terminal::Style;
use super::value::{ShortRecord, decode, shown_fields};
use super::{Format, csv, human, json};
use kernel_vm::object::FilterMeta;

/// How to render.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The format.
    pub(crate) format: Format,
    /// Colour for the tables' headers.
    pub(crate) style: Style,
    /// The terminal's width; `None` for a pipe or a file.
    pub(crate) width: Option<usize>,
}

/// What of a stream has been written, so that a CSV header comes once for each filter.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    headed: Option<String>,
}

impl Stream {
    /// `records` of `filter` as text; empty when there are none, except that CSV's first
    /// header is always written.
    pub(crate) fn render(
        &mut self,
        filter: &FilterMeta,
        records: &[impl AsRef<[u8]>],
        look: Look,
    ) -> Result<String, ShortRecord> {
        match look.format {
            Format::Table if records.is_empty() => Ok(String::new()),
            Format::Table => as_table(filter, records, look),
            Format::Json => as_json(filter, records),
            Format::Csv => self.as_csv(filter, records),
        }
    }

    fn as_csv(
        &mut self,
        filter: &FilterMeta,
        records: &[impl AsRef<[u8]>],
    ) -> Result<String, ShortRecord> {
        let mut out = String::new();
        if self.headed.as_deref() != Some(&filter.name) {
            self.headed = Some(filter.name.clone());
            let names = shown_fields(&filter.record).map(|field| field.name.as_str());
            csv::push_line(&mut out, std::iter::once("filter").chain(names));
        }
        for record in records {
            let cells: Vec<String> =
                decode(&filter.record, record.as_ref())?.into_iter().map(csv::cell).collect();
            let cells = cells.iter().map(String::as_str);
            csv::push_line(&mut out, std::iter::once(filter.name.as_str()).chain(cells));
        }
        Ok(out)
    }
}

fn as_table(
    filter: &FilterMeta,
    records: &[impl AsRef<[u8]>],
    look: Look,
) -> Result<String, ShortRecord> {
    let mut table = Table::new();
    for field in shown_fields(&filter.record) {
        table.column(field.name.to_uppercase(), human::is_numeric(field.ty.0));
    }
    for record in records {
        let values = decode(&filter.record, record.as_ref())?;
        table.row(values.into_iter().map(human::value).collect());
    }
    Ok(table.render(look.width, look.style))
}

fn as_json(filter: &FilterMeta, records: &[impl AsRef<[u8]>]) -> Result<String, ShortRecord> {
    let mut out = String::new();
    for record in records {
        push_json_record(&mut out, filter, record.as_ref())?;
        out.push('\n');
    }
    Ok(out)
}

/// Appends one record as a flat JSON object: the filter's name, then the fields in order.
pub(crate) fn push_json_record(
    out: &mut String,
    filter: &FilterMeta,
    record: &[u8],
) -> Result<(), ShortRecord> {
    out.push_str("{\"filter\":");
    json::push_string(out, &filter.name);
    for (field, value) in shown_fields(&filter.record).zip(decode(&filter.record, record)?) {
        out.push(',');
        json::push_string(out, &field.name);
        out.push(':');
        json::push_value(out, value);
    }
    out.push('}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::value::tests::sample;
    use super::*;
    use kernel_vm::object::{Block, BpfMeta, VmMeta};

    fn filter() -> (FilterMeta, Vec<u8>) {
        let (record, bytes) = sample();
        let none = Block { offset: 0, size: 0 };
        let meta = FilterMeta {
            name: "everything".into(),
            doc: String::new(),
            table: "process".into(),
            rodata: none,
            stats: none,
            params: Vec::new(),
            record,
            severity: None,
            top: None,
            state_size: 0,
            needs_two_sweeps: false,
            hold: None,
            bpf: BpfMeta { sweep: String::new(), records: String::new(), state: None },
            vm: VmMeta { program: none, row_size: 0, columns: Vec::new() },
        };
        (meta, bytes)
    }

    fn render(format: Format) -> String {
        let (filter, record) = filter();
        let mut unknown = record.clone();
        unknown[..8].copy_from_slice(&0x3ffe_i64.to_le_bytes());
        let look = Look { format, style: Style::PLAIN, width: None };
        Stream::default().render(&filter, &[record, unknown], look).unwrap()
    }

    #[test]
    fn a_table_has_units_and_no_raw_control_characters() {
        insta::assert_snapshot!(render(Format::Table));
    }

    #[test]
    fn json_lines_are_raw_and_valid() {
        let text = render(Format::Json);
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn csv_has_one_header_for_a_stream() {
        insta::assert_snapshot!(render(Format::Csv));
        let (filter, record) = filter();
        let look = Look { format: Format::Csv, style: Style::PLAIN, width: None };
        let mut stream = Stream::default();
        let first = stream.render(&filter, &[&record], look).unwrap();
        let second = stream.render(&filter, &[&record], look).unwrap();
        assert!(first.starts_with("filter,pid") && second.starts_with("everything,4242"));
        assert_eq!(stream.render(&filter, &[] as &[&[u8]], look).unwrap(), "");
    }

    #[test]
    fn a_short_record_is_an_error_in_every_format() {
        let (filter, record) = filter();
        for format in [Format::Table, Format::Json, Format::Csv] {
            let look = Look { format, style: Style::PLAIN, width: None };
            assert!(Stream::default().render(&filter, &[&record[..9]], look).is_err());
        }
    }
}
