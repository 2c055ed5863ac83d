//! Random and mutated programs thrown at the device.
//!
//! The kernel must take a program exactly when the same verifier takes it here, and what it
//! takes is swept: an access that the verifier got wrong would be a fault of the kernel's.

use crate::FILTERS;
use crate::load::image_of;
use kernel_vm::isa::RawInsn;
use kernel_vm::module::{HEADER_BYTES, RUN_INSNS_MAX};
use kernel_vm::verify::{ScratchBuffer, Spec, verify};
use kfilter_loader::sys::{Device, ModuleFile};

/// Opcodes of loads, stores, arithmetic, jumps, calls: what programs are made of.
const OPCODES: &[u8] = &[
    0xb7, 0xbf, 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x57, 0x5f, 0x67, 0x6f,
    0x77, 0x7f, 0x87, 0x97, 0x9f, 0xa7, 0xaf, 0xc7, 0xcf, 0xd4, 0xdc, 0xd7, 0x04, 0x0c, 0xb4, 0xbc,
    0x61, 0x69, 0x71, 0x79, 0x81, 0x89, 0x91, 0x62, 0x6a, 0x72, 0x7a, 0x63, 0x6b, 0x73, 0x7b, 0xdb,
    0xc3, 0x05, 0x06, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x55, 0x5d, 0x65, 0x6d, 0x75,
    0x7d, 0xa5, 0xad, 0xb5, 0xbd, 0xc5, 0xcd, 0xd5, 0xdd, 0x85, 0x95, 0x18, 0x16, 0x1e, 0x2e, 0xae,
];
/// Immediates that mean something.
const IMMEDIATES: &[i32] =
    &[0, 1, -1, 8, 16, -8, 24, 63, 64, 125, 181, 0x6b66, 0x6b67, 512, i32::MAX];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A slot that could stand in a program.
fn plausible(random: &mut Random) -> [u8; 8] {
    let code = random.pick(OPCODES);
    let regs = (random.below(11) | random.below(11) << 4) as u8;
    let off: i16 = match random.below(4) {
        0 => 0,
        1 => random.below(6) as i16,
        2 => (random.below(40) * 8) as i16,
        _ => -((random.below(64) * 8) as i16),
    };
    let imm = if random.below(3) == 0 { random.next() as i32 } else { random.pick(IMMEDIATES) };
    RawInsn { code, regs, off, imm }.to_bytes()
}

/// An image taken apart: what stands before the program, and the program.
struct Image {
    head: Vec<u8>,
    program: Vec<[u8; 8]>,
}

impl Image {
    fn parse(bytes: &[u8]) -> Self {
        let word = |index| word(bytes, index);
        let start = HEADER_BYTES + 8 * word(4) + word(7).next_multiple_of(8);
        Self { head: bytes[..start].to_vec(), program: bytes[start..].as_chunks::<8>().0.to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        let insns = u32::try_from(self.program.len()).unwrap_or(u32::MAX);
        bytes[36..40].copy_from_slice(&insns.to_le_bytes());
        bytes.extend(self.program.iter().flatten());
        bytes
    }

    /// Whether the verifier here takes it, in a run that the module takes.
    fn is_fine(&self, scratch: &mut ScratchBuffer) -> bool {
        let size = |index| word(&self.head, index) as u32;
        let spec = Spec {
            row_size: size(5),
            state_size: size(6),
            params_size: size(7),
            record_size: size(8),
            maps: &[],
        };
        let program: Vec<RawInsn> =
            self.program.iter().map(|bytes| RawInsn::from_bytes(*bytes)).collect();
        if program.is_empty() {
            return false;
        }
        if program.len() > 1 << 10 {
            *scratch = ScratchBuffer::new(program.len());
        }
        verify(&program, spec, &mut scratch.scratch())
            .is_ok_and(|program| program.max_insns() <= RUN_INSNS_MAX)
    }

    fn mutate(&mut self, random: &mut Random) {
        let length = self.program.len();
        let (at, other) = (random.below(length), random.below(length));
        match random.below(6) {
            0 => {
                for _ in 0..=random.below(4) {
                    let at = random.below(length);
                    self.program[at][random.below(8)] ^= 1 << random.below(8);
                }
            }
            1 => self.program[at] = plausible(random),
            2 => self.program.swap(at, other),
            3 => self.program[at] = self.program[other],
            4 => drop(self.program.remove(at)),
            _ => self.program.insert(at, plausible(random)),
        }
    }

    fn invent(&mut self, random: &mut Random) {
        let length = 1 + random.below(24);
        self.program = (0..length).map(|_| plausible(random)).collect();
        self.program.push(RawInsn { code: 0x95, regs: 0, off: 0, imm: 0 }.to_bytes());
        if random.below(2) == 0 {
            self.program.insert(0, RawInsn { code: 0xb7, regs: 0, off: 0, imm: 1 }.to_bytes());
        }
    }
}

/// A word of an image's header.
pub(crate) fn word(bytes: &[u8], index: usize) -> usize {
    let word = bytes.get(4 * index..4 * index + 4).and_then(|bytes| bytes.try_into().ok());
    word.map_or(0, u32::from_le_bytes) as usize
}

/// Throws `cases` programs at the device.
pub(crate) fn run(cases: u64, seed: u64) -> Result<String, String> {
    let mut random = Random(seed | 1);
    let originals: Vec<Vec<u8>> =
        FILTERS.iter().map(|text| image_of(text)).collect::<Result<_, _>>()?;
    let mut scratch = ScratchBuffer::new(1 << 10);
    let (mut taken, mut swept, mut damaged_taken) = (0_u64, 0_u64, 0_u64);
    let open = || Device::open().map_err(|error| error.to_string());
    let mut device = open()?;
    for case in 0..cases {
        let mut image = Image::parse(&originals[random.below(originals.len())]);
        let kind = random.below(8);
        let bytes = match kind {
            // Anything at all, or a few bytes changed anywhere.
            0 => (0..random.below(4000)).map(|_| random.next() as u8).collect(),
            1 => {
                let mut bytes = image.bytes();
                for _ in 0..=random.below(3) {
                    let at = random.below(bytes.len());
                    bytes[at] = random.next() as u8;
                }
                bytes.truncate(bytes.len() - random.below(3) * random.below(9));
                bytes
            }
            2 | 3 => {
                image.invent(&mut random);
                image.bytes()
            }
            _ => {
                for _ in 0..=random.below(3) {
                    image.mutate(&mut random);
                }
                image.bytes()
            }
        };
        let result = device.load(&bytes);
        if kind >= 2 && result.is_ok() != image.is_fine(&mut scratch) {
            return Err(format!("case {case}: the kernel said {result:?} to {bytes:?}"));
        }
        if result.is_err() {
            continue;
        }
        taken += 1;
        damaged_taken += u64::from(kind < 2);
        for _ in 0..2 {
            let mut records = Vec::new();
            device.sweep(&mut records).map_err(|error| format!("case {case}: {error}"))?;
            let stats = device.stats().map_err(|error| error.to_string())?;
            if stats.visited == 0 || stats.visited < stats.matched {
                return Err(format!("case {case}: {stats:?}"));
            }
            swept += stats.visited;
        }
        device = open()?;
    }
    if taken < cases / 100 {
        return Err(format!("only {taken} of {cases} were taken: this tests nothing"));
    }
    Ok(format!(
        "{cases} programs, {taken} taken ({damaged_taken} damaged anywhere), run over {swept} rows"
    ))
}
