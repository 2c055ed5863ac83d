//! Processes and threads that do nothing, for others to look at.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Children that end when this is dropped.
pub(crate) struct Frozen(Vec<Child>);

impl Frozen {
    /// `processes` children called `frozen` with `threads` threads each, all asleep.
    pub(crate) fn start(processes: u64, threads: u64) -> Result<Self, String> {
        let mut all = Self(Vec::new());
        for index in 0..processes {
            let program = std::env::args_os().next().unwrap_or_default();
            let mut child = Command::new(program)
                .args(["frozen", &threads.to_string(), &index.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|error| format!("child {index}: {error}"))?;
            let ready = child.stdout.take().map(BufReader::new);
            let line = ready.and_then(|mut ready| {
                let mut line = String::new();
                ready.read_line(&mut line).ok().map(|_| line)
            });
            all.0.push(child);
            if line.as_deref() != Some("ready\n") {
                return Err(format!("child {index} of {processes} has not {threads} threads"));
            }
        }
        Ok(all)
    }

    /// Their pids.
    pub(crate) fn pids(&self) -> impl Iterator<Item = i64> {
        self.0.iter().map(|child| i64::from(child.id()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The child's part: starts its threads, says so, and sleeps until standard input ends.
pub(crate) fn freeze(threads: u64, index: u64) -> Result<String, String> {
    std::fs::write("/proc/self/comm", "frozen").map_err(|error| error.to_string())?;
    // Something to tell them apart by.
    let memory = vec![1_u8; (index as usize % 7) << 16];
    for started in 1..threads {
        thread::Builder::new()
            .stack_size(16 << 10)
            .spawn(|| thread::sleep(Duration::from_secs(3600)))
            .map_err(|error| format!("thread {started}: {error}"))?;
    }
    println!("ready");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    Ok(format!("{} bytes", memory.len()))
}
