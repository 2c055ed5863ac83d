//! Which of the kernel's members, enumerators and functions an object's code names.

use std::collections::{BTreeMap, BTreeSet};

use super::{DataType, Module, ObjectError, ObjectErrorKind};
use crate::code::{FieldPath, Reloc, RelocKind};
use crate::target::bpf::kernel_types::{self, KernelStruct, Kfunc, Kind};

/// What the code names.
#[derive(Default)]
pub(super) struct Used {
    /// The members of each struct.
    pub(super) members: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// The enumerators of each enumeration.
    pub(super) enums: BTreeMap<&'static str, Vec<&'static str>>,
    /// The kernel functions.
    pub(super) kfuncs: BTreeSet<&'static str>,
}

impl Used {
    /// What the module's code names.
    ///
    /// # Errors
    /// When the table does not have it.
    pub(super) fn collect(module: &Module) -> Result<Self, ObjectError> {
        let mut used = Self::default();
        let programs = module.programs.iter().map(|program| &program.code);
        let subprograms = module.subprograms.iter().map(|subprogram| &subprogram.code);
        for reloc in programs.chain(subprograms).flat_map(|code| &code.relocs) {
            used.add(reloc)?;
        }
        for map in &module.maps {
            map.value.iter().try_for_each(|value| used.add_contents(value))?;
        }
        Ok(used)
    }

    /// Kernel structs in a map's value are there with all of their members.
    fn add_contents(&mut self, ty: &DataType) -> Result<(), ObjectError> {
        match ty {
            DataType::Kernel(name, _) => {
                let layout = known_struct(name)?;
                let names = layout.members.iter().map(|member| member.0);
                self.members.entry(layout.name).or_default().extend(names);
                Ok(())
            }
            DataType::Struct(layout) => {
                layout.members.iter().try_for_each(|member| self.add_contents(&member.ty))
            }
            DataType::Array(element, _) => self.add_contents(element),
            DataType::U32 | DataType::I32 | DataType::U64 | DataType::I64 | DataType::Text(_) => {
                Ok(())
            }
        }
    }

    fn add(&mut self, reloc: &Reloc) -> Result<(), ObjectError> {
        match &reloc.kind {
            RelocKind::FieldOffset(path)
            | RelocKind::FieldExists(path)
            | RelocKind::FieldSize(path) => self.add_path(path),
            RelocKind::TypeSize(name) | RelocKind::TypeId(name) => {
                self.add_struct(known_struct(name)?);
                Ok(())
            }
            RelocKind::EnumValue(name, value) => {
                let values = self.enums.entry(name).or_default();
                if !values.contains(value) {
                    values.push(value);
                }
                Ok(())
            }
            RelocKind::Kfunc(name) => {
                let kfunc = known_kfunc(name)?;
                self.kfuncs.insert(kfunc.name);
                for kind in kfunc.result.iter().chain(kfunc.args.iter().map(|(_, kind)| kind)) {
                    self.add_pointee(*kind);
                }
                Ok(())
            }
            RelocKind::Map(_)
            | RelocKind::Data { .. }
            | RelocKind::Subprog(_)
            | RelocKind::SubprogAddress(_) => Ok(()),
        }
    }

    fn add_path(&mut self, path: &FieldPath) -> Result<(), ObjectError> {
        let mut kind = Kind::Struct(known_struct(path.root)?.name);
        for &name in &path.path {
            if let Kind::Struct(layout) = kind {
                let known = kernel_types::kernel_struct(layout)
                    .and_then(|layout| layout.members.iter().find(|member| member.0 == name))
                    .ok_or_else(|| unknown_field(path))?;
                self.members.entry(layout).or_default().insert(known.0);
            }
            let step = FieldPath { root: path.root, path: vec![name] };
            kind = match kind {
                Kind::Struct(root) => kernel_types::member(&FieldPath { root, ..step })
                    .ok_or_else(|| unknown_field(path))?,
                Kind::Array(element, count) => {
                    name.parse()
                        .ok()
                        .filter(|&index: &u32| index < count)
                        .ok_or_else(|| unknown_field(path))?;
                    *element
                }
                Kind::Unsigned(_)
                | Kind::Signed(_)
                | Kind::Bool
                | Kind::Pointer(_)
                | Kind::Memory
                | Kind::IntPointer
                | Kind::Callback
                | Kind::TaskCallback
                | Kind::Enum(_) => return Err(unknown_field(path)),
            };
            self.add_pointee(kind);
        }
        Ok(())
    }

    fn add_struct(&mut self, layout: &KernelStruct) {
        self.members.entry(layout.name).or_default();
    }

    /// Structs that are contained or pointed to are defined as well, if only by name: CO-RE
    /// compares the kinds of what functions' arguments point to.
    fn add_pointee(&mut self, kind: Kind) {
        let name = match kind {
            Kind::Pointer(name) => Some(name),
            Kind::TaskCallback => Some("bpf_map"),
            Kind::Struct(_) | Kind::Array(..) => contained(kind),
            Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Bool
            | Kind::Memory
            | Kind::IntPointer
            | Kind::Callback
            | Kind::Enum(_) => None,
        };
        if let Some(layout) = name.and_then(kernel_types::kernel_struct) {
            self.add_struct(layout);
        }
    }
}

/// The struct that a value of `kind` contains.
pub(super) fn contained(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Struct(name) => Some(name),
        Kind::Array(element, _) => contained(*element),
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

fn known_struct(name: &str) -> Result<&'static KernelStruct, ObjectError> {
    kernel_types::kernel_struct(name).ok_or_else(|| unknown_type(name))
}

pub(super) fn known_kfunc(name: &str) -> Result<&'static Kfunc, ObjectError> {
    kernel_types::kfunc(name)
        .ok_or_else(|| ObjectErrorKind::UnknownKfunc { name: name.to_owned() }.into())
}

pub(super) fn unknown_type(name: &str) -> ObjectError {
    ObjectErrorKind::UnknownKernelField { path: name.to_owned() }.into()
}

pub(super) fn unknown_field(path: &FieldPath) -> ObjectError {
    let path = format!("{}.{}", path.root, path.path.join("."));
    ObjectErrorKind::UnknownKernelField { path }.into()
}
