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
    let is_way_out = |op: &Op| matches!(op, Op::Branch { to, .. } if row.ends_at(*to).is_some());
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

#[cfg(test)]
mod tests {
    use super::{Sights, add_columns, of_walk};
    use crate::lower::{Host, Stage, lower};
    use crate::plan::Plan;

    fn sights(source: &str) -> Sights {
        let analysis = crate::parse_and_check(source);
        assert!(!analysis.has_errors(), "{:?}", analysis.diagnostics);
        let filter = crate::simplify::simplify(&analysis.filters[0]);
        let body = lower(&filter, &Plan::new(&filter), Host::Bpf, Stage::Rows, 0);
        let mut sights = of_walk(filter.table, false);
        add_columns(filter.table, &body.function, &mut sights);
        sights
    }

    fn members(sights: &Sights) -> Vec<&str> {
        sights.task.iter().map(|hop| hop.1[0]).collect()
    }

    #[test]
    fn what_every_row_reads_is_looked_at_and_what_is_only_emitted_is_not() {
        let rate =
            sights("filter f on thread { where rate(cpu_time) > 1% emit tid, comm, policy }");
        assert_eq!(members(&rate), ["thread_node", "se"]);
        let both = sights("filter f on thread { where nice < 0 and rt_priority > 5 emit tid }");
        assert_eq!(both.task.len(), 2, "one is read only where the other holds: {both:?}");
        let state = sights("filter f on thread { where state == disk_sleep emit tid }");
        assert_eq!(members(&state), ["thread_node", "__state", "exit_state"]);
    }

    #[test]
    fn what_the_tasks_of_a_process_share_is_looked_at_once() {
        let process =
            sights("filter f on process { where cpu_time > 1s and threads > 2 emit pid }");
        assert_eq!(process.process.len(), 1);
        assert!(process.behind.is_empty());
        let behind: Vec<&str> = process.behind_process.iter().map(|way| way.1.1[0]).collect();
        assert!(behind.contains(&"nr_threads"), "{behind:?}");
        let owner = sights("filter f on thread { where uid == 0 emit tid }");
        assert_eq!(owner.behind.len(), 1);
    }
}
