//! The running kernel's BTF: one scan that looks up only the names that are wanted.
//!
//! **Invariant**: the scan happens once for each load; a name that was not wanted before
//! it cannot be asked for after it.

use super::{Btf, BtfError, Kind, Strings, TypeId};
use std::collections::HashMap;
use std::ops::Deref;

/// The part of `name` before a flavour: `task_struct` of `task_struct___old`.
#[must_use]
pub fn essential(name: &str) -> &str {
    match name.find("___") {
        // A name that begins with three underscores has no flavour.
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

/// Names to look for. Names are compared without flavours.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    names: HashMap<Box<str>, usize>,
    found: Vec<Vec<(Kind, TypeId)>>,
    /// Which hashes of first four bytes occur, so that most names are passed by without a
    /// look at the table.
    prefixes: [u64; 16],
}

impl Wanted {
    /// Adds a name.
    pub fn add(&mut self, name: &str) {
        let name = essential(name);
        if name.is_empty() || self.names.contains_key(name) {
            return;
        }
        let slot = prefix_slot(name.as_bytes());
        self.prefixes[slot >> 6] |= 1 << (slot & 63);
        self.names.insert(name.into(), self.found.len());
        self.found.push(Vec::new());
    }

    /// Notes the type if its name is wanted.
    #[inline]
    fn offer(&mut self, strings: &Strings<'_>, name: u32, kind: Kind, id: TypeId) {
        let Some(rest) = strings.rest(name) else { return };
        let slot = prefix_slot(rest);
        if self.prefixes[slot >> 6] >> (slot & 63) & 1 == 0 {
            return;
        }
        self.note(strings, name, kind, id);
    }

    #[cold]
    fn note(&mut self, strings: &Strings<'_>, name: u32, kind: Kind, id: TypeId) {
        let Ok(name) = strings.get(name) else { return };
        if let Some(&index) = self.names.get(essential(name)) {
            self.found[index].push((kind, id));
        }
    }
}

/// The bytes of a name at the very end of the strings.
#[cold]
fn short_word(name: &[u8]) -> u64 {
    name.iter().take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The highest bit of the byte where a flavour begins, which is not the first one.
#[cold]
fn flavour_end(name: &[u8]) -> u64 {
    let flavour = (1..6).find(|&at| name.get(at..).is_some_and(|name| name.starts_with(b"___")));
    flavour.map_or(0, |at| 0x80 << (8 * at))
}

/// A number below 1024 from the first six bytes of a name without its flavour.
#[inline(always)]
fn prefix_slot(name: &[u8]) -> usize {
    const LOW_BITS: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    // Sets the highest bit of each byte that is zero; exact up to the first of them.
    let zeros = |word: u64| word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS;
    let word = match name.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => short_word(name),
    };
    let mut ends = zeros(word) | 1 << 55;
    let underscores = zeros(word ^ (LOW_BITS * b'_' as u64));
    if underscores & underscores >> 8 != 0 {
        ends |= flavour_end(name);
    }
    let first_end = ends & ends.wrapping_neg();
    let kept = word & (first_end >> 7).wrapping_sub(1);
    (kept.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
}

/// The kernel's types and where the wanted ones are.
#[derive(Clone, Debug)]
pub struct KernelBtf<B> {
    btf: Btf<B>,
    wanted: Wanted,
}

impl<B: Deref<Target = [u8]>> KernelBtf<B> {
    /// Scans `data` for the wanted names.
    ///
    /// # Errors
    /// [`BtfError`] when the data are no BTF.
    pub fn scan(data: B, mut wanted: Wanted) -> Result<Self, BtfError> {
        let btf = Btf::parse(data, |strings, view| {
            if view.name != 0 && is_nameable(view.kind) {
                wanted.offer(strings, view.name, view.kind, view.id);
            }
            Ok(())
        })?;
        Ok(Self { btf, wanted })
    }

    /// All the types.
    #[must_use]
    pub const fn types(&self) -> &Btf<B> {
        &self.btf
    }

    /// The types called `name` (flavours aside), of any kind, in the order of their ids.
    #[must_use]
    pub fn named(&self, name: &str) -> &[(Kind, TypeId)] {
        match self.wanted.names.get(essential(name)) {
            Some(&index) => &self.wanted.found[index],
            None => &[],
        }
    }

    /// The function called exactly `name`.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<TypeId> {
        self.exact(name, Kind::Func)
    }

    /// The type of this kind called exactly `name`.
    #[must_use]
    pub fn exact(&self, name: &str, kind: Kind) -> Option<TypeId> {
        self.named(name)
            .iter()
            .filter(|(found, _)| *found == kind)
            .map(|(_, id)| *id)
            .find(|&id| self.btf.ty(id).and_then(|view| self.btf.name(&view)) == Ok(name))
    }
}

const fn is_nameable(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Func
            | Kind::Struct
            | Kind::Union
            | Kind::Enum
            | Kind::Enum64
            | Kind::Typedef
            | Kind::Int
            | Kind::Fwd
            | Kind::Float
            | Kind::Var
    )
}
