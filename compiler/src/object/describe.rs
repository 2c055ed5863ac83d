//! BTF of what the object itself lays out: programs, maps, parameters, statistics, records.
//!
//! Map definitions follow libbpf's convention: a struct in `.maps` whose members point to
//! arrays as long as the number that they mean.

use kernel_vm::abi::SWEEP_STATS_BYTES;
use kernel_vm::object::{Block, FilterMeta};
use kernel_vm::schema::{SystemValue, Type};

use super::btf::{BtfMember, Encoding, Linkage, SectionVar, TypeId, VOID, size_u32};
use super::kernel::Types;
use super::{
    DataType, Map, Member, Module, ObjectError, ObjectErrorKind, ProgramSection, Scratch,
    StructType,
};

/// What the other parts of the writer need to know of the description.
#[derive(Debug)]
pub(super) struct Described {
    /// The BTF functions of the programs, in their order.
    pub(super) programs: Vec<TypeId>,
    /// The BTF functions of the subprograms, in their order.
    pub(super) subprograms: Vec<TypeId>,
    /// Symbols in `.maps`.
    pub(super) maps: Vec<Symbol>,
    /// Symbols in `.rodata`.
    pub(super) rodata: Vec<Symbol>,
    /// Symbols in `.bss`.
    pub(super) bss: Vec<Symbol>,
    /// Bytes of `.bss`.
    pub(super) bss_bytes: u32,
}

/// A variable's symbol.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    pub(super) name: String,
    pub(super) offset: u32,
    pub(super) size: u32,
}

/// Describes `module` and its filters.
pub(super) fn describe(module: &Module, types: &mut Types) -> Result<Described, ObjectError> {
    let int = types.btf.int("int", 4, Encoding::Signed);
    let long = types.btf.int("unsigned long long", 8, Encoding::Unsigned);
    let programs = module
        .programs
        .iter()
        .map(|program| {
            let ctx = match program.section {
                ProgramSection::Syscall => types.btf.pointer(VOID),
                ProgramSection::IterTask | ProgramSection::IterTaskSleepable => {
                    types.pointer_to("bpf_iter__task")
                }
                ProgramSection::IterTaskFile => types.pointer_to("bpf_iter__task_file"),
                ProgramSection::IterTaskVma => types.pointer_to("bpf_iter__task_vma"),
            };
            let prototype = types.btf.prototype(int, &[("ctx", ctx)]);
            types.btf.function(&program.name, prototype, Linkage::Global)
        })
        .collect();
    let subprograms = module
        .subprograms
        .iter()
        .map(|subprogram| {
            let global = module.global.iter().find(|(name, _)| *name == subprogram.name);
            if let Some(&(_, args)) = global {
                let names = ["a", "b", "c", "d", "e"];
                let args: Vec<_> = names.into_iter().take(args.into()).map(|a| (a, long)).collect();
                let prototype = types.btf.prototype(long, &args);
                return types.btf.function(&subprogram.name, prototype, Linkage::Global);
            }
            // The kernel verifies static functions where they are called, with what is
            // passed there, and reads no arguments from a prototype.
            let prototype = types.btf.prototype(long, &[]);
            types.btf.function(&subprogram.name, prototype, Linkage::Static)
        })
        .collect();
    let maps = maps(module, types)?;
    let rodata = rodata(module, types);
    let (bss, bss_bytes) = bss(module, types);
    for filter in &module.meta.filters {
        data_type(types, &DataType::Struct(record_type(filter)));
    }
    ksyms(types);
    license(types);
    Ok(Described { programs, subprograms, maps, rodata, bss, bss_bytes })
}

fn maps(module: &Module, types: &mut Types) -> Result<Vec<Symbol>, ObjectError> {
    let (mut symbols, mut vars, mut end) = (Vec::new(), Vec::new(), 0u32);
    for map in &module.maps {
        let (ty, size) = map_definition(map, types)?;
        let ty = types.btf.variable(&map.name, ty, Linkage::Global);
        vars.push(SectionVar { ty, offset: end, size });
        symbols.push(Symbol { name: map.name.clone(), offset: end, size });
        end += size;
    }
    if !vars.is_empty() {
        types.btf.data_section(".maps", end, &vars);
    }
    Ok(symbols)
}

/// `struct { int (*type)[1]; key *key; … }` and its size.
fn map_definition(map: &Map, types: &mut Types) -> Result<(TypeId, u32), ObjectError> {
    let mut members = Vec::new();
    let mut push = |name: &str, ty: TypeId| {
        let offset = size_u32(members.len()) * 8;
        members.push(BtfMember { name: name.to_owned(), ty, offset });
    };
    push("type", number(types, map.kind as u32)?);
    if map.max_entries != 0 {
        push("max_entries", number(types, map.max_entries)?);
    }
    if map.flags != 0 {
        push("map_flags", number(types, map.flags)?);
    }
    for (name, ty) in [("key", &map.key), ("value", &map.value)] {
        if let Some(ty) = ty {
            let target = data_type(types, ty);
            push(name, types.btf.pointer(target));
        }
    }
    let size = size_u32(members.len()) * 8;
    Ok((types.btf.structure("", size, &members), size))
}

/// `int (*)[value]`.
fn number(types: &mut Types, value: u32) -> Result<TypeId, ObjectError> {
    if value > i32::MAX.cast_unsigned() {
        return Err(ObjectErrorKind::TooLarge { what: "a map's attribute" }.into());
    }
    let int = types.btf.int("int", 4, Encoding::Signed);
    let array = types.btf.array(int, value);
    Ok(types.btf.pointer(array))
}

fn rodata(module: &Module, types: &mut Types) -> Vec<Symbol> {
    let mut blocks: Vec<(Symbol, DataType)> = module
        .meta
        .filters
        .iter()
        .map(|filter| (symbol(&filter.name, "params", filter.rodata), params_type(filter)))
        .collect();
    blocks.extend(module.constants.iter().map(variable));
    section(types, ".rodata", size_u32(module.rodata.len()), &mut blocks)
}

fn bss(module: &Module, types: &mut Types) -> (Vec<Symbol>, u32) {
    let mut blocks: Vec<(Symbol, DataType)> = module
        .meta
        .filters
        .iter()
        .map(|filter| (symbol(&filter.name, "stats", filter.stats), stats_type(filter.stats.size)))
        .collect();
    blocks.extend(module.scratch.iter().map(variable));
    let end = blocks.iter().map(|(symbol, _)| symbol.offset.saturating_add(symbol.size)).max();
    let end = end.unwrap_or(0).next_multiple_of(8);
    (section(types, ".bss", end, &mut blocks), end)
}

fn variable(scratch: &Scratch) -> (Symbol, DataType) {
    let (name, size) = (scratch.name.clone(), scratch.ty.size());
    (Symbol { name, offset: scratch.offset, size }, scratch.ty.clone())
}

/// Describes a section's variables and gives their symbols, by ascending offset.
fn section(
    types: &mut Types,
    name: &str,
    size: u32,
    blocks: &mut Vec<(Symbol, DataType)>,
) -> Vec<Symbol> {
    blocks.sort_by_key(|(symbol, _)| symbol.offset);
    let vars: Vec<SectionVar> = blocks
        .iter()
        .map(|(symbol, ty)| {
            let ty = data_type(types, ty);
            let ty = types.btf.variable(&symbol.name, ty, Linkage::Global);
            SectionVar { ty, offset: symbol.offset, size: symbol.size }
        })
        .collect();
    if !vars.is_empty() {
        types.btf.data_section(name, size, &vars);
    }
    blocks.drain(..).map(|(symbol, _)| symbol).collect()
}

/// Kernel functions are described as members of a section that the file does not have.
fn ksyms(types: &mut Types) {
    let vars: Vec<SectionVar> =
        types.kfuncs.values().map(|&ty| SectionVar { ty, offset: 0, size: 0 }).collect();
    if !vars.is_empty() {
        types.btf.data_section(".ksyms", 0, &vars);
    }
}

fn license(types: &mut Types) {
    let size = size_u32(super::LICENSE.len()) + 1;
    let text = data_type(types, &DataType::Text(size));
    let ty = types.btf.variable("LICENSE", text, Linkage::Global);
    types.btf.data_section("license", size, &[SectionVar { ty, offset: 0, size }]);
}

fn symbol(filter: &str, suffix: &str, block: Block) -> Symbol {
    Symbol { name: format!("{filter}_{suffix}"), offset: block.offset, size: block.size }
}

/// A filter's block of `.rodata`.
fn params_type(filter: &FilterMeta) -> DataType {
    let mut members: Vec<Member> = SystemValue::ALL
        .into_iter()
        .map(|value| Member {
            name: value.name().to_owned(),
            offset: size_u32(value.offset()),
            ty: DataType::I64,
        })
        .collect();
    for param in &filter.params {
        let name = param.name.clone();
        if let Type::Text { .. } = param.ty.0 {
            let (half, mask) = (param.size / 2, format!("{name}_mask"));
            members.push(Member { name, offset: param.offset, ty: DataType::Text(half) });
            let offset = param.offset + half;
            members.push(Member { name: mask, offset, ty: DataType::Text(half) });
        } else {
            members.push(Member { name, offset: param.offset, ty: field_type(param.ty.0) });
        }
    }
    let size = filter.rodata.size;
    DataType::Struct(StructType { name: format!("{}_params", filter.name), size, members })
}

/// [`kernel_vm::abi::SweepStats`].
fn stats_type(size: u32) -> DataType {
    const NAMES: [&str; SWEEP_STATS_BYTES / 8] = [
        "sweeps",
        "visited",
        "matched",
        "unreadable",
        "warming",
        "dropped",
        "started_ns",
        "took_ns",
        "busy",
    ];
    let members = NAMES
        .iter()
        .zip((0..).step_by(8))
        .map(|(&name, offset)| Member { name: name.to_owned(), offset, ty: DataType::U64 })
        .collect();
    DataType::Struct(StructType { name: "sweep_stats".to_owned(), size, members })
}

/// A filter's record as it crosses the kernel's boundary.
fn record_type(filter: &FilterMeta) -> StructType {
    let mut members = vec![Member { name: "missing".to_owned(), offset: 0, ty: DataType::U64 }];
    members.extend(filter.record.fields.iter().map(|field| Member {
        name: field.name.clone(),
        offset: field.offset,
        ty: field_type(field.ty.0),
    }));
    StructType { name: format!("{}_record", filter.name), size: filter.record.size, members }
}

fn field_type(ty: Type) -> DataType {
    match ty {
        Type::Text { capacity } => DataType::Text(capacity.into()),
        Type::Object => DataType::words(2),
        Type::Int(_) | Type::PerSecond(_) | Type::Bool | Type::Enum(_) | Type::Thread => {
            DataType::I64
        }
    }
}

fn data_type(types: &mut Types, ty: &DataType) -> TypeId {
    match ty {
        DataType::U32 => types.btf.int("unsigned int", 4, Encoding::Unsigned),
        DataType::I32 => types.btf.int("int", 4, Encoding::Signed),
        DataType::U64 => types.btf.int("unsigned long long", 8, Encoding::Unsigned),
        DataType::I64 => types.btf.int("long long", 8, Encoding::Signed),
        DataType::Text(bytes) => {
            let byte = types.btf.int("char", 1, Encoding::Signed);
            types.btf.array(byte, *bytes)
        }
        DataType::Array(element, count) => {
            let element = data_type(types, element);
            types.btf.array(element, *count)
        }
        DataType::Kernel(name, _) => types.defined(name),
        DataType::Struct(layout) => {
            let members: Vec<BtfMember> = layout
                .members
                .iter()
                .map(|member| BtfMember {
                    name: member.name.replace('.', "_"),
                    ty: data_type(types, &member.ty),
                    offset: member.offset,
                })
                .collect();
            types.btf.structure(&layout.name, layout.size, &members)
        }
    }
}
