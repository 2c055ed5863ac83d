//! Maps as BTF defines them: variables of `.maps` whose struct members say what they are.
//!
//! **Invariant**: a map's symbol, its BTF variable and its definition agree on its name.

use super::MAPS_MAX;
use super::error::{ObjectError, ObjectErrorKind};
use super::sections::File;
use crate::btf::{Btf, BtfError, Kind, TypeId, TypeView};

const SECTION: &str = ".maps";

/// Numbers of map types that the loader treats in their own way.
pub mod map_type {
    /// An array.
    pub const ARRAY: u32 = 2;
    /// A ring buffer: it has neither keys nor values.
    pub const RINGBUF: u32 = 27;
    /// Values that live and die with a task.
    pub const TASK_STORAGE: u32 = 29;
}

/// A map's definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapDef {
    /// Its symbol.
    pub name: String,
    /// Bytes from the start of `.maps`.
    pub offset: u32,
    /// Bytes that its definition takes there.
    pub size: u32,
    /// Its type, by the kernel's number.
    pub ty: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries; bytes of a ring buffer.
    pub max_entries: u32,
    /// The flags of BPF_MAP_CREATE.
    pub flags: u32,
    /// The key's type, 0 for none.
    pub key_type: u32,
    /// The value's type, 0 for none.
    pub value_type: u32,
}

pub(super) fn parse(file: &File<'_>, btf: &Btf<Vec<u8>>) -> Result<Vec<MapDef>, ObjectError> {
    let Some((index, section)) = file.section(SECTION) else { return Ok(Vec::new()) };
    let wrong = |error: BtfError| ObjectError::btf(".BTF", error);
    let definitions = variables(btf).map_err(wrong)?;
    let mut maps = Vec::new();
    for symbol in &file.symbols {
        if symbol.section() != index || !symbol.is_variable() {
            continue;
        }
        let place = symbol.value();
        let end = place.checked_add(symbol.size()).filter(|&end| end <= section.header.sh_size);
        let (Some(_), Ok(offset), Ok(size)) =
            (end, u32::try_from(place), u32::try_from(symbol.size()))
        else {
            return Err(ObjectError::outside(SECTION, place, format!("map `{}`", symbol.name)));
        };
        let ty = definitions.iter().find(|(name, _)| *name == symbol.name).map(|(_, ty)| *ty);
        let Some(ty) = ty else {
            let what = format!("BTF of map `{}`", symbol.name);
            return Err(ObjectError::new(SECTION, place, ObjectErrorKind::Missing { what }));
        };
        let name = symbol.name.to_owned();
        maps.push(define(btf, MapDef { name, offset, size, ..MapDef::default() }, ty)?);
        if maps.len() > MAPS_MAX {
            let kind = ObjectErrorKind::TooMany {
                what: "maps",
                count: maps.len() as u64,
                limit: MAPS_MAX as u64,
            };
            return Err(ObjectError::new(SECTION, place, kind));
        }
    }
    maps.sort_by_key(|map| map.offset);
    Ok(maps)
}

/// Names and types of the variables of `.maps`.
fn variables(btf: &Btf<Vec<u8>>) -> Result<Vec<(&str, TypeId)>, BtfError> {
    let mut variables = Vec::new();
    for section in btf.iter().filter(|view| view.kind == Kind::Datasec) {
        if btf.name(&section)? != SECTION {
            continue;
        }
        for (id, _, _) in section.variables() {
            let variable = btf.ty(id)?;
            if variable.kind != Kind::Var {
                return Err(variable.wrong("a variable"));
            }
            variables.push((btf.name(&variable)?, variable.target()));
        }
    }
    Ok(variables)
}

/// Fills in `map` from the struct `ty`.
fn define(btf: &Btf<Vec<u8>>, mut map: MapDef, ty: TypeId) -> Result<MapDef, ObjectError> {
    let wrong = |error: BtfError| ObjectError::btf(".BTF", error);
    let void = || ObjectError::malformed(SECTION, map.offset.into(), "a map without a type");
    let definition = btf.resolve(ty).map_err(wrong)?.ok_or_else(void)?;
    if definition.kind != Kind::Struct {
        return Err(wrong(definition.wrong("a struct that defines a map")));
    }
    for member in definition.struct_members() {
        let pointer = btf.resolve(member.ty).map_err(wrong)?;
        let name = btf.strings().get(member.name).map_err(wrong)?;
        let number = |pointer: Option<TypeView<'_>>| number(btf, pointer).map_err(wrong);
        let size_of = |ty| {
            let size = btf.size(ty).map_err(wrong)?;
            u32::try_from(size).map_err(|_| {
                let what = format!("map `{}` has a {name} of {size} bytes", map.name);
                ObjectError::malformed(SECTION, map.offset.into(), what)
            })
        };
        match name {
            "type" => map.ty = number(pointer)?,
            "max_entries" => map.max_entries = number(pointer)?,
            "map_flags" => map.flags = number(pointer)?,
            "key_size" => map.key_size = number(pointer)?,
            "value_size" => map.value_size = number(pointer)?,
            "key" => {
                let ty = pointee(pointer).map_err(wrong)?;
                (map.key_type, map.key_size) = (ty.0, size_of(ty)?);
            }
            "value" => {
                let ty = pointee(pointer).map_err(wrong)?;
                (map.value_type, map.value_size) = (ty.0, size_of(ty)?);
            }
            other => {
                let what = format!("member `{other}` of map `{}`", map.name);
                let kind = ObjectErrorKind::Unsupported { what };
                return Err(ObjectError::new(SECTION, map.offset.into(), kind));
            }
        }
    }
    Ok(map)
}

/// A number is written as the length of an array behind a pointer.
fn number(btf: &Btf<Vec<u8>>, pointer: Option<TypeView<'_>>) -> Result<u32, BtfError> {
    let array = btf.ty(pointee(pointer)?)?;
    Ok(array.array()?.elements)
}

fn pointee(pointer: Option<TypeView<'_>>) -> Result<TypeId, BtfError> {
    match pointer {
        Some(view) if view.kind == Kind::Ptr => Ok(view.target()),
        Some(view) => Err(view.wrong("a pointer")),
        None => Err(BtfError {
            offset: 0,
            kind: crate::btf::BtfErrorKind::WrongKind { id: 0, found: "void", wanted: "a pointer" },
        }),
    }
}
