//! The device under load: churn, many at once, a slow reader, many threads.

use crate::FILTERS;
use crate::fuzz::word;
use crate::tasks::Frozen;
use kernel_vm::module::DEVICE;
use kfilter_loader::HostKind;
use kfilter_loader::host::bpf::system_values;
use kfilter_loader::host::module::image;
use kfilter_loader::sys::{Device, Kernel, ModuleFile};
use kfilter_loader::{Object, Request};
use kfilter_tests::run::{Running, number};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What is written to load a filter's source.
pub(crate) fn image_of(source: &str) -> Result<Vec<u8>, String> {
    let compiled =
        kfilter_compiler::compile("test.kf", source).map_err(|all| format!("{all:?}"))?;
    let object = Object::parse(&compiled.object).map_err(text)?;
    let name = object.filters()[0].name.clone();
    let request = Request::new(&object, &name, &[], system_values(&Kernel)).map_err(text)?;
    image(&request).map_err(text)
}

/// Starts programs and threads as fast as two CPUs allow while filters are swept.
pub(crate) fn churn(seconds: u64) -> Result<String, String> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let (born, running) = (AtomicU64::new(0), AtomicBool::new(true));
    let mut sweeps = 0_u64;
    let mut rows = 0_u64;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while running.load(Ordering::Relaxed) {
                    let child = Command::new("/bin/true").stdout(Stdio::null()).spawn();
                    let threads: Vec<_> =
                        (0..4).map(|_| thread::spawn(thread::yield_now)).collect();
                    threads.into_iter().for_each(|thread| _ = thread.join());
                    born.fetch_add(5, Ordering::Relaxed);
                    let _ = child.map(|mut child| child.wait());
                }
            });
        }
        let swept = (|| {
            let mut filters = Vec::new();
            for source in FILTERS {
                filters.push(Running::load(HostKind::Module, source, &[]).map_err(text)?);
            }
            while Instant::now() < until {
                for filter in &mut filters {
                    let (records, stats) = filter.sweep();
                    if stats.visited == 0
                        || records
                            .iter()
                            .any(|one| one.contains_key("pid") && number(one, "pid") < 1)
                    {
                        return Err(format!("{stats:?}"));
                    }
                    sweeps += 1;
                    rows += stats.visited;
                }
            }
            Ok(())
        })();
        running.store(false, Ordering::Relaxed);
        swept
    })?;
    Ok(format!("{sweeps} sweeps over {rows} rows while {} tasks came and went", born.into_inner()))
}

/// `count` threads that load, sweep and close filters of their own, `rounds` times each.
pub(crate) fn concurrent(count: u64, rounds: u64) -> Result<String, String> {
    let workers: Vec<_> = (0..count as usize)
        .map(|index| {
            thread::spawn(move || {
                for round in 0..rounds as usize {
                    let source = FILTERS[(index + round) % FILTERS.len()];
                    let mut one = Running::load(HostKind::Module, source, &[]).map_err(text)?;
                    let visited = (0..3).map(|_| one.sweep().1.visited).min();
                    if visited == Some(0) {
                        return Err("a sweep saw nothing".to_owned());
                    }
                }
                Ok(())
            })
        })
        .collect();
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked".to_owned())??;
    }
    let swept = shared(count, rounds)?;
    Ok(format!("{count} threads, {rounds} loads each; {swept} sweeps through one file"))
}

/// One file that several threads sweep at once: each read from the start is a whole sweep.
fn shared(count: u64, rounds: u64) -> Result<u64, String> {
    let file = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(text)?;
    let bytes = image_of(FILTERS[1])?;
    (&file).write_all(&bytes).map_err(text)?;
    let record = word(&bytes, 8);
    let whole = |bytes: &[u8]| {
        // Rows come in the order of their numbers; the second field is the thread's id.
        let tid = |record: &[u8]| record.get(16..24).map(|bytes| bytes.to_vec());
        let tids: Vec<i64> = bytes
            .chunks(record)
            .filter_map(|record| Some(i64::from_le_bytes(tid(record)?.try_into().ok()?)))
            .collect();
        bytes.len().is_multiple_of(record) && !tids.is_empty() && tids.is_sorted_by(|a, b| a < b)
    };
    thread::scope(|scope| {
        let worker = || {
            let mut buffer = vec![0; 4 << 20];
            (0..rounds * 4)
                .all(|_| file.read_at(&mut buffer, 0).is_ok_and(|length| whole(&buffer[..length])))
        };
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(worker)).collect();
        let all = workers.into_iter().all(|worker| worker.join().unwrap_or(false));
        if all { Ok(count * rounds * 4) } else { Err("a sweep was torn".to_owned()) }
    })
}

/// Takes a few bytes, sleeps, and takes the rest of the same sweep.
pub(crate) fn sleeper(seconds: u64) -> Result<String, String> {
    let _frozen = Frozen::start(10, 1)?;
    let mut file = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(text)?;
    let bytes = image_of(FILTERS[1])?;
    std::io::Write::write_all(&mut file, &bytes).map_err(text)?;
    let record = u32::from_le_bytes([bytes[32], bytes[33], bytes[34], bytes[35]]) as usize;
    let mut first = [0; 13];
    file.read_exact(&mut first).map_err(text)?;
    println!("asleep");
    // Meanwhile these threads are born, which the sweep before did not see.
    let _later = Frozen::start(5, 20)?;
    thread::sleep(Duration::from_secs(seconds));
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).map_err(text)?;
    let mut again = Vec::new();
    file.read_to_end(&mut again).map_err(text)?;
    let (one, other) = (first.len() + rest.len(), again.len());
    if one % record != 0 || other % record != 0 || other < one + 90 * record {
        return Err(format!("{one} and {other} bytes of records of {record}"));
    }
    if file.write(&bytes).is_ok() {
        return Err("a second filter was loaded into the same file".to_owned());
    }
    Ok(format!("{} and {} records", one / record, other / record))
}

/// Other parameters change what matches; of another length they are refused.
pub(crate) fn params() -> Result<String, String> {
    let frozen = Frozen::start(2, 1)?;
    let pid = frozen.pids().next().unwrap_or(0);
    let source = "filter one on process { param wanted = 1 where pid == wanted emit pid }";
    let device = Device::open().map_err(text)?;
    let bytes = image_of(source)?;
    device.load(&bytes).map_err(text)?;
    let found = |device: &Device| {
        let mut records = Vec::new();
        device.sweep(&mut records).map(|()| records).map_err(text)
    };
    let first = found(&device)?;
    let start = kernel_vm::module::HEADER_BYTES
        + 8 * u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]) as usize;
    let length = u32::from_le_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]) as usize;
    let mut params = bytes[start..start + length].to_vec();
    let at = params.len() - 8;
    params[at..].copy_from_slice(&pid.to_le_bytes());
    device.set_params(&params).map_err(text)?;
    let second = found(&device)?;
    let pid_of = |records: &[u8]| records.get(8..16).map(|bytes| bytes.to_vec());
    if pid_of(&first) != Some(1_i64.to_le_bytes().to_vec())
        || pid_of(&second) != Some(pid.to_le_bytes().to_vec())
    {
        return Err(format!("{first:?}, then {second:?}"));
    }
    Ok("the parameter was changed".to_owned())
}

/// As many threads as asked for, looked at by filters with and without history.
pub(crate) fn walk(threads: u64) -> Result<String, String> {
    const EACH: u64 = 2000;
    let began = Instant::now();
    let _frozen = Frozen::start(threads.div_ceil(EACH), EACH)?;
    let started = began.elapsed();
    let mut said = format!("{} threads started in {started:.1?}", threads.div_ceil(EACH) * EACH);
    for source in [FILTERS[1], FILTERS[4], FILTERS[2]] {
        let mut filter = Running::load(HostKind::Module, source, &[]).map_err(text)?;
        let (mut visited, mut least) = (0, u64::MAX);
        for _ in 0..3 {
            let (records, stats) = filter.sweep();
            let is_all = source == FILTERS[1];
            if stats.dropped != 0 || is_all && records.len() as u64 != stats.visited {
                return Err(format!("{} records, {stats:?}", records.len()));
            }
            (visited, least) = (stats.visited, least.min(stats.took_ns));
        }
        if source != FILTERS[2] && visited < threads {
            return Err(format!("{visited} of {threads} threads were seen"));
        }
        said += &format!("; {visited} rows in {:.1} ms", least as f64 / 1e6);
    }
    Ok(said)
}
