//! A program of this machine as one that Linux can load, and the maps that it runs on.
//!
//! Row, state and parameters are values of array maps, so that Linux knows their sizes as our
//! verifier does; the first and the last are read only for programs. The program becomes a
//! function, called by a few insns that hand it those addresses and keep its result. Helpers
//! keep their numbers where Linux has them: `emit` becomes `bpf_ringbuf_output`; `waits_for` and
//! what does arithmetic a function of Linux that takes nothing, behind products that refuse what is
//! no number, and loads and stores of what is read and written.

use kernel_vm::generate::{MAPS, SPEC};
use kernel_vm::helper::Helper;
use kernel_vm::isa::{
    AluOp, Callee, Insn, Operand, RawInsn, Reg, Size, Wide, Width, decode, encode,
};
use kfilter_loader::sys::{
    Call, Kernel, MAP_RDONLY_PROG, MapCreate, PROG_SLEEPABLE, ProgBtf, ProgLoad, Reply, Sys,
    SyscallError, prog_type,
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const RINGBUF: u32 = 27;
const RINGBUF_OUTPUT: i32 = 130;
const JIFFIES64: i32 = 118;
/// Room for the records of this many programs' runs.
const RING_BYTES: u32 = 1 << 22;
const LOG_BYTES: usize = 4 << 20;
/// Keys that the maps are looked at for.
const KEYS: u32 = 4;

pub(crate) struct Linux {
    kernel: Kernel,
    row: OwnedFd,
    state: OwnedFd,
    params: OwnedFd,
    result: OwnedFd,
    ring: OwnedFd,
    maps: [OwnedFd; 2],
    btf: OwnedFd,
}

/// What a run starts from, or leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) row: [u8; 32],
    pub(crate) state: [u8; 16],
    pub(crate) params: [u8; 8],
    /// The value of each key of the first map, if it has one.
    pub(crate) hash: [Option<[u8; 8]>; KEYS as usize],
    /// The value of the second.
    pub(crate) direct: [u8; 16],
}

/// Why Linux does not load a program.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The verifier's.
    Verifier {
        /// Its words.
        log: String,
        /// The slot of our program that it came to, if it came to one.
        at: Option<usize>,
    },
    /// Something that says nothing of the program.
    Other(SyscallError),
}

/// A program of ours for Linux.
struct Translated {
    slots: Vec<RawInsn>,
    /// Where functions begin.
    functions: Vec<usize>,
    /// Where each slot of ours went.
    places: Vec<usize>,
}

/// The last insn that the log shows: `12: (85) call …`, after a state where ways part.
fn last_insn(log: &str) -> Option<usize> {
    log.lines().rev().find_map(|line| {
        let (before, _) = line.split_once(": (")?;
        before.rsplit(' ').next()?.parse().ok()
    })
}

impl Linux {
    /// The maps, or why bpf(2) cannot be used here.
    pub(crate) fn new() -> Result<Self, SyscallError> {
        let kernel = Kernel;
        let map = |name, ty, key_size, value_size, max_entries, flags| {
            let map = MapCreate { name, ty, key_size, value_size, max_entries, flags, btf: None };
            descriptor(kernel.bpf(Call::MapCreate(map)))
        };
        let [hash, direct] = [MAPS[0], MAPS[1]];
        let data = btf();
        Ok(Self {
            row: map("row", ARRAY, 4, SPEC.row_size, 1, MAP_RDONLY_PROG)?,
            state: map("state", ARRAY, 4, SPEC.state_size, 1, 0)?,
            params: map("params", ARRAY, 4, SPEC.params_size, 1, MAP_RDONLY_PROG)?,
            result: map("result", ARRAY, 4, 8, 1, 0)?,
            ring: map("ring", RINGBUF, 0, 0, RING_BYTES, 0)?,
            maps: [
                map("hash", HASH, hash.key_size, hash.value_size, 3, 0)?,
                map("direct", ARRAY, direct.key_size, direct.value_size, 1, 0)?,
            ],
            btf: descriptor(kernel.bpf(Call::BtfLoad { data: &data, log: &mut [] }))?,
            kernel,
        })
    }

    /// Loads a program of ours.
    pub(crate) fn load(&self, program: &[RawInsn]) -> Result<OwnedFd, Refusal> {
        let Translated { slots, functions, places } = self.translate(program);
        let ours = |at| places.iter().rposition(|&place| place <= at);
        let insns: Vec<u8> = slots.iter().flat_map(|raw| raw.to_bytes()).collect();
        let records: Vec<u8> = functions
            .iter()
            .flat_map(|&at| [at as u32, FUNCTION_TYPE])
            .flat_map(u32::to_ne_bytes)
            .collect();
        let load = |log: &mut [u8]| {
            let btf = ProgBtf { fd: self.btf.as_fd(), functions: &records, lines: &[] };
            descriptor(self.kernel.bpf(Call::ProgLoad(ProgLoad {
                name: "parity",
                ty: prog_type::SYSCALL,
                attach_type: 0,
                attach_btf_id: 0,
                flags: PROG_SLEEPABLE,
                insns: &insns,
                license: "Dual MIT/GPL",
                btf: Some(btf),
                log,
            })))
        };
        // The words cost much more than the answer.
        load(&mut []).or_else(|_| {
            let mut log = vec![0; LOG_BYTES];
            load(&mut log).map_err(|error| {
                let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
                match String::from_utf8_lossy(&log[..end]).into_owned() {
                    log if log.is_empty() => Refusal::Other(error),
                    log => Refusal::Verifier { at: last_insn(&log).and_then(ours), log },
                }
            })
        })
    }

    /// Runs a loaded program on `memory`: its result.
    pub(crate) fn run(&self, program: &OwnedFd, memory: &mut Memory) -> Result<u64, SyscallError> {
        let zero = 0_u32.to_ne_bytes();
        let set = |map: &OwnedFd, key: &[u8], value: &[u8]| {
            self.kernel.bpf(Call::MapUpdate { map: map.as_fd(), key, value })
        };
        let get = |map: &OwnedFd, key: &[u8], value: &mut [u8]| {
            self.kernel.bpf(Call::MapLookup { map: map.as_fd(), key, value })
        };
        set(&self.row, &zero, &memory.row)?;
        set(&self.state, &zero, &memory.state)?;
        set(&self.params, &zero, &memory.params)?;
        set(&self.maps[1], &zero, &memory.direct)?;
        for (key, value) in (0..KEYS).zip(&memory.hash) {
            let key = key.to_ne_bytes();
            if let Some(value) = value {
                set(&self.maps[0], &key, value)?;
            }
        }
        self.kernel.bpf(Call::ProgRun(program.as_fd()))?;
        let mut result = [0; 8];
        get(&self.result, &zero, &mut result)?;
        get(&self.state, &zero, &mut memory.state)?;
        get(&self.maps[1], &zero, &mut memory.direct)?;
        for (key, value) in (0..KEYS).zip(&mut memory.hash) {
            let mut found = [0; 8];
            let has = get(&self.maps[0], &key.to_ne_bytes(), &mut found).is_ok();
            *value = has.then_some(found);
        }
        Ok(u64::from_ne_bytes(result))
    }

    fn translate(&self, program: &[RawInsn]) -> Translated {
        let mut start = vec![
            address(Reg::R1, &self.row),
            address(Reg::R2, &self.state),
            address(Reg::R3, &self.params),
            Insn::Call(Callee::Local(5)),
            address(Reg::R1, &self.result),
            Insn::Store { size: Size::Dw, dst: Reg::R1, off: 0, src: Operand::Reg(Reg::R0) },
            mov(Reg::R0, Operand::Imm(0)),
            Insn::Exit,
        ];
        let head: usize = start.iter().map(|insn| insn.slots().count()).sum();
        let mut places = Vec::new();
        let mut insns = Vec::new();
        let mut at = head;
        let mut index = 0;
        while let Some(Ok(insn)) = program.get(index..).map(decode) {
            let several = self.insns_for(insn);
            let length = insn.slots().count();
            // Of several, the last is the one that jumps and calls are counted from.
            insns.push((index, several));
            places.resize(places.len() + length, at);
            at += insns[insns.len() - 1].1.iter().map(|insn| insn.slots().count()).sum::<usize>();
            index += length;
        }
        let mut functions = vec![0, head];
        let target = |index: usize, distance: i32| {
            let to = index.wrapping_add(1).wrapping_add_signed(distance as isize);
            places.get(to).copied().unwrap_or(at) as i32 - places[index] as i32 - 1
        };
        for (index, several) in &mut insns {
            let place = places[*index];
            for insn in several.iter_mut() {
                match insn {
                    Insn::Jump { off, .. } => *off = target(*index, *off),
                    Insn::JumpIf { off, .. } => {
                        *off = target(*index, i32::from(*off)) as i16;
                    }
                    Insn::Call(Callee::Local(off))
                    | Insn::LoadWide { value: Wide::Function(off), .. } => {
                        *off = target(*index, *off);
                        functions.push(place.wrapping_add(1).wrapping_add_signed(*off as isize));
                    }
                    Insn::Alu { .. }
                    | Insn::Mov { .. }
                    | Insn::MovSx { .. }
                    | Insn::Neg { .. }
                    | Insn::End { .. }
                    | Insn::Load { .. }
                    | Insn::Store { .. }
                    | Insn::Atomic { .. }
                    | Insn::LoadWide { .. }
                    | Insn::Call(_)
                    | Insn::Exit => {}
                }
            }
        }
        start.extend(insns.into_iter().flat_map(|(_, several)| several));
        functions.sort_unstable();
        functions.dedup();
        let slots = start.into_iter().map(encode);
        let slots = slots.flat_map(|(first, second)| std::iter::once(first).chain(second));
        Translated { slots: slots.collect(), functions, places }
    }

    fn insns_for(&self, insn: Insn) -> Vec<Insn> {
        let descriptor = |map: i32| {
            let map = usize::try_from(map).ok().and_then(|map| self.maps.get(map));
            map.map_or(-1, AsRawFd::as_raw_fd)
        };
        let product =
            |dst| Insn::Alu { width: Width::W64, op: AluOp::Mul, dst, src: Operand::Imm(1) };
        let numbers = |args: &[Reg]| -> Vec<Insn> {
            let call = Insn::Call(Callee::Helper(JIFFIES64));
            args.iter().copied().map(product).chain([call]).collect()
        };
        match insn {
            Insn::LoadWide { dst, value: Wide::MapIndex(map) } => {
                vec![Insn::LoadWide { dst, value: Wide::MapFd(descriptor(map)) }]
            }
            Insn::LoadWide { dst, value: Wide::MapIndexValue { index, offset } } => {
                vec![Insn::LoadWide {
                    dst,
                    value: Wide::MapFdValue { fd: descriptor(index), offset },
                }]
            }
            Insn::Call(Callee::Helper(id)) if id == Helper::Emit.id() => vec![
                mov(Reg::R3, Operand::Reg(Reg::R2)),
                mov(Reg::R2, Operand::Reg(Reg::R1)),
                Insn::LoadWide { dst: Reg::R1, value: Wide::MapFd(self.ring.as_raw_fd()) },
                mov(Reg::R4, Operand::Imm(0)),
                Insn::Call(Callee::Helper(RINGBUF_OUTPUT)),
            ],
            Insn::Call(Callee::Helper(id)) if id == Helper::WaitsFor.id() => numbers(&[Reg::R1]),
            Insn::Call(Callee::Helper(id)) if id == Helper::MulDiv.id() => {
                numbers(&[Reg::R1, Reg::R2, Reg::R3])
            }
            Insn::Call(Callee::Helper(id)) if id == Helper::Root.id() => {
                numbers(&[Reg::R1, Reg::R2])
            }
            Insn::Call(Callee::Helper(id))
                if id == Helper::Spread.id() || id == Helper::Average.id() =>
            {
                let all = [Reg::R2, Reg::R3, Reg::R4];
                let args = if id == Helper::Average.id() { &all[..] } else { &all[..2] };
                // Both words are read, are numbers, and are written.
                let (size, src) = (Size::Dw, Operand::Reg(Reg::R0));
                let word = |off| {
                    let load = Insn::Load { size, signed: false, dst: Reg::R0, src: Reg::R1, off };
                    [load, product(Reg::R0), Insn::Store { size, dst: Reg::R1, off, src }]
                };
                let words = word(0).into_iter().chain(word(8));
                words.chain(numbers(args)).collect()
            }
            insn @ (Insn::Alu { .. }
            | Insn::Mov { .. }
            | Insn::MovSx { .. }
            | Insn::Neg { .. }
            | Insn::End { .. }
            | Insn::Load { .. }
            | Insn::Store { .. }
            | Insn::Atomic { .. }
            | Insn::LoadWide { .. }
            | Insn::Jump { .. }
            | Insn::JumpIf { .. }
            | Insn::Call(_)
            | Insn::Exit) => vec![insn],
        }
    }
}

fn mov(dst: Reg, src: Operand) -> Insn {
    Insn::Mov { width: Width::W64, dst, src }
}

fn address(dst: Reg, map: &OwnedFd) -> Insn {
    Insn::LoadWide { dst, value: Wide::MapFdValue { fd: map.as_raw_fd(), offset: 0 } }
}

fn descriptor(reply: Result<Reply, SyscallError>) -> Result<OwnedFd, SyscallError> {
    reply.map(|reply| match reply {
        Reply::Fd(fd) => fd,
        Reply::Number(number) => panic!("a descriptor, not {number}"),
    })
}

const FUNCTION_TYPE: u32 = 3;

/// BTF with one type: a static function of two numbers. Linux wants it of loops' bodies.
fn btf() -> Vec<u8> {
    const INT: u32 = 1 << 24;
    const FUNC: u32 = 12 << 24;
    const FUNC_PROTO: u32 = 13 << 24;
    let strings = b"\0u64\0a\0b\0f\0";
    let (name_u64, name_a, name_b, name_f) = (1, 5, 7, 9);
    let types = [
        [name_u64, INT, 8, 64].as_slice(),
        &[0, FUNC_PROTO | 2, 1, name_a, 1, name_b, 1],
        &[name_f, FUNC, 2],
    ]
    .concat();
    let (types_length, strings_length) = (types.len() as u32 * 4, strings.len() as u32);
    let header = [0x0001_eb9f, 24, 0, types_length, types_length, strings_length];
    let words = header.iter().chain(&types);
    words.flat_map(|word: &u32| word.to_ne_bytes()).chain(*strings).collect()
}
