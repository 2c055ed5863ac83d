//! What `tests/kernels/run` runs inside its guests against the real module.
//!
//! **Invariant**: a subcommand exits with 0 only if all that it looked at was as it should
//! be; what the kernel itself says is looked at afterwards, by the guest's script.

mod agree;
mod fuzz;
mod kept;
mod load;
mod speed;
mod tasks;

use std::process::ExitCode;

/// The filters that are loaded, mutated and compared.
const FILTERS: &[&str] = &[
    "filter named on process { where comm == \"frozen\" emit pid, comm, threads, files }",
    "filter all on thread { where pid > 0 emit pid, tid, comm, state }",
    "filter hog on process {
        param max = 1ms
        let cpu = rate(cpu_time)
        where cpu > 50% or cpu_time > max for 1ms
        emit pid, comm, cpu, mean(cpu, 10s) as usual
        top 20 by cpu
    }",
    "filter memory on process {
        where rss > 16MiB or (virtual_size > 1GiB and not kernel_thread)
        emit pid, comm, rss, virtual_size, page_faults, cgroup
    }",
    "filter unusual on thread {
        where zscore(context_switches, 10s) > 3
        emit pid, tid, comm, peak(context_switches, 10s) as most
    }",
    "filter users on process {
        where not kernel_thread
        group by uid
        having count() > 0
        emit uid, count() as n, sum(threads) as threads, max(start_time) as latest
    }",
    "filter shares on process {
        where shared_mapped >= 0 and not kernel_thread
        emit pid, shared_mapped, shm_objects, shm_tmpfs, shm_sysv, shm_anon
    }",
    "filter mapped on mapping { where writable emit pid, comm, address, permissions, object.name }",
    "filter open on file { where kind in (pipe, regular) emit pid, fd, kind, name, position }",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize| arguments.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(1);
    let result =
        match arguments.first().map(String::as_str) {
            Some("fuzz") => fuzz::run(number(1), number(2)),
            Some("agree") => agree::run(),
            Some("churn") => load::churn(number(1)),
            Some("concurrent") => load::concurrent(number(1), number(2)),
            Some("kept") => kept::run(number(1), number(2)),
            Some("sleeper") => load::sleeper(number(1)),
            Some("params") => load::params(),
            Some("walk") => load::walk(number(1)),
            Some("speed") => speed::run(number(1)),
            Some("frozen") => tasks::freeze(number(1), number(2)),
            _ => Err("usage: fuzz|agree|churn|concurrent|kept|sleeper|params|walk|speed|frozen"
                .to_owned()),
        };
    match result {
        Ok(said) => {
            println!("ok: {}: {said}", arguments.join(" "));
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            println!("FAILED: {}: {wrong}", arguments.join(" "));
            ExitCode::FAILURE
        }
    }
}
