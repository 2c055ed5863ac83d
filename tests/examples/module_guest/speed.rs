//! What a row costs: the module, the kernel's own BPF iterator, a C walk of /proc.
//!
//! Figures for docs/performance.md. They are told, not judged: a guest that shares its
//! machine cannot fail for being slow.

use crate::FILTERS;
use crate::tasks::Frozen;
use kfilter_loader::HostKind;
use kfilter_tests::run::Running;
use std::process::Command;

const ROUNDS: usize = 15;
/// Finds nothing, as filters mostly do: what it costs to look.
const NONE: &str = "filter none on thread { where pid < 0 emit pid, tid, comm, state }";

/// The least nanoseconds a row of some sweeps.
fn least(filter: &mut Running) -> (f64, u64) {
    let mut least = f64::MAX;
    let mut visited = 0;
    for _ in 0..ROUNDS {
        let (_, stats) = filter.sweep();
        least = least.min(stats.took_ns as f64 / stats.visited.max(1) as f64);
        visited = stats.visited;
    }
    (least, visited)
}

/// Compares over `threads` threads.
pub(crate) fn run(threads: u64) -> Result<String, String> {
    let _frozen = Frozen::start(threads / 20, 20)?;
    let walk = Command::new("/t/procwalk").output().map_err(|error| error.to_string())?;
    let walk: f64 = String::from_utf8_lossy(&walk.stdout).trim().parse().unwrap_or(0.0);
    let mut said = format!("C walk of /proc {walk:.0} ns a thread");
    for source in [NONE].iter().chain(FILTERS) {
        let name = source.split_whitespace().nth(1).unwrap_or_default();
        let mut module =
            Running::load(HostKind::Module, source, &[]).map_err(|error| error.to_string())?;
        let (mut one, visited) = least(&mut module);
        // The sweep, where this kernel has iterators to call, and what it calls row by row.
        let peers = [
            ("sweep", Running::load(HostKind::Bpf, source, &[])),
            ("iter/task", Running::load_classic(source).expect("every filter has them")),
        ];
        let mut beside = String::new();
        for (kind, peer) in peers {
            match peer {
                Ok(mut bpf) => {
                    let (other, _) = least(&mut bpf);
                    // Again, so that neither had the quieter time.
                    one = one.min(least(&mut module).0);
                    let other = other.min(least(&mut bpf).0);
                    beside += &format!(", bpf {kind} {other:.0}: {:.2} times", one / other);
                }
                Err(error) => {
                    let first = error.to_string();
                    let first = first.lines().next().unwrap_or_default();
                    beside += &format!(", bpf {kind} cannot: {first}");
                }
            }
        }
        said += &format!("\n  {name}: module {one:.0} ns a row ({visited} rows){beside}");
        if source.contains("on thread") {
            said += &format!("; /proc {:.0} times", walk / one);
        }
    }
    Ok(said)
}
