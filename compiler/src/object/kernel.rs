//! Local BTF definitions of the kernel's types, holding only what the object uses.
//!
//! A first pass over all code collects the members, enumerators and functions that it
//! names; then each struct is laid out as C would lay it out. A CO-RE record then says
//! "member *i* of my struct", and the loader finds the member of that name in the kernel.
//!
//! **Invariant**: a struct that occurs is defined exactly once, with its members in the
//! order of the table in [`kernel_types`](crate::target::bpf::kernel_types).

use std::collections::BTreeMap;

use super::btf::{Btf, BtfMember, Encoding, Linkage, TypeId, VOID};
use super::used::{Used, contained, known_kfunc, unknown_field, unknown_type};
use super::{Module, ObjectError};
use crate::code::{FieldPath, RelocKind};
use crate::target::bpf::kernel_types::{KERNEL_STRUCTS, Kfunc, Kind};

/// What a CO-RE record asks for (`enum bpf_core_relo_kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum CoreKind {
    FieldOffset = 0,
    FieldSize = 1,
    FieldExists = 2,
    TypeId = 7,
    TypeSize = 9,
    EnumValue = 11,
}

/// A CO-RE record before it has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Core {
    /// The local type.
    pub(super) ty: TypeId,
    /// The path in it, as member indices.
    pub(super) access: String,
    /// What is asked for.
    pub(super) kind: CoreKind,
    /// What the insn holds before it is relocated: the value in the local type.
    pub(super) local: u32,
}

/// The types of an object.
#[derive(Debug)]
pub(super) struct Types {
    /// Where they are built; types of the object itself are added to it.
    pub(super) btf: Btf,
    structs: BTreeMap<&'static str, Local>,
    enums: BTreeMap<&'static str, (TypeId, Vec<&'static str>)>,
    /// Kernel functions that the code calls, by name, with their BTF functions.
    pub(super) kfuncs: BTreeMap<&'static str, TypeId>,
}

/// A struct as the object defines it.
#[derive(Debug)]
struct Local {
    id: TypeId,
    size: u32,
    align: u32,
    members: Vec<LocalMember>,
}

#[derive(Clone, Copy, Debug)]
struct LocalMember {
    name: &'static str,
    kind: Kind,
    offset: u32,
}

impl Types {
    /// Defines what the module's code uses of the kernel's types.
    ///
    /// # Errors
    /// When the code names a type, a member or a function that the table does not have.
    pub(super) fn new(module: &Module) -> Result<Self, ObjectError> {
        let used = Used::collect(module)?;
        let mut types = Self {
            btf: Btf::new(),
            structs: BTreeMap::new(),
            enums: BTreeMap::new(),
            kfuncs: BTreeMap::new(),
        };
        types.define_structs(&used)?;
        for (name, values) in used.enums {
            let numbered: Vec<(&str, i32)> = values.iter().copied().zip(0..).collect();
            let id = types.btf.enumeration(name, &numbered);
            types.enums.insert(name, (id, values));
        }
        for name in used.kfuncs {
            let id = types.kfunc(known_kfunc(name)?);
            types.kfuncs.insert(name, id);
        }
        Ok(types)
    }

    /// The CO-RE record for a reference; `None` when it is one for the linker.
    ///
    /// # Errors
    /// When it names what [`Types::new`] did not see.
    pub(super) fn core(&self, reference: &RelocKind) -> Result<Option<Core>, ObjectError> {
        let core = match reference {
            RelocKind::FieldOffset(path) => {
                let place = self.place(path)?;
                Core { local: place.offset, ..place.core(CoreKind::FieldOffset) }
            }
            RelocKind::FieldExists(path) => {
                Core { local: 1, ..self.place(path)?.core(CoreKind::FieldExists) }
            }
            RelocKind::FieldSize(path) => {
                let place = self.place(path)?;
                Core { local: self.size_align(place.kind).0, ..place.core(CoreKind::FieldSize) }
            }
            RelocKind::TypeSize(name) => {
                let local = self.local(name)?;
                Core {
                    ty: local.id,
                    access: "0".to_owned(),
                    kind: CoreKind::TypeSize,
                    local: local.size,
                }
            }
            RelocKind::TypeId(name) => {
                let id = self.local(name)?.id;
                Core { ty: id, access: "0".to_owned(), kind: CoreKind::TypeId, local: id.0 }
            }
            RelocKind::EnumValue(name, value) => {
                let (id, values) = self.enums.get(name).ok_or_else(|| unknown_type(name))?;
                let index = values
                    .iter()
                    .position(|known| known == value)
                    .ok_or_else(|| unknown_type(value))?;
                let index = super::btf::size_u32(index);
                Core { ty: *id, access: index.to_string(), kind: CoreKind::EnumValue, local: index }
            }
            RelocKind::Map(_)
            | RelocKind::Data { .. }
            | RelocKind::Kfunc(_)
            | RelocKind::Subprog(_)
            | RelocKind::SubprogAddress(_) => return Ok(None),
        };
        Ok(Some(core))
    }

    /// A pointer to the local definition of a kernel struct, or to `void`.
    pub(super) fn pointer_to(&mut self, name: &str) -> TypeId {
        let target = self.defined(name);
        self.btf.pointer(target)
    }

    /// The local definition of a kernel struct, or `void`.
    pub(super) fn defined(&self, name: &str) -> TypeId {
        self.structs.get(name).map_or(VOID, |local| local.id)
    }

    /// Structs first get ids, since they may point to each other, then sizes, innermost
    /// first, then their records.
    fn define_structs(&mut self, used: &Used) -> Result<(), ObjectError> {
        for layout in KERNEL_STRUCTS {
            let Some(names) = used.members.get(layout.name) else { continue };
            let members = layout
                .members
                .iter()
                .filter(|member| names.contains(member.0))
                .map(|&(name, kind)| LocalMember { name, kind, offset: 0 })
                .collect();
            let id = self.btf.reserve();
            self.structs.insert(layout.name, Local { id, size: 0, align: 0, members });
        }
        let names: Vec<&'static str> = self.structs.keys().copied().collect();
        for &name in &names {
            self.lay_out(name);
        }
        for layout in KERNEL_STRUCTS {
            let Some(local) = self.structs.get(layout.name) else { continue };
            let (id, size, members) = (local.id, local.size, local.members.clone());
            let mut described = Vec::with_capacity(members.len());
            for member in members {
                let ty = self.kind(member.kind);
                let name = member.name.to_owned();
                described.push(BtfMember { name, ty, offset: member.offset });
            }
            self.btf.fill(id, layout.name, size, &described);
        }
        Ok(())
    }

    fn lay_out(&mut self, name: &str) {
        let Some(local) = self.structs.get(name) else { return };
        if local.align != 0 {
            return;
        }
        let mut members = local.members.clone();
        for member in &members {
            if let Some(inner) = contained(member.kind) {
                self.lay_out(inner);
            }
        }
        let (mut end, mut align) = (0u32, 1u32);
        for member in &mut members {
            let (size, member_align) = self.size_align(member.kind);
            member.offset = end.next_multiple_of(member_align);
            end = member.offset + size;
            align = align.max(member_align);
        }
        if let Some(local) = self.structs.get_mut(name) {
            local.members = members;
            local.size = end.next_multiple_of(align);
            local.align = align;
        }
    }

    fn size_align(&self, kind: Kind) -> (u32, u32) {
        match kind {
            Kind::Struct(name) => {
                self.structs.get(name).map_or((0, 1), |local| (local.size, local.align.max(1)))
            }
            Kind::Array(element, count) => {
                let (size, align) = self.size_align(*element);
                (size * count, align)
            }
            Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Bool
            | Kind::Pointer(_)
            | Kind::Memory
            | Kind::IntPointer
            | Kind::Callback
            | Kind::TaskCallback
            | Kind::Enum(_) => {
                let bytes = kind.scalar_bytes().unwrap_or(8);
                (bytes, bytes)
            }
        }
    }

    fn kind(&mut self, kind: Kind) -> TypeId {
        match kind {
            Kind::Unsigned(bytes) => self.btf.int(unsigned_name(bytes), bytes, Encoding::Unsigned),
            Kind::Signed(bytes) => self.btf.int(signed_name(bytes), bytes, Encoding::Signed),
            Kind::Bool => self.btf.int("_Bool", 1, Encoding::Bool),
            Kind::Struct(name) => self.structs.get(name).map_or(VOID, |local| local.id),
            Kind::Array(element, count) => {
                let element = self.kind(*element);
                self.btf.array(element, count)
            }
            Kind::Pointer(name) => self.pointer_to(name),
            Kind::Memory => self.btf.pointer(VOID),
            Kind::IntPointer => {
                let int = self.kind(Kind::Signed(4));
                self.btf.pointer(int)
            }
            Kind::Callback => {
                let int = self.kind(Kind::Signed(4));
                let memory = self.btf.pointer(VOID);
                let key = self.btf.pointer(int);
                let args = [("map", memory), ("key", key), ("value", memory)];
                let prototype = self.btf.prototype(int, &args);
                self.btf.pointer(prototype)
            }
            Kind::TaskCallback => {
                let int = self.kind(Kind::Signed(4));
                let memory = self.btf.pointer(VOID);
                let map = self.pointer_to("bpf_map");
                let args = [("map", map), ("key", memory), ("value", memory)];
                let prototype = self.btf.prototype(int, &args);
                self.btf.pointer(prototype)
            }
            Kind::Enum(name) => self.btf.enumeration(name, &[]),
        }
    }

    fn kfunc(&mut self, kfunc: &Kfunc) -> TypeId {
        let result = kfunc.result.map_or(VOID, |kind| self.kind(kind));
        let args: Vec<(&str, TypeId)> =
            kfunc.args.iter().map(|&(name, kind)| (name, self.kind(kind))).collect();
        let prototype = self.btf.prototype(result, &args);
        self.btf.function(kfunc.name, prototype, Linkage::Extern)
    }

    fn local(&self, name: &str) -> Result<&Local, ObjectError> {
        self.structs.get(name).ok_or_else(|| unknown_type(name))
    }

    fn place(&self, path: &FieldPath) -> Result<Place, ObjectError> {
        let root = self.local(path.root)?;
        let mut access = "0".to_owned();
        let (mut kind, mut offset) = (Kind::Struct(path.root), 0);
        for &name in &path.path {
            let (index, step, next) = self.step(kind, name).ok_or_else(|| unknown_field(path))?;
            access.push(':');
            access.push_str(&index.to_string());
            offset += step;
            kind = next;
        }
        Ok(Place { ty: root.id, access, kind, offset })
    }

    /// One step of a path: the index to write down, the offset and the kind that it adds.
    fn step(&self, kind: Kind, name: &str) -> Option<(u32, u32, Kind)> {
        match kind {
            Kind::Struct(layout) => {
                let members = &self.structs.get(layout)?.members;
                let index = members.iter().position(|member| member.name == name)?;
                let member = members.get(index)?;
                Some((super::btf::size_u32(index), member.offset, member.kind))
            }
            Kind::Array(element, count) => {
                let index = name.parse().ok().filter(|&index: &u32| index < count)?;
                Some((index, index * self.size_align(*element).0, *element))
            }
            Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Bool
            | Kind::Pointer(_)
            | Kind::Memory
            | Kind::IntPointer
            | Kind::Callback
            | Kind::TaskCallback
            | Kind::Enum(_) => None,
        }
    }
}

/// Where a path leads in the local types.
struct Place {
    ty: TypeId,
    access: String,
    kind: Kind,
    offset: u32,
}

impl Place {
    fn core(&self, kind: CoreKind) -> Core {
        Core { ty: self.ty, access: self.access.clone(), kind, local: 0 }
    }
}

const fn unsigned_name(bytes: u32) -> &'static str {
    match bytes {
        1 => "unsigned char",
        2 => "unsigned short",
        4 => "unsigned int",
        _ => "unsigned long long",
    }
}

const fn signed_name(bytes: u32) -> &'static str {
    match bytes {
        1 => "signed char",
        2 => "short",
        4 => "int",
        _ => "long long",
    }
}
