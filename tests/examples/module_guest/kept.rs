//! What a file is told, and filters that the module keeps by name: one after the other, up to the
//! bound, and by many at once.

use crate::FILTERS;
use crate::load::{image_of, text};
use kernel_vm::module::{KEPT_MAX, WAITS_MAX, Wait};
use kfilter_loader::sys::{Device, Errno, Kept, ModuleFile, SyscallError};
use std::thread;

/// A file with the filter `source`.
fn loaded(source: &str) -> Result<Device, String> {
    let device = Device::open().map_err(text)?;
    device.load(&image_of(source)?).map_err(text)?;
    Ok(device)
}

fn attached(name: &str) -> Result<Device, SyscallError> {
    let device = Device::open()?;
    device.attach(name)?;
    Ok(device)
}

fn sweep(device: &Device) -> Result<kernel_vm::abi::SweepStats, String> {
    device.sweep(&mut Vec::new()).map_err(text)?;
    device.stats().map_err(text)
}

fn refused<T>(result: Result<T, SyscallError>, errno: i32, what: &str) -> Result<(), String> {
    match result {
        Err(error) if error.errno == Errno(errno) => Ok(()),
        Err(error) => Err(format!("{what}: {error}")),
        Ok(_) => Err(format!("{what} was not refused")),
    }
}

fn holds(is_so: bool, what: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(format!("not so: {what}")) }
}

/// All of it.
pub(crate) fn run(threads: u64, rounds: u64) -> Result<String, String> {
    told()?;
    one_name()?;
    up_to_the_bound()?;
    let swept = by_many(threads as usize, rounds as usize)?;
    let left = Device::open().and_then(|device| device.names()).map_err(text)?;
    holds(left.is_empty(), "all are gone")?;
    Ok(format!(
        "history goes on, {KEPT_MAX} at most; {swept} sweeps by name while {threads} threads \
         kept, replaced and removed"
    ))
}

/// Whom threads wait for is what the file was told for the sweep, in order and not too much.
fn told() -> Result<(), String> {
    let device = loaded("filter w on thread { where waits_for == 7 emit tid, waits_on }")?;
    let wait = |tid, is_known| Wait {
        tid,
        is_known,
        waits_on: 5,
        waits_for: 7,
        wait_class: 1,
        cycle_id: 0,
        cycle_length: 0,
    };
    let stats = sweep(&device)?;
    holds(stats.unreadable == stats.visited, "what was not told is not known")?;
    device.set_waits(&[wait(1, 1), wait(2, 0)]).map_err(text)?;
    let stats = sweep(&device)?;
    holds((stats.matched, stats.unreadable) == (1, 1), "one waits, of one it is not known")?;
    let stats = sweep(&device)?;
    holds(stats.unreadable == stats.visited, "it was told for one sweep")?;
    device.set_waits(&[]).map_err(text)?;
    let stats = sweep(&device)?;
    holds((stats.matched, stats.unreadable) == (0, 0), "nobody waits")?;
    for wrong in [[wait(2, 1), wait(1, 1)], [wait(1, 1), wait(1, 1)]] {
        refused(device.set_waits(&wrong), libc::EINVAL, "threads out of order")?;
    }
    let many: Vec<Wait> = (0..=u64::from(WAITS_MAX)).map(|tid| wait(tid, 1)).collect();
    refused(device.set_waits(&many), libc::E2BIG, "too many threads")
}

/// What one has found out the next knows; what is gone is gone.
fn one_name() -> Result<(), String> {
    let (hog, unusual) = (FILTERS[2], FILTERS[4]);
    let first = loaded(hog)?;
    for name in ["", "a/b", "a b", "a.b"] {
        let kept = first.keep(name, b"it", false);
        refused(kept, libc::EINVAL, &format!("the name {name:?}"))?;
    }
    refused(first.keep("one", b"", false), libc::EINVAL, "no description")?;
    refused(first.description(), libc::ENODATA, "a description of what is not kept")?;
    refused(attached("one"), libc::ENOENT, "a name that is nobody's")?;
    let kept = first.keep("one", b"the first", false).map_err(text)?;
    holds(kept == Kept::default(), "nobody was replaced")?;
    refused(first.keep("two", b"it", false), libc::EBUSY, "a second name")?;
    drop(first);

    let device = attached("one").map_err(text)?;
    refused(device.attach("one"), libc::EBUSY, "a second filter in one file")?;
    refused(device.load(&image_of(hog)?), libc::EBUSY, "a load into a kept filter's file")?;
    refused(device.keep("two", b"it", false), libc::EBUSY, "another name for the same filter")?;
    holds(device.description().map_err(text)? == b"the first", "it is described")?;
    holds(device.stats().map_err(text)?.sweeps == 0, "it was never swept")?;
    let stats = sweep(&device)?;
    holds(stats.warming > 0 && stats.sweeps == 1, "the first sweep has nothing to compare")?;
    drop(device);
    let device = attached("one").map_err(text)?;
    holds(device.stats().map_err(text)?.sweeps == 1, "its counters are the filter's")?;
    holds(sweep(&device)?.warming < stats.warming, "the second one knows the first")?;

    let same = loaded(hog)?;
    refused(same.keep("one", b"it", false), libc::EEXIST, "a name that is taken")?;
    let kept = same.keep("one", b"the second", true).map_err(text)?;
    holds(kept == Kept { replaced: true, history: true }, "its history goes on")?;
    holds(sweep(&same)?.warming < stats.warming, "the new one knows what the old one did")?;
    holds(sweep(&device)?.visited > 0, "who has the old one open goes on with it")?;
    let other = loaded(unusual)?;
    let kept = other.keep("one", b"the third", true).map_err(text)?;
    holds(kept == Kept { replaced: true, history: false }, "another program begins anew")?;
    holds(device.names().map_err(text)? == ["one"], "one name is one filter")?;
    device.remove("one").map_err(text)?;
    refused(device.remove("one"), libc::ENOENT, "removing what is gone")?;
    holds(sweep(&other)?.visited > 0, "who has it open goes on with it")
}

fn up_to_the_bound() -> Result<(), String> {
    for index in 0..KEPT_MAX {
        let kept = loaded(FILTERS[0])?.keep(&format!("kept_{index}"), b"it", false);
        kept.map_err(text)?;
    }
    let device = loaded(FILTERS[0])?;
    refused(device.keep("one_more", b"it", false), libc::ENOSPC, "one too many")?;
    let names = device.names().map_err(text)?;
    holds(names.len() == KEPT_MAX as usize, "all are listed")?;
    device.keep(&names[7], b"it", true).map_err(text)?;
    names.iter().try_for_each(|name| device.remove(name)).map_err(text)
}

/// Eight names, as many threads as asked for, each at a name that others are at as well.
fn by_many(threads: usize, rounds: usize) -> Result<u64, String> {
    const NAMES: usize = 8;
    let images: Vec<Vec<u8>> = FILTERS.iter().map(|one| image_of(one)).collect::<Result<_, _>>()?;
    let images = &images;
    let worker = move |index: usize| {
        let mut swept = 0;
        for round in 0..rounds * 8 {
            let name = format!("shared_{}", (index * 3 + round) % NAMES);
            // The program changes with the round, so that history moves now and then.
            let image = &images[round / 3 % images.len()];
            let outcome = match (index + round) % 4 {
                0 => Device::open().and_then(|device| {
                    device.load(image)?;
                    device.keep(&name, name.as_bytes(), true).map(|_| 0)
                }),
                1 | 2 => attached(&name).and_then(|device| {
                    let mut records = Vec::new();
                    (0..3).try_for_each(|_| device.sweep(&mut records))?;
                    let is_it = device.description()? == name.as_bytes();
                    let is_it = is_it && device.stats()?.visited > 0;
                    if is_it {
                        Ok(3)
                    } else {
                        Err(SyscallError::new("ioctl", Errno(libc::EBADMSG)))
                    }
                }),
                _ => Device::open().and_then(|device| device.remove(&name).map(|()| 0)),
            };
            match outcome {
                Ok(count) => swept += count,
                Err(error) if error.errno == Errno(libc::ENOENT) => {}
                Err(error) => return Err(text(error)),
            }
        }
        Ok(swept)
    };
    let workers: Vec<u64> = thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|index| scope.spawn(move || worker(index))).collect();
        all.into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err("a worker panicked".to_owned())))
            .collect::<Result<_, _>>()
    })?;
    let device = Device::open().map_err(text)?;
    for name in device.names().map_err(text)? {
        device.remove(&name).map_err(text)?;
    }
    Ok(workers.iter().sum())
}
