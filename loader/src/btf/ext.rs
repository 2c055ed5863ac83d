//! `.BTF.ext`: where each function starts, which source line an insn comes from, and which
//! insns depend on the layout of kernel types.
//!
//! **Invariant**: offsets are multiples of an insn's size; whether an insn is there is
//! checked when functions are cut out of their sections.

use super::{BtfError, BtfErrorKind, TypeId, word_at};
use crate::insn::INSN_BYTES;

const MAGIC: u16 = 0xeb9f;
/// Most records of one kind; the largest program has fewer insns.
const RECORDS_MAX: usize = 1 << 18;

/// The records of `.BTF.ext`, by place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ext {
    /// Where functions start.
    pub functions: Vec<FuncInfo>,
    /// Source lines.
    pub lines: Vec<LineInfo>,
    /// CO-RE relocations.
    pub relocs: Vec<CoreReloc>,
}

/// A place in the code of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CodePlace {
    /// The section's name, as an offset in BTF's strings.
    pub section: u32,
    /// The slot in the section.
    pub slot: usize,
}

/// A function and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuncInfo {
    /// Its first insn.
    pub place: CodePlace,
    /// Its type, a FUNC.
    pub ty: TypeId,
}

/// From this insn on, the code comes from this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// The first insn.
    pub place: CodePlace,
    /// The file's name in BTF's strings.
    pub file: u32,
    /// The line's text in BTF's strings.
    pub text: u32,
    /// `line << 10 | column`.
    pub line_column: u32,
}

impl LineInfo {
    /// The line, from 1.
    #[must_use]
    pub const fn line(&self) -> u32 {
        self.line_column >> 10
    }

    /// The column, from 1; 0 for none.
    #[must_use]
    pub const fn column(&self) -> u32 {
        self.line_column & 0x3ff
    }
}

/// An insn that depends on a kernel type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreReloc {
    /// The insn.
    pub place: CodePlace,
    /// The local type that the access starts from.
    pub ty: TypeId,
    /// The path in BTF's strings: `0:12:3`.
    pub access: u32,
    /// What is asked: see [`crate::core_reloc::RelocKind`].
    pub kind: u32,
}

/// Reads the bytes of `.BTF.ext`.
///
/// # Errors
/// [`BtfError`] when they are not well formed.
pub fn parse(bytes: &[u8]) -> Result<Ext, BtfError> {
    let at = |offset, kind| BtfError { offset, kind };
    let cut = || at(0, BtfErrorKind::Truncated { what: "the .BTF.ext header" });
    let magic = bytes.get(..4).ok_or_else(cut)?;
    if u16::from_le_bytes([magic[0], magic[1]]) != MAGIC {
        return Err(at(0, BtfErrorKind::Magic));
    }
    if magic[2] != 1 {
        return Err(at(2, BtfErrorKind::Version { version: magic[2] }));
    }
    let header = word_at(bytes, 4).ok_or_else(cut)? as usize;
    let part = |field: usize| -> Result<(usize, usize), BtfError> {
        // Older headers have no CO-RE part.
        if field + 8 > header {
            return Ok((header, header));
        }
        let start = word_at(bytes, field).ok_or_else(cut)? as usize;
        let len = word_at(bytes, field + 4).ok_or_else(cut)? as usize;
        let start = header.checked_add(start).ok_or_else(cut)?;
        let end = start.checked_add(len).filter(|&end| end <= bytes.len()).ok_or_else(cut)?;
        Ok((start, end))
    };
    let mut ext = Ext::default();
    let (start, end) = part(8)?;
    records(bytes, start, end, 8, |place, record| {
        ext.functions.push(FuncInfo { place, ty: TypeId(record(4)) });
    })?;
    let (start, end) = part(16)?;
    records(bytes, start, end, 16, |place, record| {
        ext.lines.push(LineInfo {
            place,
            file: record(4),
            text: record(8),
            line_column: record(12),
        });
    })?;
    let (start, end) = part(24)?;
    records(bytes, start, end, 16, |place, record| {
        ext.relocs.push(CoreReloc {
            place,
            ty: TypeId(record(4)),
            access: record(8),
            kind: record(12),
        });
    })?;
    // By place, so that a function's records are found without a look at all of them.
    ext.functions.sort_by_key(|info| info.place);
    ext.lines.sort_by_key(|info| info.place);
    ext.relocs.sort_by_key(|reloc| reloc.place);
    Ok(ext)
}

/// Shows each record of one part to `visit`, with the place that its first word names and a
/// way to its words.
fn records(
    bytes: &[u8],
    start: usize,
    end: usize,
    least: usize,
    mut visit: impl FnMut(CodePlace, &dyn Fn(usize) -> u32),
) -> Result<(), BtfError> {
    if start == end {
        return Ok(());
    }
    let cut = |at: usize| BtfError {
        offset: at,
        kind: BtfErrorKind::Truncated { what: "a .BTF.ext record" },
    };
    let bytes = bytes.get(..end).ok_or_else(|| cut(start))?;
    let size = word_at(bytes, start).ok_or_else(|| cut(start))? as usize;
    if size < least || !size.is_multiple_of(4) {
        return Err(cut(start));
    }
    let mut at = start + 4;
    let mut total = 0_usize;
    while at < end {
        let section = word_at(bytes, at).ok_or_else(|| cut(at))?;
        let count = word_at(bytes, at + 4).ok_or_else(|| cut(at))? as usize;
        total = total.saturating_add(count);
        if total > RECORDS_MAX {
            return Err(cut(at));
        }
        at += 8;
        for _ in 0..count {
            let record =
                at.checked_add(size).and_then(|next| bytes.get(at..next)).ok_or_else(|| cut(at))?;
            let word = |offset| word_at(record, offset).unwrap_or(0);
            let offset = word(0) as usize;
            if !offset.is_multiple_of(INSN_BYTES) {
                return Err(cut(at));
            }
            visit(CodePlace { section, slot: offset / INSN_BYTES }, &word);
            at += size;
        }
    }
    Ok(())
}
