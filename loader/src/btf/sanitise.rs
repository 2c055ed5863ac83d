//! An object's BTF as the kernel accepts it.
//!
//! Compilers write what linkers need and the kernel refuses: functions that are defined
//! elsewhere, the section that lists them, sections without a size.
//!
//! **Invariant**: ids stay what they are, so that maps, functions and lines need no change.

use super::{Btf, BtfError, BtfErrorKind, Kind, TypeView, push_words};
use std::ops::Deref;

const HEADER_BYTES: u32 = 24;
const LINKAGE_GLOBAL: u32 = 1;
const LINKAGE_EXTERN: u32 = 2;

/// Sizes and offsets that only the ELF file knows.
pub trait DataLayout {
    /// The size of a section.
    fn section_size(&self, section: &str) -> Option<u32>;
    /// The offset of a variable in a section.
    fn variable_offset(&self, section: &str, variable: &str) -> Option<u32>;
}

/// The data to hand to BTF_LOAD.
///
/// # Errors
/// [`BtfError`] when a name or a type that must be read is not there.
pub fn for_kernel<B: Deref<Target = [u8]>>(
    btf: &Btf<B>,
    layout: &dyn DataLayout,
) -> Result<Vec<u8>, BtfError> {
    let strings = btf.strings.clone();
    let mut types = Vec::with_capacity(btf.types.len());
    // Parameters of functions defined elsewhere have no names, which the kernel wants; any
    // name will do.
    let filler = btf
        .iter()
        .find(|view| view.kind == Kind::Func && view.name != 0)
        .map_or(0, |view| view.name);
    let mut unnamed = vec![false; btf.count as usize + 1];
    for view in btf.iter() {
        if view.kind == Kind::Func
            && view.linkage() == LINKAGE_EXTERN
            && let Some(flag) = unnamed.get_mut(view.target().0 as usize)
        {
            *flag = true;
        }
    }
    for view in btf.iter() {
        match view.kind {
            Kind::Func if view.linkage() == LINKAGE_EXTERN => {
                put(&mut types, &view, Kind::Func, LINKAGE_GLOBAL, view.target().0, &[]);
            }
            Kind::FuncProto if unnamed[view.id.0 as usize] => {
                put_as_is(&mut types, &view, &named_params(&view, filler));
            }
            Kind::Var if view.linkage() == LINKAGE_EXTERN => {
                put_as_is(&mut types, &view, &LINKAGE_GLOBAL.to_le_bytes());
            }
            Kind::Datasec => put_section(&mut types, btf, &view, layout)?,
            Kind::Int
            | Kind::Ptr
            | Kind::Array
            | Kind::Struct
            | Kind::Union
            | Kind::Enum
            | Kind::Fwd
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Func
            | Kind::FuncProto
            | Kind::Var
            | Kind::Float
            | Kind::DeclTag
            | Kind::TypeTag
            | Kind::Enum64 => put_as_is(&mut types, &view, view.payload),
        }
    }
    let too_large = || BtfError {
        offset: 0,
        kind: BtfErrorKind::TooLarge { bytes: types.len().saturating_add(strings.len()) },
    };
    let type_len = u32::try_from(types.len()).map_err(|_| too_large())?;
    let string_len = u32::try_from(strings.len()).map_err(|_| too_large())?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES as usize + types.len() + strings.len());
    bytes.extend([0x9f, 0xeb, 1, 0]);
    push_words(&mut bytes, &[HEADER_BYTES, 0, type_len, type_len, string_len]);
    bytes.extend(types);
    bytes.extend(&btf.data[strings]);
    Ok(bytes)
}

fn put(
    types: &mut Vec<u8>,
    view: &TypeView<'_>,
    kind: Kind,
    members: u32,
    size_or_type: u32,
    payload: &[u8],
) {
    let flag = u32::from(view.flag && kind == view.kind);
    let info = flag << 31 | u32::from(kind as u8) << 24 | members;
    push_words(types, &[view.name, info, size_or_type]);
    types.extend_from_slice(payload);
}

fn put_as_is(types: &mut Vec<u8>, view: &TypeView<'_>, payload: &[u8]) {
    put(types, view, view.kind, view.members.into(), view.size(), payload);
}

fn named_params(view: &TypeView<'_>, filler: u32) -> Vec<u8> {
    let mut payload = view.payload.to_vec();
    for param in payload.chunks_exact_mut(8) {
        // A parameter of type void is `...` and stays without a name.
        if param[..4] == [0; 4] && param[4..] != [0; 4] {
            param[..4].copy_from_slice(&filler.to_le_bytes());
        }
    }
    payload
}

fn put_section<B: Deref<Target = [u8]>>(
    types: &mut Vec<u8>,
    btf: &Btf<B>,
    view: &TypeView<'_>,
    layout: &dyn DataLayout,
) -> Result<(), BtfError> {
    let name = btf.name(view)?;
    let size = layout.section_size(name).filter(|&size| size > 0);
    let Some(size) = size else {
        // `.ksyms` and the like have no data. An empty struct without a name keeps the id.
        push_words(types, &[0, u32::from(Kind::Struct as u8) << 24, 0]);
        return Ok(());
    };
    let mut variables = Vec::new();
    for (variable, offset, bytes) in view.variables() {
        let variable_view = btf.ty(variable)?;
        let variable_name = btf.name(&variable_view)?;
        let offset = layout.variable_offset(name, variable_name).unwrap_or(offset);
        variables.push((offset, variable.0, bytes));
    }
    variables.sort_unstable();
    let mut payload = Vec::with_capacity(view.payload.len());
    for (offset, variable, bytes) in variables {
        push_words(&mut payload, &[variable, offset, bytes]);
    }
    put(types, view, Kind::Datasec, view.members.into(), size, &payload);
    Ok(())
}
