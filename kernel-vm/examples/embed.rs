//! A host with everything that a kernel needs and nothing from the heap: memory from statics and
//! the stack, a map, state from run to run, records, and the words of a refusal.
//!
//! The program watches a table of processes: it adds up the pages of each user in a map, and
//! hands over each process that has grown since it was last seen.

use kernel_vm::asm::assemble;
use kernel_vm::map::Map;
use kernel_vm::run::{Env, Host, Op, Stack};
use kernel_vm::verify::{MapSpec, Note, Scratch, Spec, State, verify};

/// Most slots of a program that this host takes.
const SLOTS: usize = 64;
/// Most users whose pages are added up.
const USERS: usize = 8;
const MAP: MapSpec = MapSpec { key_size: 4, value_size: 8, direct: false };
const MAP_BYTES: usize = USERS * (4 + 8 + 1);

/// A row: pid, user and pages, 8 bytes each. A record: pid and pages. State: the pages of
/// the last run.
const SPEC: Spec<'static> =
    Spec { row_size: 24, state_size: 8, params_size: 8, record_size: 16, maps: &[MAP] };

const PROGRAM: &str = "
    r6 = r1
    r7 = r2
    r8 = *(u64 *)(r6 +16)
    r9 = *(u64 *)(r3 +0)
    ; pages of the user: looked up, else begun
    r4 = *(u64 *)(r6 +8)
    *(u32 *)(r10 -4) = r4
    r1 = map[idx:0]
    r2 = r10
    r2 += -4
    call map_lookup_elem
    if r0 == 0 goto begin
    r4 = *(u64 *)(r0 +0)
    r4 += r8
    *(u64 *)(r0 +0) = r4
    goto grown
    begin:
    *(u64 *)(r10 -16) = r8
    r1 = map[idx:0]
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -16
    r4 = 0
    call map_update_elem
    ; grown by more than the parameter since the last run?
    grown:
    r4 = *(u64 *)(r7 +0)
    *(u64 *)(r7 +0) = r8
    r0 = 0
    r4 += r9
    if r8 <= r4 goto done
    r4 = *(u64 *)(r6 +0)
    *(u64 *)(r10 -16) = r4
    *(u64 *)(r10 -8) = r8
    r1 = r10
    r1 += -16
    r2 = 16
    call emit
    r0 = 1
    done:
    exit";

/// The host's side of the helpers: records go to standard output here, to a ring in a kernel.
struct Printer;

impl Host for Printer {
    fn emit(&mut self, record: &[u8]) -> bool {
        let (numbers, _) = record.as_chunks::<8>();
        if let [pid, pages] = numbers {
            println!("  pid {} has {} pages", u64::from_le_bytes(*pid), u64::from_le_bytes(*pages));
        }
        true
    }
    fn boot_ns(&mut self) -> u64 {
        0
    }
    fn waits_for(&mut self, _tid: u64) -> u64 {
        0
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let program = assemble(PROGRAM)?;

    // Once for each program: memory for the verifier, which it may have for other things after.
    let mut notes = [Note::BLANK; Scratch::notes_needed(SLOTS)];
    let mut states = [const { State::BLANK }; Scratch::states_needed(SLOTS)];
    let mut scratch = Scratch { notes: &mut notes, states: &mut states };
    let verified = verify(&program, SPEC, &mut scratch)?;
    println!("{} slots, at most {} insns a run", program.len(), verified.max_insns());
    let mut ops = [Op::BLANK; SLOTS];
    let verified = verified.threaded(&mut ops);

    // Kept from sweep to sweep: the map, and each process's state.
    let mut bytes = [0; MAP_BYTES];
    let mut maps = [Map::new(MAP, USERS, &mut bytes)?];
    let processes = [(1_u64, 0_u64), (42, 1000), (77, 1000)];
    let mut states = [[0; 8]; 3];
    let limit = 50_u64.to_le_bytes();
    let mut stack = Stack::new();

    for (sweep, pages) in [[10, 300, 20], [12, 310, 25], [11, 800, 24]].iter().enumerate() {
        println!("sweep {sweep}:");
        for ((&(pid, user), &pages), state) in processes.iter().zip(pages).zip(&mut states) {
            let mut row = [0; 24];
            for (place, value) in row.chunks_exact_mut(8).zip([pid, user, pages]) {
                place.copy_from_slice(&value.to_le_bytes());
            }
            let mut env = Env {
                row: &row,
                state,
                params: &limit,
                maps: &mut maps,
                host: &mut Printer,
                fuel: 1_000,
            };
            verified.run(&mut env, &mut stack)?;
        }
        for user in [0_u32, 1000] {
            let total = maps[0].get(&user.to_le_bytes()).and_then(|value| value.try_into().ok());
            println!("  user {user}: {} pages", total.map_or(0, u64::from_le_bytes));
            maps[0].set(&user.to_le_bytes(), &[0; 8])?;
        }
    }

    // What a program that would read outside of its row is told.
    let outside = assemble("r0 = *(u64 *)(r1 +20)\n exit")?;
    match verify(&outside, SPEC, &mut scratch) {
        Ok(_) => println!("it was accepted"),
        Err(rejection) => println!("refused: {rejection}"),
    }
    Ok(())
}
