//! What is written to the module's device to load a filter.

use super::super::Request;
use crate::error::LoadError;
use kernel_vm::module::{
    HEADER_BYTES, Header, INSNS_MAX, MAGIC, REGION_BYTES_MAX, RowPlace, VERSION, has, table_number,
};
use kernel_vm::schema::{ColumnId, SCHEMA_VERSION, Table, column_by_id};

/// The filter as [`kernel_vm::module`] describes it.
///
/// # Errors
/// Names the table or the column that the module does not have, or says what is too large.
pub fn image(request: &Request<'_>) -> Result<Vec<u8>, LoadError> {
    let meta = request.filter;
    let lacks = |what: String| LoadError::Missing {
        what,
        why: "the kernel module does not have it".to_owned(),
        way_out: "run the filter with --host bpf or --host vm".to_owned(),
    };
    let numbered =
        Table::from_name(&meta.table).and_then(|table| Some((table, table_number(table)?)));
    let (table, number) = numbered.ok_or_else(|| lacks(format!("table `{}`", meta.table)))?;
    let mut places = Vec::new();
    for column in &meta.vm.columns {
        let known = column_by_id(ColumnId(column.id)).is_some_and(|known| has(table, known));
        if !known {
            return Err(lacks(format!("column `{}` of `{}`", column.name, meta.table)));
        }
        places.push(RowPlace { column: column.id.into(), offset: column.offset });
    }
    let program = request.object.vm_program(meta);
    let params = request.block();
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        schema: SCHEMA_VERSION,
        table: number,
        columns: count(places.len()),
        row_size: meta.vm.row_size,
        state_size: meta.state_size,
        params_size: count(params.len()),
        record_size: meta.group.as_ref().map_or(meta.record.size, |group| group.size),
        insns: count(program.len() / 8),
    };
    let regions = [header.row_size, header.state_size, header.params_size, header.record_size];
    if header.insns > INSNS_MAX || regions.iter().any(|&bytes| bytes > REGION_BYTES_MAX) {
        let reason = "its program, row, state, record or parameters are too large".to_owned();
        return Err(LoadError::Module { filter: meta.name.clone(), reason });
    }
    Ok(written(&header, &places, params, program))
}

fn written(header: &Header, places: &[RowPlace], params: &[u8], program: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 8 * places.len() + program.len());
    let words = [
        header.magic,
        header.version,
        header.schema,
        header.table,
        header.columns,
        header.row_size,
        header.state_size,
        header.params_size,
        header.record_size,
        header.insns,
    ];
    words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    for place in places {
        bytes.extend_from_slice(&place.column.to_le_bytes());
        bytes.extend_from_slice(&place.offset.to_le_bytes());
    }
    bytes.extend_from_slice(params);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(program);
    bytes
}
