//! The metadata in `.kfilter.meta`, checked against the object that it describes.
//!
//! **Invariant**: after [`parse`], each block, symbol, map and layout that the metadata name
//! exists in the object.

use super::error::{ObjectError, ObjectErrorKind};
use super::sections::File;
use super::{Object, map_type};
use kernel_vm::abi::{ROW_COLUMNS_MAX, ROW_HEADER_BYTES, SWEEP_STATS_BYTES};
use kernel_vm::object::{Block, FORMAT, FilterMeta, META_SECTION, ObjectMeta, RowColumn};
use kernel_vm::schema::{ColumnId, SCHEMA_VERSION, SYSTEM_BLOCK_BYTES, Table, Type, column_by_id};

/// Most filters of one object.
const FILTERS_MAX: usize = 256;

pub(super) fn parse(file: &File<'_>, object: &Object) -> Result<Option<ObjectMeta>, ObjectError> {
    let Some(bytes) = file.bytes_of(META_SECTION)? else { return Ok(None) };
    let meta: ObjectMeta = serde_json::from_slice(bytes)
        .map_err(|error| malformed(format!("no metadata: {error}")))?;
    if meta.format != FORMAT || meta.schema != SCHEMA_VERSION {
        let what = format!(
            "metadata of format {} and schema {}, written by compiler {} (this loader reads \
             format {FORMAT} and schema {SCHEMA_VERSION}),",
            meta.format, meta.schema, meta.compiler
        );
        return Err(ObjectError::new(META_SECTION, 0, ObjectErrorKind::Unsupported { what }));
    }
    if meta.filters.len() > FILTERS_MAX {
        let kind = ObjectErrorKind::TooMany {
            what: "filters",
            count: meta.filters.len() as u64,
            limit: FILTERS_MAX as u64,
        };
        return Err(ObjectError::new(META_SECTION, 0, kind));
    }
    for filter in &meta.filters {
        check(filter, object)
            .map_err(|what| malformed(format!("filter `{}`: {what}", filter.name)))?;
    }
    Ok(Some(meta))
}

fn malformed(what: String) -> ObjectError {
    ObjectError::malformed(META_SECTION, 0, what)
}

fn check(filter: &FilterMeta, object: &Object) -> Result<(), String> {
    let data_len = |name| object.data_section(name).map_or(0, |data| data.bytes.len());
    within(filter.rodata, data_len(".rodata"), ".rodata")?;
    within(filter.stats, data_len(".bss"), ".bss")?;
    within(filter.vm.program, object.vm.len(), "the vm section")?;
    if (filter.rodata.size as usize) < SYSTEM_BLOCK_BYTES {
        return Err("its block of .rodata has no system values".into());
    }
    if (filter.stats.size as usize) < SWEEP_STATS_BYTES {
        return Err("its block of .bss has no statistics".into());
    }
    if Table::from_name(&filter.table).is_none() {
        return Err(format!("unknown table `{}`", filter.table));
    }
    crate::record::check_layout(&filter.record)?;
    if let Some(top) = filter.top.filter(|top| top.field as usize >= filter.record.fields.len()) {
        return Err(format!("top by field {}, which does not exist", top.field));
    }
    for param in &filter.params {
        let copies = if matches!(param.ty.0, Type::Text { .. }) { 2 } else { 1 };
        let wanted = param.ty.0.size() * copies;
        let block = Block { offset: param.offset, size: param.size };
        within(block, filter.rodata.size as usize, "the parameters")?;
        if param.size as usize != wanted || (param.offset as usize) < SYSTEM_BLOCK_BYTES {
            return Err(format!("parameter `{}` at {block:?}", param.name));
        }
    }
    check_bpf(filter, object)?;
    check_row(filter)
}

fn within(block: Block, len: usize, of: &str) -> Result<(), String> {
    let end = u64::from(block.offset) + u64::from(block.size);
    if end > len as u64 {
        return Err(format!("{}..{end} lies outside of {of} ({len} bytes)", block.offset));
    }
    Ok(())
}

fn check_bpf(filter: &FilterMeta, object: &Object) -> Result<(), String> {
    let bpf = &filter.bpf;
    if object.function(&bpf.sweep).is_none() {
        return Err(format!("no program `{}`", bpf.sweep));
    }
    let map_type_of = |name: &str| object.maps.iter().find(|map| map.name == name).map(|m| m.ty);
    if map_type_of(&bpf.records) != Some(map_type::RINGBUF) {
        return Err(format!("no ring buffer `{}`", bpf.records));
    }
    if let Some(reader) = &bpf.reader {
        if object.function(&reader.program).is_none() {
            return Err(format!("no program `{}`", reader.program));
        }
        if let Some(name) = reader.classic.as_ref().filter(|name| object.function(name).is_none()) {
            return Err(format!("no program `{name}`"));
        }
        let rodata = object.data_section(".rodata").map_or(0, |data| data.bytes.len());
        within(reader.as_lines, rodata, ".rodata")?;
        if reader.as_lines.size != 8 {
            return Err("its switch between records and lines is no number".into());
        }
    }
    for pass in &bpf.classic {
        if object.function(&pass.program).is_none() {
            return Err(format!("no program `{}`", pass.program));
        }
        if let Some(offset) = pass.needed {
            let bss = object.data_section(".bss").map_or(0, |data| data.bytes.len());
            within(Block { offset, size: 8 }, bss, ".bss")?;
            if offset % 8 != 0 {
                return Err(format!("whether `{}` is needed is no number", pass.program));
            }
        }
    }
    match &bpf.state {
        Some(state) if map_type_of(state).is_none() => Err(format!("no map `{state}`")),
        Some(_) | None => Ok(()),
    }
}

fn check_row(filter: &FilterMeta) -> Result<(), String> {
    let row = &filter.vm;
    if row.columns.len() > ROW_COLUMNS_MAX {
        return Err(format!("{} columns", row.columns.len()));
    }
    for RowColumn { id, name, offset } in &row.columns {
        let column = column_by_id(ColumnId(*id))
            .filter(|column| column.name == name)
            .ok_or_else(|| format!("unknown column `{name}` ({id})"))?;
        let start = *offset as usize;
        let end = start.saturating_add(column.ty.size());
        if start < ROW_HEADER_BYTES || end > row.row_size as usize || row.row_size > 1 << 16 {
            return Err(format!("column `{name}` at {start}..{end} of {}", row.row_size));
        }
    }
    Ok(())
}
