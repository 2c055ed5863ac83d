//! The running kernel's BTF: one scan that looks up only the names that are wanted.
//!
//! **Invariant**: the scan happens once for each load; a name that was not wanted before
//! it cannot be asked for after it.

use super::lanes::LANES;
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
#[derive(Clone, Debug)]
pub struct Wanted {
    names: HashMap<Box<str>, usize>,
    found: Vec<Vec<(Kind, TypeId)>>,
    /// A bit for each hash of the first four bytes of a wanted name: nearly all names are
    /// passed by with one look at it.
    beginnings: Box<[u64; 1024]>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { names: HashMap::new(), found: Vec::new(), beginnings: Box::new([0; 1024]) }
    }
}

impl Wanted {
    /// Adds a name.
    pub fn add(&mut self, name: &str) {
        let name = essential(name);
        if name.is_empty() || self.names.contains_key(name) {
            return;
        }
        match *name.as_bytes() {
            [a, b, c, d, ..] => self.add_beginning([a, b, c, d]),
            // A shorter name is followed by its end or by a flavour.
            [a, b, c] => [0, b'_'].into_iter().for_each(|d| self.add_beginning([a, b, c, d])),
            [a, b] => {
                (0..=u8::MAX).for_each(|next| self.add_beginning([a, b, 0, next]));
                self.add_beginning([a, b, b'_', b'_']);
            }
            _ => *self.beginnings = [u64::MAX; 1024],
        }
        self.names.insert(name.into(), self.found.len());
        self.found.push(Vec::new());
    }

    /// Adds all the names of `other`.
    pub fn add_all(&mut self, other: &Self) {
        other.names.keys().for_each(|name| self.add(name));
    }

    /// Whether every name of `other` is one of these.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.names.keys().all(|name| self.names.contains_key(name))
    }

    fn add_beginning(&mut self, beginning: [u8; 4]) {
        let (word, bit) = slot(beginning);
        self.beginnings[word] |= 1 << bit;
    }

    /// Which of the names it is, if it is wanted.
    #[inline(always)]
    fn index_of(&self, strings: &Strings<'_>, name: u32) -> Option<usize> {
        if let Some(&beginning) = strings.rest(name)?.first_chunk() {
            let (word, bit) = slot(beginning);
            if self.beginnings[word] >> bit & 1 == 0 {
                return None;
            }
        }
        self.look_up(strings, name)
    }

    #[cold]
    fn look_up(&self, strings: &Strings<'_>, name: u32) -> Option<usize> {
        self.names.get(essential(strings.get(name).ok()?)).copied()
    }
}

/// The word and the bit of a name's beginning in [`Wanted::beginnings`].
#[inline(always)]
const fn slot(beginning: [u8; 4]) -> (usize, u32) {
    let hash = u32::from_le_bytes(beginning).wrapping_mul(0x9e37_79b9) >> 16;
    ((hash >> 6) as usize, hash & 63)
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
        let mut seen: [Vec<(usize, Kind, u32)>; LANES] = Default::default();
        let skimmed = Btf::skim(data, |strings, lane, number, skimmed| {
            if let Some(index) = wanted.index_of(strings, skimmed.name)
                && let Some(kind) = skimmed.kind()
            {
                seen[lane].push((index, kind, number));
            }
        });
        let btf = match skimmed {
            Ok(btf) => btf,
            Err(data) => {
                seen.iter_mut().for_each(Vec::clear);
                Btf::parse(data, |strings, view| {
                    if let Some(index) = wanted.index_of(strings, view.name) {
                        seen[0].push((index, view.kind, view.id.0));
                    }
                    Ok(())
                })?
            }
        };
        for (before, seen) in btf.lane_starts().zip(seen) {
            for (index, kind, number) in seen.into_iter().filter(|seen| is_nameable(seen.1)) {
                wanted.found[index].push((kind, TypeId(before + number)));
            }
        }
        Ok(Self { btf, wanted })
    }

    /// The names that the scan looked for.
    #[must_use]
    pub const fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether the scan looked for every name of `wanted`.
    #[must_use]
    pub fn looked_for(&self, wanted: &Wanted) -> bool {
        self.wanted.covers(wanted)
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
