//! What of a task its walk and its columns read, for the walk to look at it
//! [ahead](super::super::ahead).

use kernel_vm::schema::{Column, Table};

use super::super::ahead::{PROCESSES, Sights, THREADS};
use super::paths::{self, Found};
use super::sums::Sum;
use super::{memory, sums};
use crate::lir::{Function, Op};

/// What the walk over a table reads of each task, and of the threads of each process if it goes
/// over them for a sum.
pub(super) fn of_walk(table: Table, sums_threads: bool) -> Sights {
    let mut sights = Sights::default();
    if table == Table::Thread || sums_threads {
        sights.task.push(THREADS);
    }
    if table != Table::Thread {
        sights.process.push(PROCESSES);
    }
    sights
}

/// Adds what the columns read in a row of this code.
pub(super) fn add_columns(table: Table, row: &Function, sights: &mut Sights) {
    let columns = always_read(row).into_iter();
    for found in columns.filter_map(|column| paths::find(table, column)) {
        found.add_to(sights);
    }
}

/// The columns that are read in every row: those before the first way out of its code.
fn always_read(row: &Function) -> Vec<&'static Column> {
    let ends = |place| {
        let mut there = row.ops.iter().skip_while(|op| **op != Op::Bind(place));
        let first = there.find(|op| !matches!(op, Op::Bind(_) | Op::Mark(_)));
        matches!(first, Some(Op::Exit(_)))
    };
    let is_way_out = |op: &Op| matches!(op, Op::Branch { to, .. } if ends(*to));
    let read = row.ops.iter().take_while(|op| !is_way_out(op));
    read.filter_map(|op| if let Op::Column { column, .. } = op { Some(column.0) } else { None })
        .collect()
}

impl Found {
    fn add_to(self, sights: &mut Sights) {
        match self {
            Self::Path([hop], _) => sights.task.push(*hop),
            Self::Path([pointer, member, ..], _) if pointer.1 == ["signal"] => {
                sights.behind_process.push((*pointer, *member));
            }
            Self::Path([pointer, member, ..], _) => sights.behind.push((*pointer, *member)),
            Self::AddressSpace(member, _) => sights.behind_process.push((memory::MM, member)),
            Self::Special(special) => sights.task.extend(special.members()),
            Self::Thread(sums) => sights.task.extend(sums.iter().map(|sum| sum.of_task())),
            Self::ThreadTime(_) => {
                sights.task.extend([Sum::User, Sum::System, Sum::Exec].map(Sum::of_task));
            }
            Self::Process(_) | Self::ProcessTime(_) => sums::add_to(self, sights),
            // Of these most is behind more pointers than are followed.
            Self::Path([], _)
            | Self::Resident(_)
            | Self::PeakResident
            | Self::Files
            | Self::Mappings(_)
            | Self::Waits(_)
            | Self::Row(_)
            | Self::Fill(_) => (),
        }
    }
}
