//! How long kernel-vm's verifier takes for the `vm` program of each shipped filter.
//!
//! `cargo bench -p kfilter-tests --bench verify`

use kernel_vm::isa::RawInsn;
use kernel_vm::verify::{ScratchBuffer, Spec, verify};
use kfilter_loader::Object;
use std::time::{Duration, Instant};

const ROUNDS: usize = 2_000;
const FILTERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../filters");

fn main() {
    let files = std::fs::read_dir(FILTERS).expect("the shipped filters");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    println!("{:<18} {:>6} {:>12} {:>12}", "best of 2000", "slots", "µs", "ns a slot");
    for path in paths.iter().filter(|path| path.extension().is_some_and(|kf| kf == "kf")) {
        let source = std::fs::read_to_string(path).expect("text");
        let compiled = kfilter_compiler::compile("shipped.kf", &source).expect("it compiles");
        let object = Object::parse(&compiled.object).expect("an object");
        for filter in object.filters() {
            let bytes = object.vm_program(filter);
            let program: Vec<RawInsn> =
                bytes.as_chunks::<8>().0.iter().map(|slot| RawInsn::from_bytes(*slot)).collect();
            let spec = Spec {
                row_size: filter.vm.row_size,
                state_size: filter.state_size,
                params_size: filter.rodata.size,
                record_size: filter.group.as_ref().map_or(filter.record.size, |group| group.size),
                maps: &[],
            };
            let mut buffer = ScratchBuffer::new(program.len());
            let best = (0..ROUNDS)
                .map(|_| {
                    let start = Instant::now();
                    verify(&program, spec, &mut buffer.scratch()).expect("it is safe");
                    start.elapsed()
                })
                .min()
                .unwrap_or(Duration::ZERO);
            let (ns, slots) = (best.as_nanos() as f64, program.len());
            println!(
                "{:<18} {slots:>6} {:>12.2} {:>12.1}",
                filter.name,
                ns / 1e3,
                ns / slots as f64
            );
        }
    }
}
