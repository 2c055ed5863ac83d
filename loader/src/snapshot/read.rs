//! Reading a recording: every line is checked before it is believed.

use super::{FORMAT, Recorded, Snapshot, VERSION, Value};
use crate::params::SystemValues;
use kernel_vm::schema::Table;
use serde_json::Value as Json;
use std::io::BufRead;

/// Longest line: far more than a row of every column takes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Why a file is no recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct SnapshotError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: SnapshotErrorKind,
}

/// What can be wrong with a recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotErrorKind {
    /// It does not begin as a recording does.
    #[error("this is no recording of tables: it does not begin with its format")]
    Foreign,
    /// A later version wrote it.
    #[error("version {0} of the format is not understood; this is version {VERSION}")]
    Version(u64),
    /// A line is no JSON, or not what stands at its place.
    #[error("{0}")]
    Malformed(String),
    /// A sweep has another number of rows than it says: the file was cut or edited.
    #[error("{found} rows where {said} were written: the file is cut or damaged")]
    Count {
        /// Rows as written.
        said: u64,
        /// Rows that there are.
        found: u64,
    },
    /// The file ends inside of a sweep.
    #[error("the file ends in the middle of a sweep")]
    Cut,
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(String),
}

impl Snapshot {
    /// Reads a whole recording.
    ///
    /// # Errors
    /// Names the line that is wrong.
    pub fn read(input: &mut impl BufRead) -> Result<Self, SnapshotError> {
        let mut lines = Lines { input, line: 0 };
        let head = lines.next()?.ok_or_else(|| lines.error(SnapshotErrorKind::Foreign))?;
        let system = head_of(&head).map_err(|kind| lines.error(kind))?;
        let mut sweeps = Vec::new();
        while let Some(begin) = lines.next()? {
            let mut sweep = begin_of(&begin).map_err(|kind| lines.error(kind))?;
            loop {
                let Some(line) = lines.next()? else {
                    return Err(lines.error(SnapshotErrorKind::Cut));
                };
                if !line.is_array() {
                    end_of(&line, &mut sweep).map_err(|kind| lines.error(kind))?;
                    break;
                }
                row_of(line, &mut sweep).map_err(|kind| lines.error(kind))?;
            }
            sweeps.push(sweep);
        }
        Ok(Self { system, sweeps })
    }
}

struct Lines<'i, I> {
    input: &'i mut I,
    line: usize,
}

impl<I: BufRead> Lines<'_, I> {
    fn next(&mut self) -> Result<Option<Json>, SnapshotError> {
        use std::io::Read;
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
        self.line = self.line.saturating_add(1);
        let length = read.map_err(|error| self.error(SnapshotErrorKind::Io(error.to_string())))?;
        if length == 0 {
            return Ok(None);
        }
        if bytes.last() != Some(&b'\n') {
            return Err(self.error(SnapshotErrorKind::Cut));
        }
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|error| {
            let first = self.line == 1;
            let kind =
                if first { SnapshotErrorKind::Foreign } else { malformed(error.to_string()) };
            self.error(kind)
        })
    }

    fn error(&self, kind: SnapshotErrorKind) -> SnapshotError {
        SnapshotError { line: self.line, kind }
    }
}

fn malformed(what: impl Into<String>) -> SnapshotErrorKind {
    SnapshotErrorKind::Malformed(what.into())
}

fn head_of(line: &Json) -> Result<SystemValues, SnapshotErrorKind> {
    if line["format"].as_str() != Some(FORMAT) {
        return Err(SnapshotErrorKind::Foreign);
    }
    let number = |name: &str| {
        line[name].as_u64().ok_or_else(|| malformed(format!("the first line has no `{name}`")))
    };
    match number("version")? {
        VERSION => Ok(SystemValues { memory: number("memory")?, cpus: number("cpus")? }),
        other => Err(SnapshotErrorKind::Version(other)),
    }
}

fn begin_of(line: &Json) -> Result<Recorded, SnapshotErrorKind> {
    let wrong = || malformed("expected the begin of a sweep: table, now and columns");
    let name = line["table"].as_str().ok_or_else(wrong)?;
    let table = Table::from_name(name).ok_or_else(|| malformed(format!("no table `{name}`")))?;
    let columns = line["columns"].as_array().ok_or_else(wrong)?.iter();
    let columns: Option<Vec<String>> =
        columns.map(|column| column.as_str().map(str::to_owned)).collect();
    Ok(Recorded {
        table,
        now_ns: line["now"].as_i64().ok_or_else(wrong)?,
        columns: columns.ok_or_else(wrong)?,
        rows: Vec::new(),
        unreadable: 0,
    })
}

fn end_of(line: &Json, sweep: &mut Recorded) -> Result<(), SnapshotErrorKind> {
    let wrong = || malformed("expected a row, or the end of the sweep");
    let said = line["end"].as_u64().ok_or_else(wrong)?;
    sweep.unreadable = line["unreadable"].as_u64().ok_or_else(wrong)?;
    let found = u64::try_from(sweep.rows.len()).unwrap_or(u64::MAX);
    if said != found {
        return Err(SnapshotErrorKind::Count { said, found });
    }
    Ok(())
}

fn row_of(line: Json, sweep: &mut Recorded) -> Result<(), SnapshotErrorKind> {
    let Json::Array(line) = line else { return Err(malformed("expected a row")) };
    let (Some(id), Some(start)) =
        (line.first().and_then(Json::as_i64), line.get(1).and_then(Json::as_i64))
    else {
        return Err(malformed("a row begins with its id and start time"));
    };
    if line.len() - 2 != sweep.columns.len() {
        let (has, wants) = (line.len() - 2, sweep.columns.len());
        return Err(malformed(format!("a row of {has} values where there are {wants} columns")));
    }
    let values: Result<Vec<_>, _> = line.iter().skip(2).map(value_of).collect();
    sweep.rows.push(((id, start), values?));
    Ok(())
}

fn value_of(value: &Json) -> Result<Option<Value>, SnapshotErrorKind> {
    let wrong = || malformed(format!("{value} is no value of a column"));
    let int = |value: Option<&Json>| value.and_then(Json::as_i64).ok_or_else(wrong);
    match value {
        Json::Null => Ok(None),
        Json::Number(number) => Ok(Some(Value::Int(number.as_i64().ok_or_else(wrong)?))),
        Json::String(text) => Ok(Some(Value::Text(text.clone().into_bytes()))),
        Json::Array(pair) if pair.len() == 2 => {
            Ok(Some(Value::Object(int(pair.first())?, int(pair.get(1))?)))
        }
        Json::Object(map) => {
            let bytes = map.get("bytes").and_then(Json::as_array).ok_or_else(wrong)?;
            let bytes: Option<Vec<u8>> = bytes
                .iter()
                .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()))
                .collect();
            Ok(Some(Value::Text(bytes.ok_or_else(wrong)?)))
        }
        Json::Array(_) | Json::Bool(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::Procfs;
    use crate::procfs::walk::Layout;
    use crate::snapshot::{record, write_head};
    use proptest::prelude::*;

    const SMALL: &str = concat!(
        r#"{"format":"kfilter snapshot","version":1,"schema":1,"memory":1024,"cpus":2}"#,
        "\n",
        r#"{"table":"process","now":5000,"columns":["comm","pid","rss"]}"#,
        "\n",
        r#"[7,100,"init",7,null]"#,
        "\n",
        r#"[8,200,{"bytes":[97,255]},8,4096]"#,
        "\n",
        r#"{"end":2,"unreadable":1}"#,
        "\n",
    );

    fn read(text: &str) -> Result<Snapshot, SnapshotError> {
        Snapshot::read(&mut text.as_bytes())
    }

    #[test]
    fn what_was_recorded_is_laid_out_again() {
        let snapshot = read(SMALL).expect("a recording");
        assert_eq!(snapshot.system(), SystemValues { memory: 1024, cpus: 2 });
        assert_eq!(snapshot.sweeps_of(Table::Process), 1);
        let mut playback = snapshot.play();
        assert_eq!(playback.next_sweep(Table::Thread), None);
        assert_eq!(playback.next_sweep(Table::Process), Some(5000));
        let layout = Layout::whole(Table::Process);
        let mut rows = Vec::new();
        let unreadable = playback.walk(&layout, |key, row| rows.push((key, row.to_vec())));
        assert_eq!((unreadable, rows.len()), (1, 2));
        let (_, at) = layout.place("comm").expect("a column");
        assert_eq!(rows[1].0, (8, 200));
        assert_eq!(&rows[1].1[at..at + 3], [97, 255, 0]);
        let bit = layout.columns().position(|column| column.name == "rss").expect("a column");
        let missing = |row: &[u8]| u64::from_le_bytes(row[8..16].try_into().expect("8 bytes"));
        assert_eq!(missing(&rows[0].1) >> bit & 1, 1, "null is missing");
        assert_eq!(missing(&rows[1].1) >> bit & 1, 0);
        assert_eq!(playback.next_sweep(Table::Process), None);
    }

    #[test]
    fn this_machine_is_read_back_as_it_was_written() {
        let mut file = Vec::new();
        write_head(&mut file, SystemValues { memory: 1, cpus: 1 }).expect("memory takes it");
        let mut procfs = Procfs::new();
        let mut count = 0;
        for table in [Table::Process, Table::Thread] {
            count = record(&mut file, &mut procfs, table).expect("proc is mounted");
        }
        let snapshot = Snapshot::read(&mut file.as_slice()).expect("as it was written");
        let threads = snapshot.sweeps.last().expect("two sweeps");
        assert_eq!(threads.rows.len() as u64, count);
        let column = |name: &str| threads.columns.iter().position(|each| each == name);
        let pid = column("pid").expect("a column");
        let own = Value::Int(i64::from(std::process::id()));
        assert!(threads.rows.iter().any(|(_, values)| values[pid].as_ref() == Some(&own)));
    }

    #[test]
    fn damaged_recordings_are_refused_with_their_line() {
        let message = |text: &str| read(text).expect_err("damaged").to_string();
        let without_row = SMALL.replace("[7,100,\"init\",7,null]\n", "");
        let cut = &SMALL[..SMALL.len() - 30];
        let messages = [
            message(""),
            message("\u{7f}ELF\n"),
            message(&SMALL.replace("\"version\":1", "\"version\":9")),
            message(&SMALL.replace("process", "people")),
            message(&SMALL.replace(",7,null]", ",7]")),
            message(&SMALL.replace("[7,100,", "[\"x\",100,")),
            message(&SMALL.replace("null", "true")),
            message(&without_row),
            message(cut),
            message(&SMALL[..SMALL.len() - 25]),
        ];
        insta::assert_snapshot!(messages.join("\n"));
    }

    proptest! {
        #[test]
        fn any_damage_is_answered(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
            let mut bytes = SMALL.as_bytes().to_vec();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            let _ = Snapshot::read(&mut bytes.as_slice());
        }
    }
}
