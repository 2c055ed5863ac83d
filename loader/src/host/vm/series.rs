//! A plain series of numbers through a filter's compiled history functions.
//!
//! Each point is one sweep over one row: the point's time is that of the sweep, its value
//! is the value of one column, all others are 0. What the filter emits for it is the
//! answer; a field that is still warming up is missing from it.
//!
//! **Invariant**: the functions are those of the object, run as for any row; nothing is
//! computed beside them.

use super::super::Request;
use super::program::{Outcome, Program, Run};
use crate::error::LoadError;
use crate::procfs::walk::Layout;
use kernel_vm::abi::ROW_NOW_OFFSET;
use kernel_vm::schema::{Table, Type};
use std::io::{BufRead, Read as _};

/// One point of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The time as it was written.
    pub time: String,
    /// When, in nanoseconds; points come in the order of time.
    pub time_ns: i64,
    /// What was measured.
    pub value: f64,
}

/// Values are kept in millionths, so that what lies behind the point still counts.
pub const VALUE_SCALE: f64 = 1e6;

/// The filter's record for each point, in the points' order; `None` where the row did not
/// match. `column` is the one that takes the values, in [`VALUE_SCALE`]ths.
///
/// # Errors
/// When the filter does not read the column, the column is no number, or the program is
/// refused.
pub fn replay(
    request: &Request<'_>,
    column: &str,
    points: &[Point],
) -> Result<Vec<Option<Vec<u8>>>, LoadError> {
    let meta = request.filter;
    let refuse = |reason: String| LoadError::Vm { filter: meta.name.clone(), reason };
    let unfit = |reason: String| LoadError::Name { name: meta.name.clone(), reason };
    if meta.group.is_some() {
        return Err(unfit("a series has one row, so it cannot have groups".to_owned()));
    }
    let layout = Table::from_name(&meta.table)
        .and_then(|table| Layout::new(table, &meta.vm))
        .ok_or_else(|| refuse("its rows are of another schema".to_owned()))?;
    let (ty, offset) = layout
        .place(column)
        .ok_or_else(|| unfit(format!("it does not read the column `{column}`")))?;
    if !matches!(ty, Type::Int(_)) {
        return Err(unfit(format!("the column `{column}` is no number")));
    }
    let program = Program::of_rows(request).map_err(refuse)?;
    let mut state = program.fresh_state();
    let mut row = vec![0; layout.size()];
    let mut records = Vec::with_capacity(points.len());
    let first_ns = points.first().map_or(0, |point| point.time_ns);
    program
        .verified(|verified| {
            for point in points {
                // Times near zero would look like those of a row that was never seen.
                let now_ns = point.time_ns.saturating_sub(first_ns).saturating_add(1_000_000_000);
                let value = fixed(point.value);
                row[ROW_NOW_OFFSET..ROW_NOW_OFFSET + 8].copy_from_slice(&now_ns.to_le_bytes());
                row[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
                let outcome = Run::new(&program, verified, now_ns).row(&row, &mut state);
                records.push(match outcome {
                    Outcome::Match(record) => record,
                    Outcome::Other(_) => None,
                });
            }
        })
        .map_err(refuse)?;
    Ok(records)
}

/// A value in millionths.
fn fixed(value: f64) -> i64 {
    (value * VALUE_SCALE).round() as i64
}

/// Why a file is no series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct SeriesError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: SeriesErrorKind,
}

/// What can be wrong with a series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesErrorKind {
    /// It has not two columns.
    #[error("expected `time,value`")]
    Columns,
    /// The first column is no time.
    #[error("`{0}` is no time: expected seconds or YYYY-MM-DD HH:MM:SS")]
    Time(String),
    /// The second column is no number.
    #[error("`{0}` is no number")]
    Value(String),
    /// The value has no room in millionths.
    #[error("`{0}` is too large: values are kept in millionths, up to 9.2e12 (divide the series)")]
    Range(String),
    /// Not text.
    #[error("this is no text")]
    Text,
    /// Longer than a line of two numbers could be.
    #[error("more than {LINE_BYTES_MAX} bytes in a line: this is no series")]
    Long,
    /// More than the limit.
    #[error("more than {POINTS_MAX} points: split the series")]
    Points,
    /// Nothing, or nothing but a head.
    #[error("no point: expected lines of `time,value`")]
    Empty,
    /// The operating system's reason.
    #[error("{0}")]
    Read(String),
}

/// Bytes of a line at most, as nothing longer is a time and a value.
const LINE_BYTES_MAX: usize = 4096;
/// Points of a series at most: about a gigabyte of them.
const POINTS_MAX: usize = 10_000_000;

/// Reads comma-separated lines of time and value; a first line without a number as its value
/// is a head. A time is a number of seconds, or a date and time of day.
///
/// # Errors
/// Names the first line that is neither; the last one if there is no point in any.
pub fn parse(mut text: impl BufRead) -> Result<Vec<Point>, SeriesError> {
    let mut points = Vec::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        let wrong = |kind| SeriesError { line, kind };
        bytes.clear();
        let mut limited = text.by_ref().take(LINE_BYTES_MAX as u64);
        let read = limited.read_until(b'\n', &mut bytes);
        if read.map_err(|error| wrong(SeriesErrorKind::Read(error.to_string())))? == 0 {
            return if points.is_empty() { Err(wrong(SeriesErrorKind::Empty)) } else { Ok(points) };
        }
        if bytes.len() == LINE_BYTES_MAX && !bytes.ends_with(b"\n") {
            return Err(wrong(SeriesErrorKind::Long));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong(SeriesErrorKind::Text))?;
        // Spreadsheets begin a file with a mark of its encoding.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        match point(text) {
            Ok(point) if points.len() < POINTS_MAX => points.push(point),
            Ok(_) => return Err(wrong(SeriesErrorKind::Points)),
            Err(_) if line == 1 && is_head(text) => {}
            Err(kind) => return Err(wrong(kind)),
        }
    }
    unreachable!("a file has fewer lines than numbers can count")
}

fn columns(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|column| column.trim().trim_matches('"'))
}

fn is_head(line: &str) -> bool {
    columns(line).nth(1).is_some_and(|value| value.parse::<f64>().is_err())
}

fn point(line: &str) -> Result<Point, SeriesErrorKind> {
    let mut columns = columns(line);
    let (Some(time), Some(value)) = (columns.next(), columns.next()) else {
        return Err(SeriesErrorKind::Columns);
    };
    let time_ns = time_ns(time).ok_or_else(|| SeriesErrorKind::Time(time.to_owned()))?;
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| SeriesErrorKind::Value(value.to_owned()))?;
    if (number * VALUE_SCALE).abs() >= i64::MAX as f64 {
        return Err(SeriesErrorKind::Range(value.to_owned()));
    }
    Ok(Point { time: time.to_owned(), time_ns, value: number })
}

fn time_ns(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = whole.parse::<i64>().ok().or_else(|| calendar_seconds(whole))?;
    let fraction = fraction.trim_end_matches('Z');
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    seconds.checked_mul(1_000_000_000)?.checked_add(digits.parse().ok()?)
}

/// Seconds since 1970 of `YYYY-MM-DD HH:MM:SS`, in whatever time zone; seconds may be absent.
fn calendar_seconds(text: &str) -> Option<i64> {
    let (date, time) = text.trim_end_matches('Z').split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next().unwrap_or(Some(0))?);
    let is_valid = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !is_valid {
        return None;
    }
    // Years begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_seconds_or_dates() {
        assert_eq!(time_ns("12"), Some(12_000_000_000));
        assert_eq!(time_ns("12.25"), Some(12_250_000_000));
        assert_eq!(time_ns("1970-01-01 00:00:00"), Some(0));
        assert_eq!(time_ns("2000-03-01T00:00:00Z"), Some(951_868_800_000_000_000));
        assert_eq!(time_ns("2014-02-14 14:30"), Some(1_392_388_200_000_000_000));
        assert_eq!(time_ns("2015-09-01 13:45:00.5"), Some(1_441_115_100_500_000_000));
        for wrong in ["", "x", "2014-13-01 00:00:00", "12.x", "2014-02-14"] {
            assert_eq!(time_ns(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_head_is_passed_over_and_a_wrong_line_named() {
        let parse = |text: &str| parse(text.as_bytes());
        let points = parse("timestamp,value\n1,0.5\n\n2,-3\n").expect("a series");
        assert_eq!(points[1], Point { time: "2".to_owned(), time_ns: 2_000_000_000, value: -3.0 });
        let error = parse("time,value\n1,2\n3;4\n").expect_err("no comma");
        assert_eq!(error.to_string(), "line 3: expected `time,value`");
        let error = parse("time,value\n1,NaN\n").expect_err("no number");
        assert_eq!(error.to_string(), "line 2: `NaN` is no number");
        let points = parse("\u{feff}1,2\r\n\"3\",\"4\"\r\n").expect("a spreadsheet's");
        assert_eq!(points[1].value, 4.0);
    }

    #[test]
    fn what_is_no_series_is_refused() {
        let endless = std::io::BufReader::new(std::io::repeat(b'1'));
        let error = parse(endless).expect_err("no end");
        assert_eq!(error.to_string(), "line 1: more than 4096 bytes in a line: this is no series");
        for (text, message) in [
            (&b""[..], "line 1: no point: expected lines of `time,value`"),
            (b"time,value\n", "line 2: no point: expected lines of `time,value`"),
            (b"time\n1\n", "line 1: expected `time,value`"),
            (b"1,2\n1,\n", "line 2: `` is no number"),
            (b"1,inf\n", "line 1: `inf` is no number"),
            (b"1,1e400\n", "line 1: `1e400` is no number"),
            (b"1,2\n\xff\xfe,3\n", "line 2: this is no text"),
            (
                b"2014-13-45 99:00:00,2\n",
                "line 1: `2014-13-45 99:00:00` is no time: expected seconds or YYYY-MM-DD HH:MM:SS",
            ),
            (
                b"1,-1e13\n",
                "line 1: `-1e13` is too large: values are kept in millionths, up to 9.2e12 \
                 (divide the series)",
            ),
        ] {
            assert_eq!(parse(text).expect_err("no series").to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[ -~\\n]{0,200}") {
            let _ = parse(text.as_bytes());
        }
    }
}
