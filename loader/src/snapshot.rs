//! Recorded tables: what /proc showed, kept in a file, for filters to run over later or on
//! another machine.
//!
//! A recording is text, one JSON value a line:
//!
//! ```text
//! {"format":"kfilter snapshot","version":1,"schema":S,"memory":BYTES,"cpus":N}
//! {"table":"process","now":NANOSECONDS,"columns":["pid","comm",…]}     a sweep begins
//! [ID,START,VALUE,…]                                                   a row
//! {"end":ROWS,"unreadable":PROCESSES}                                  it ends
//! ```
//!
//! A value is a number, a text, `[DEVICE,INODE]` for an object, `null` for what could not be
//! read, or `{"bytes":[…]}` for a text that is no UTF-8. Columns are found by name, so that a
//! recording survives a later schema: a column that it lacks is missing.
//!
//! **Invariant**: a file that is cut or damaged is an error that names the line, never a
//! shorter table.

mod read;
mod write;

pub use read::{SnapshotError, SnapshotErrorKind};
pub use write::{record, write_head};

use crate::params::SystemValues;
use crate::procfs::columns::Cell;
use crate::procfs::walk::{Layout, RowKey};
use kernel_vm::schema::Table;

/// What the first line says the file is.
const FORMAT: &str = "kfilter snapshot";
/// The version of the format that is written and understood.
const VERSION: u64 = 1;

/// A value that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Int(i64),
    Text(Vec<u8>),
    Object(i64, i64),
}

impl Value {
    fn cell(&self) -> Cell<'_> {
        match self {
            Self::Int(value) => Cell::Int(*value),
            Self::Text(text) => Cell::Text(text),
            Self::Object(device, inode) => Cell::Object(*device, *inode),
        }
    }
}

/// One sweep over one table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Recorded {
    table: Table,
    now_ns: i64,
    columns: Vec<String>,
    rows: Vec<(RowKey, Vec<Option<Value>>)>,
    unreadable: u64,
}

/// A recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    system: SystemValues,
    sweeps: Vec<Recorded>,
}

impl Snapshot {
    /// Memory and CPUs of the machine that was recorded.
    #[must_use]
    pub fn system(&self) -> SystemValues {
        self.system
    }

    /// How many sweeps over a table there are.
    #[must_use]
    pub fn sweeps_of(&self, table: Table) -> usize {
        self.sweeps.iter().filter(|sweep| sweep.table == table).count()
    }

    /// Its sweeps, to be run over from the first.
    #[must_use]
    pub fn play(self) -> Playback {
        Playback { snapshot: self, next: 0, current: None }
    }
}

/// A recording that is being played.
#[derive(Clone, Debug)]
pub struct Playback {
    snapshot: Snapshot,
    next: usize,
    current: Option<usize>,
}

impl Playback {
    /// Goes on to the next sweep over a table: its time. `None` after the last.
    pub fn next_sweep(&mut self, table: Table) -> Option<i64> {
        let rest = self.snapshot.sweeps.get(self.next..)?;
        let found = rest.iter().position(|sweep| sweep.table == table)?;
        let at = self.next + found;
        (self.current, self.next) = (Some(at), at + 1);
        Some(self.snapshot.sweeps.get(at)?.now_ns)
    }

    /// Shows every row of the present sweep to `each`, laid out as asked for. Returns for how
    /// many processes the rows could not be read.
    pub fn walk(&self, layout: &Layout, mut each: impl FnMut(RowKey, &[u8])) -> u64 {
        let Some(sweep) = self.current.and_then(|at| self.snapshot.sweeps.get(at)) else {
            return 0;
        };
        let places: std::collections::HashMap<u16, usize> = layout
            .columns()
            .filter_map(|column| {
                let at = sweep.columns.iter().position(|name| name == column.name)?;
                Some((column.id.0, at))
            })
            .collect();
        let mut bytes = vec![0; layout.size()];
        for (key, values) in &sweep.rows {
            let value = |id: u16| values.get(*places.get(&id)?)?.as_ref().map(Value::cell);
            layout.fill(sweep.now_ns, |column| value(column.id.0), &mut bytes);
            each(*key, &bytes);
        }
        sweep.unreadable
    }
}
