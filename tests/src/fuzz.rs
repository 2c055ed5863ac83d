//! Fuzzing without instrumentation: a kept corpus, mutations, and a target that must not panic.
//!
//! By default a target runs its corpus and a fixed number of mutations of it, the same ones
//! every time. `KFILTER_FUZZ_SECONDS` gives it time instead, and another seed each time. An
//! input that makes a target panic is written into the corpus, where it stays as a test.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Mutations of each run when no time is given.
const DEFAULT_RUNS: u64 = 3_000;
/// Longest input.
const INPUT_BYTES_MAX: usize = 1 << 17;

/// Runs `target` on the corpus `name`, on `seeds`, and on mutations of both. `words` are
/// pieces that inputs of this kind are made of.
///
/// # Panics
/// When `target` panics, after the input has been kept.
pub fn run(name: &str, seeds: &[Vec<u8>], words: &[&[u8]], target: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut corpus = corpus(&directory);
    corpus.extend_from_slice(seeds);
    corpus.push(Vec::new());
    for input in &corpus {
        attempt(&directory, input, &target);
    }
    let seconds: Option<u64> =
        std::env::var("KFILTER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    if seconds.is_some() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        random.0 ^= now.as_nanos() as u64 | 1;
    }
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut runs = 0;
    while end.map_or(runs < DEFAULT_RUNS, |end| Instant::now() < end) {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(6) {
            mutate(&mut input, &corpus, words, &mut random);
        }
        input.truncate(INPUT_BYTES_MAX);
        attempt(&directory, &input, &target);
        runs += 1;
    }
    println!("{name}: {} inputs kept, {runs} mutations", corpus.len());
}

fn corpus(directory: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

fn attempt(directory: &Path, input: &[u8], target: &impl Fn(&[u8])) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let path = directory.join(format!("panic-{:016x}", hash(input)));
        let kept = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&path, input));
        eprintln!("the input is in {} ({kept:?})", path.display());
        resume_unwind(panic);
    }
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let length = random.below(16.min(input.len() - at) + 1);
    match random.below(9) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        2 => drop(input.drain(at..at + length)),
        3 => {
            let copy = input[at..at + length].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, copy);
        }
        4 => input.truncate(at),
        5 if at + 4 <= input.len() => {
            let number = [0, 1, u32::MAX, 0x7fff_ffff, 0x8000_0000, random.next() as u32];
            input[at..at + 4].copy_from_slice(&number[random.below(6)].to_le_bytes());
        }
        6 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            let to = from + random.below(256.min(other.len() - from) + 1);
            input.splice(at..at, other[from..to].iter().copied());
        }
        7 if !words.is_empty() => {
            let word = words[random.below(words.len())];
            input.splice(at..at + length, word.iter().copied());
        }
        _ => input.insert(at, random.next() as u8),
    }
}

/// A small generator of numbers (xorshift); good enough to choose mutations.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
