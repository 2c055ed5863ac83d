//! A small machine for `vm` code, for tests: every access is checked, every insn counted.

use std::collections::HashMap;

use kernel_vm::helper::Helper;

use super::reference;

/// What went wrong in a run: code that the back end must never write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) pc: usize,
    pub(crate) what: String,
}

/// Memory that code can reach, each block at its own base.
pub(crate) struct Machine {
    blocks: HashMap<u64, Vec<u8>>,
    pub(crate) emitted: Vec<Vec<u8>>,
}

pub(crate) const ROW: u64 = 1 << 32;
pub(crate) const STATE: u64 = 2 << 32;
pub(crate) const PARAMS: u64 = 3 << 32;
/// Stacks, one a frame: the frame pointer is a block's end.
const STACK: u64 = 16 << 32;
const STACK_BYTES: usize = 512;

impl Machine {
    pub(crate) fn new(row: Vec<u8>, state: Vec<u8>, params: Vec<u8>) -> Self {
        let blocks = HashMap::from([(ROW, row), (STATE, state), (PARAMS, params)]);
        Self { blocks, emitted: Vec::new() }
    }

    pub(crate) fn block(&self, base: u64) -> &[u8] {
        &self.blocks[&base]
    }

    fn at(&mut self, address: u64, bytes: usize) -> Option<&mut [u8]> {
        let (base, offset) = (address & !0xffff_ffff, (address & 0xffff_ffff) as usize);
        let block = self.blocks.get_mut(&base)?;
        offset.checked_add(bytes).and_then(|end| block.get_mut(offset..end))
    }

    /// Runs `code` to its end: `r0`.
    pub(crate) fn run(&mut self, code: &[u8], args: &[u64]) -> Result<u64, Fault> {
        let mut regs = [0xdead_dead_dead_dead_u64; 11];
        regs[1..=args.len()].copy_from_slice(args);
        let mut frames: Vec<(usize, [u64; 5])> = Vec::new();
        self.blocks.insert(STACK, vec![0xaa; STACK_BYTES]);
        regs[10] = STACK + STACK_BYTES as u64;
        let mut pc = 0;
        for _ in 0..100_000 {
            let fault = |what: &str| Fault { pc, what: what.to_owned() };
            let slot = code.get(8 * pc..8 * pc + 8).ok_or_else(|| fault("ran off the end"))?;
            let (op, dst, src) = (slot[0], (slot[1] & 15) as usize, (slot[1] >> 4) as usize);
            let off = i64::from(i16::from_le_bytes([slot[2], slot[3]]));
            let imm = i32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]);
            let mut next = pc + 1;
            match op & 7 {
                0 => {
                    let high = code.get(8 * pc + 12..8 * pc + 16).ok_or_else(|| fault("lddw"))?;
                    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
                    regs[dst] = u64::from(high) << 32 | u64::from(imm as u32);
                    next += 1;
                }
                1 => {
                    let address = regs[src].wrapping_add_signed(off);
                    let word = self.at(address, 8).ok_or_else(|| fault("bad load"))?;
                    regs[dst] = u64::from_le_bytes(word.try_into().expect("eight bytes"));
                }
                2 | 3 => {
                    let value = if op & 7 == 2 { i64::from(imm) as u64 } else { regs[src] };
                    let address = regs[dst].wrapping_add_signed(off);
                    if address & !0xffff_ffff == ROW || address & !0xffff_ffff == PARAMS {
                        return Err(fault("store to what is read only"));
                    }
                    let word = self.at(address, 8).ok_or_else(|| fault("bad store"))?;
                    word.copy_from_slice(&value.to_le_bytes());
                }
                7 => {
                    let rhs = if op & 8 == 0 { i64::from(imm) as u64 } else { regs[src] };
                    regs[dst] = alu(op & 0xf0, regs[dst], rhs).ok_or_else(|| fault("bad alu"))?;
                }
                5 if op == 0x95 => match frames.pop() {
                    None => return Ok(regs[0]),
                    Some((back, saved)) => {
                        regs[6..].copy_from_slice(&saved);
                        regs[1..6].fill(0xbad_bad);
                        next = back;
                    }
                },
                5 if op == 0x85 && src == 1 => {
                    let saved = regs[6..].try_into().expect("five registers");
                    frames.push((next, saved));
                    let base = STACK + ((frames.len() as u64) << 32);
                    self.blocks.insert(base, vec![0xaa; STACK_BYTES]);
                    regs[10] = base + STACK_BYTES as u64;
                    next = next.wrapping_add_signed(imm as isize);
                }
                5 if op == 0x85 => {
                    regs[0] = self.call(imm, &regs).map_err(fault)?;
                    regs[1..6].fill(0xbad_bad);
                }
                5 => {
                    let rhs = if op & 8 == 0 { i64::from(imm) as u64 } else { regs[src] };
                    if jumps(op & 0xf0, regs[dst], rhs).ok_or_else(|| fault("bad jump"))? {
                        next = next.wrapping_add_signed(off as isize);
                    }
                }
                _ => return Err(fault("unknown class")),
            }
            pc = next;
        }
        Err(Fault { pc, what: "does not end".to_owned() })
    }

    /// What a helper does, by the words of the language.
    fn call(&mut self, id: i32, regs: &[u64; 11]) -> Result<u64, &'static str> {
        let [a, b, c, d] = [1, 2, 3, 4].map(|reg| i128::from(regs[reg] as i64));
        Ok(match Helper::from_id(id) {
            Some(Helper::MulDiv) => reference::mul_div(a, b, c) as u64,
            Some(Helper::Average) => {
                let bytes = self.at(regs[1], 16).ok_or("bad average")?;
                let (time, mean) = bytes.split_at_mut(8);
                let before = u64::from_le_bytes((&*time).try_into().expect("eight bytes"));
                let old = i64::from_le_bytes((&*mean).try_into().expect("eight bytes"));
                let kept = reference::decay(c - i128::from(before), d);
                let new = i128::from(old) + reference::scale(b - i128::from(old), (1 << 32) - kept);
                time.copy_from_slice(&regs[3].to_le_bytes());
                mean.copy_from_slice(&(new as i64).to_le_bytes());
                kept as u64
            }
            Some(Helper::Root) => reference::root(b << 64 | i128::from(regs[1])) as u64,
            Some(Helper::Spread) => {
                let bytes = self.at(regs[1], 16).ok_or("bad variance")?;
                let variance = i128::from_le_bytes(bytes.try_into().expect("sixteen bytes"));
                let variance = reference::spread(variance, b, c);
                bytes.copy_from_slice(&variance.to_le_bytes());
                0
            }
            Some(Helper::Emit) => {
                let record = self.at(regs[1], regs[2] as usize).ok_or("bad record")?.to_vec();
                self.emitted.push(record);
                0
            }
            _ => return Err("unknown helper"),
        })
    }
}

fn alu(op: u8, a: u64, b: u64) -> Option<u64> {
    Some(match op {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 => a.checked_div(b).unwrap_or(0),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a << (b & 63),
        0x70 => a >> (b & 63),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(b).unwrap_or(a),
        0xa0 => a ^ b,
        0xb0 => b,
        0xc0 => (a as i64 >> (b & 63)) as u64,
        _ => return None,
    })
}

fn jumps(op: u8, a: u64, b: u64) -> Option<bool> {
    let (x, y) = (a as i64, b as i64);
    Some(match op {
        0x00 => true,
        0x10 => a == b,
        0x20 => a > b,
        0x30 => a >= b,
        0x40 => a & b != 0,
        0x50 => a != b,
        0x60 => x > y,
        0x70 => x >= y,
        0xa0 => a < b,
        0xb0 => a <= b,
        0xc0 => x < y,
        0xd0 => x <= y,
        _ => return None,
    })
}
