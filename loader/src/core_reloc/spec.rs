//! The access path of a relocation: `0:12:3` as steps through the object's types.
//!
//! **Invariant**: each step's index exists in its type.

use super::{RelocErrorKind, RelocKind};
use crate::btf::{Btf, BtfError, Kind, Member, TypeId, TypeView};
use std::ops::Deref;

/// Most steps of a path.
const STEPS_MAX: usize = 64;

/// One step: a named member, an element of an array or an enumerator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Member { name: &'a str, member: Member },
    Element { index: u64 },
    Enumerator { name: &'a str },
}

/// A parsed path.
#[derive(Clone, Debug)]
pub(super) struct Spec<'a> {
    pub(super) root: TypeId,
    /// The root is taken as an array's element with this index; nearly always 0.
    pub(super) root_index: u64,
    pub(super) steps: Vec<Step<'a>>,
    pub(super) bit_offset: u64,
    /// The type that the path leads to.
    pub(super) leaf: TypeId,
}

impl<'a> Spec<'a> {
    pub(super) fn parse<B: Deref<Target = [u8]>>(
        btf: &'a Btf<B>,
        root: TypeId,
        path: &str,
        kind: RelocKind,
    ) -> Result<Self, RelocErrorKind> {
        let wrong = || RelocErrorKind::Path { path: path.to_owned() };
        let mut indexes = Vec::new();
        for part in path.split(':') {
            indexes.push(part.parse::<u32>().map_err(|_| wrong())?);
        }
        let (&first, rest) = indexes.split_first().ok_or_else(wrong)?;
        if rest.len() > STEPS_MAX {
            return Err(wrong());
        }
        let mut spec = Self { root, root_index: 0, steps: Vec::new(), bit_offset: 0, leaf: root };
        if kind.is_type() {
            return if rest.is_empty() && first == 0 { Ok(spec) } else { Err(wrong()) };
        }
        if kind.is_enum_value() {
            let view = btf.resolve(root)?.filter(|view| view.kind.is_enum()).ok_or_else(wrong)?;
            let value = view.enum_values().nth(first as usize).ok_or_else(wrong)?;
            let name = btf.strings().get(value.name)?;
            spec.steps.push(Step::Enumerator { name });
            return if rest.is_empty() { Ok(spec) } else { Err(wrong()) };
        }
        spec.root_index = first.into();
        spec.bit_offset = bits(u64::from(first), btf.size(root)?).ok_or_else(wrong)?;
        for &index in rest {
            let view = btf.resolve(spec.leaf)?.ok_or_else(wrong)?;
            spec.step(btf, view, index)?.ok_or_else(wrong)?;
        }
        Ok(spec)
    }

    /// Goes one step further; `None` when there is no such step.
    fn step<B: Deref<Target = [u8]>>(
        &mut self,
        btf: &'a Btf<B>,
        view: TypeView<'a>,
        index: u32,
    ) -> Result<Option<()>, BtfError> {
        let offset = if view.kind.is_composite() {
            let Some(member) = view.struct_members().nth(index as usize) else { return Ok(None) };
            let name = btf.strings().get(member.name)?;
            // Anonymous structs are looked through: only names must correspond.
            if !name.is_empty() {
                self.steps.push(Step::Member { name, member });
            }
            self.leaf = member.ty;
            Some(u64::from(member.bit_offset))
        } else if view.kind == Kind::Array {
            let array = view.array()?;
            let flexible = array.elements == 0 && self.ends_in_member();
            if index >= array.elements && !flexible {
                return Ok(None);
            }
            self.steps.push(Step::Element { index: index.into() });
            self.leaf = array.element;
            bits(index.into(), btf.size(array.element)?)
        } else {
            return Ok(None);
        };
        let sum = offset.and_then(|offset| self.bit_offset.checked_add(offset));
        Ok(sum.map(|sum| self.bit_offset = sum))
    }

    fn ends_in_member(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Member { .. }))
    }

    /// The path in words: `task_struct.se.vruntime`.
    pub(super) fn describe(&self, root: &str) -> String {
        let mut text = root.to_owned();
        for step in &self.steps {
            match step {
                Step::Member { name, .. } => {
                    text.push('.');
                    text.push_str(name);
                }
                Step::Element { index } => {
                    text.push_str(&format!("[{index}]"));
                }
                Step::Enumerator { name } => {
                    text.push_str("::");
                    text.push_str(name);
                }
            }
        }
        text
    }
}

/// Bits of `count` things of `bytes` bytes.
pub(super) fn bits(count: u64, bytes: u64) -> Option<u64> {
    count.checked_mul(bytes)?.checked_mul(8)
}
