//! The records of one sweep of one filter, in the chosen format.

use super::table::Table;
use super::terminal::Style;
use super::value::shown_fields;
use super::{Format, csv, human, json, rings};
use kernel_vm::object::{FilterMeta, RecordMeta};
use kfilter_loader::record::{RecordBatch, Value, fields};

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
        records: &RecordBatch,
        look: Look,
    ) -> String {
        match look.format {
            Format::Table if records.is_empty() => String::new(),
            Format::Table => as_table(filter, records, look),
            Format::Json => as_json(filter, records),
            Format::Csv => self.as_csv(filter, records),
        }
    }

    fn as_csv(&mut self, filter: &FilterMeta, records: &RecordBatch) -> String {
        let mut out = String::new();
        if self.headed.as_deref() != Some(&filter.name) {
            self.headed = Some(filter.name.clone());
            let names = shown_fields(&filter.record).map(|field| field.name.as_str());
            csv::push_line(&mut out, std::iter::once("filter").chain(names));
        }
        for record in records.iter() {
            let cells: Vec<String> = shown_values(&filter.record, record)
                .map(|value| csv::cell(value.as_ref()))
                .collect();
            let cells = cells.iter().map(String::as_str);
            csv::push_line(&mut out, std::iter::once(filter.name.as_str()).chain(cells));
        }
        out
    }
}

fn as_table(filter: &FilterMeta, records: &RecordBatch, look: Look) -> String {
    let mut table = Table::new();
    for field in shown_fields(&filter.record) {
        table.column(field.name.to_uppercase(), human::is_numeric(field.ty.0));
    }
    for record in records.iter() {
        let values = shown_values(&filter.record, record);
        table.row(values.map(|value| human::value(value.as_ref())).collect());
    }
    table.render(look.width, look.style) + &rings::draw(&filter.record, records)
}

fn as_json(filter: &FilterMeta, records: &RecordBatch) -> String {
    let mut out = String::new();
    for record in records.iter() {
        push_json_record(&mut out, filter, record);
        out.push('\n');
    }
    out
}

/// Appends one record as a flat JSON object: the filter's name, then the fields in order.
pub(crate) fn push_json_record(out: &mut String, filter: &FilterMeta, record: &[u8]) {
    out.push_str("{\"filter\":");
    json::push_string(out, &filter.name);
    for (field, value) in shown_fields(&filter.record).zip(shown_values(&filter.record, record)) {
        out.push(',');
        json::push_string(out, &field.name);
        out.push(':');
        json::push_value(out, value.as_ref());
    }
    out.push('}');
}

/// The shortest text that says who it is: name and pid where the filter emits them, else
/// the first two fields.
pub(crate) fn offender(layout: &RecordMeta, record: &[u8]) -> String {
    let named = |wanted: &[&str]| -> Vec<String> {
        wanted
            .iter()
            .filter_map(|&name| {
                let (_, value) = fields(layout, record).find(|(field, _)| field.name == name)?;
                value.as_ref().map(|value| human::value(Some(value)))
            })
            .collect()
    };
    let mut words = named(&["comm", "pid", "tid"]);
    if words.is_empty() {
        words = shown_values(layout, record).take(2).map(|v| human::value(v.as_ref())).collect();
    }
    words.join(" ")
}

/// The values of the fields that are shown; `None` for one that is not known.
fn shown_values<'a>(
    layout: &'a RecordMeta,
    record: &'a [u8],
) -> impl Iterator<Item = Option<Value>> + 'a {
    fields(layout, record).filter(|(field, _)| !field.hidden).map(|(_, value)| value)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::value::tests::sample;
    use super::*;
    use kernel_vm::object::{Block, BpfMeta, VmMeta};

    /// A filter that emits a field of each type, and a record of it.
    pub(crate) fn filter() -> (FilterMeta, Vec<u8>) {
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
            limit: None,
            top: None,
            state_size: 0,
            group: None,
            needs_two_sweeps: false,
            hold: None,
            bpf: BpfMeta {
                sweep: String::new(),
                records: String::new(),
                state: None,
                resident: None,
                classic: Vec::new(),
                reader: None,
            },
            vm: VmMeta { program: none, row_size: 0, columns: Vec::new() },
        };
        (meta, bytes)
    }

    fn batch(records: &[&[u8]], size: usize) -> RecordBatch {
        let mut batch = RecordBatch::new(size);
        for record in records {
            assert!(batch.push(record));
        }
        batch
    }

    const fn look(format: Format) -> Look {
        Look { format, style: Style::PLAIN, width: None }
    }

    fn render(format: Format) -> String {
        let (filter, record) = filter();
        let mut unknown = record.clone();
        unknown[..8].copy_from_slice(&0x3ffe_i64.to_le_bytes());
        let batch = batch(&[&record, &unknown], record.len());
        Stream::default().render(&filter, &batch, look(format))
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
        let one = batch(&[&record], record.len());
        let mut stream = Stream::default();
        let first = stream.render(&filter, &one, look(Format::Csv));
        let second = stream.render(&filter, &one, look(Format::Csv));
        assert!(first.starts_with("filter,pid") && second.starts_with("everything,4242"));
        assert_eq!(stream.render(&filter, &RecordBatch::new(8), look(Format::Csv)), "");
    }

    #[test]
    fn a_hidden_field_is_not_shown() {
        let (mut filter, record) = filter();
        filter.record.fields[0].hidden = true;
        let one = batch(&[&record], record.len());
        for format in [Format::Table, Format::Json, Format::Csv] {
            let text = Stream::default().render(&filter, &one, look(format));
            assert!(!text.contains("4242") && text.contains("97"), "{text}");
        }
    }
}
