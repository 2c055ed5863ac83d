//! The regions of a checked run, behind tagged addresses.
//!
//! The high 16 bits of an address name its region, the others are the offset. An address
//! that is moved out of its region thus has another tag or an offset past the end.
//!
//! **Invariant**: every access is resolved here.

use super::FaultKind;
use crate::isa::Size;
use crate::map::Map;
use crate::run::Env;
use crate::verify::{DEPTH_MAX, STACK_BYTES};

const STACK_TOTAL: usize = STACK_BYTES.saturating_mul(DEPTH_MAX as usize);

/// A region, or a thing that has a number but no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The row.
    Row,
    /// The row's state.
    State,
    /// The parameters.
    Params,
    /// All functions' stacks, the program's own first.
    Stack,
    /// The functions of the program; the offset is the first insn.
    Function,
    /// A map itself.
    Map(usize),
    /// The values of a map.
    MapValues(usize),
}

const OFFSET_BITS: u32 = 48;

impl Region {
    const fn tag(self) -> u64 {
        match self {
            Self::Row => 0x4b01,
            Self::State => 0x4b02,
            Self::Params => 0x4b03,
            Self::Stack => 0x4b04,
            Self::Function => 0x4b05,
            Self::Map(index) => 0x4c00 | (index as u64 & 0xff),
            Self::MapValues(index) => 0x4d00 | (index as u64 & 0xff),
        }
    }

    /// The address of its first byte.
    #[must_use]
    pub const fn base(self) -> u64 {
        self.tag().wrapping_shl(OFFSET_BITS)
    }

    /// The region and offset of an address.
    #[must_use]
    pub fn of(address: u64) -> Option<(Self, usize)> {
        let tag = address.wrapping_shr(OFFSET_BITS);
        let index = usize::try_from(tag & 0xff).ok()?;
        let region = match tag {
            0x4b01 => Self::Row,
            0x4b02 => Self::State,
            0x4b03 => Self::Params,
            0x4b04 => Self::Stack,
            0x4b05 => Self::Function,
            0x4c00..=0x4cff => Self::Map(index),
            0x4d00..=0x4dff => Self::MapValues(index),
            _ => return None,
        };
        Some((region, usize::try_from(address ^ region.base()).ok()?))
    }
}

/// The memory of one run.
#[derive(Debug)]
pub struct Memory<'e, 'm, 'v, H> {
    pub(super) env: &'v mut Env<'e, 'm, H>,
    stack: [u8; STACK_TOTAL],
    /// Which bytes of the stack have been written.
    written: [bool; STACK_TOTAL],
}

impl<'e, 'm, 'v, H> Memory<'e, 'm, 'v, H> {
    pub(super) const fn new(env: &'v mut Env<'e, 'm, H>) -> Self {
        Self { env, stack: [0; STACK_TOTAL], written: [false; STACK_TOTAL] }
    }

    /// Forgets what a function before wrote on the stack from `from` on.
    pub(super) fn new_frame(&mut self, from: usize) {
        let frame = self.written.get_mut(from..from.saturating_add(STACK_BYTES));
        frame.unwrap_or(&mut []).fill(false);
    }

    /// The bytes at a tagged address.
    ///
    /// # Errors
    /// When they are not all in one region, or of the stack and never written.
    pub fn read(&self, address: u64, length: usize) -> Result<&[u8], FaultKind> {
        let bad = FaultKind::BadAccess { address, length };
        let (region, from) = Region::of(address).ok_or(bad)?;
        let to = from.checked_add(length).ok_or(bad)?;
        let bytes = match region {
            Region::Row => self.env.row.get(from..to),
            Region::State => self.env.state.get(from..to),
            Region::Params => self.env.params.get(from..to),
            Region::Stack => {
                let written = self.written.get(from..to).ok_or(bad)?;
                if !written.iter().all(|&written| written) {
                    return Err(FaultKind::UnsetStack { address });
                }
                self.stack.get(from..to)
            }
            Region::MapValues(index) => {
                self.env.maps.get(index).and_then(|map| map.all_values().get(from..to))
            }
            Region::Function | Region::Map(_) => None,
        };
        bytes.ok_or(bad)
    }

    pub(super) fn write(&mut self, address: u64, length: usize) -> Result<&mut [u8], FaultKind> {
        let bad = FaultKind::BadAccess { address, length };
        let (region, from) = Region::of(address).ok_or(bad)?;
        let to = from.checked_add(length).ok_or(bad)?;
        let bytes = match region {
            Region::State => self.env.state.get_mut(from..to),
            Region::Stack => {
                self.written.get_mut(from..to).ok_or(bad)?.fill(true);
                self.stack.get_mut(from..to)
            }
            Region::MapValues(index) => {
                self.env.maps.get_mut(index).and_then(|map| map.all_values_mut().get_mut(from..to))
            }
            Region::Row | Region::Params | Region::Function | Region::Map(_) => None,
        };
        bytes.ok_or(bad)
    }

    pub(super) fn load(&self, address: u64, size: Size) -> Result<u64, FaultKind> {
        let bytes = self.read(address, length(size))?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    pub(super) fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), FaultKind> {
        let bytes = self.write(address, length(size))?;
        for (byte, value) in bytes.iter_mut().zip(value.to_le_bytes()) {
            *byte = value;
        }
        Ok(())
    }

    /// A map, by its index.
    #[must_use]
    pub fn map(&self, index: usize) -> Option<&Map<'m>> {
        self.env.maps.get(index)
    }
}

const fn length(size: Size) -> usize {
    size.bytes() as usize
}
