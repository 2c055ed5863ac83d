//! The rows of a table, laid out as a filter's program expects them.

use super::Procfs;
use super::columns::{self, Cell, Row};
use super::files::open_files;
use super::task::{Source, Sources, Task, numbers, read};
use crate::waits::{self, Waits};
use kernel_vm::abi::{ROW_MISSING_OFFSET, ROW_NOW_OFFSET};
use kernel_vm::object::VmMeta;
use kernel_vm::schema::{Column, ColumnId, Table, column_by_id};
use std::path::PathBuf;

/// Who a row is: its id and when it started. A later row with the same id is another.
pub type RowKey = (i64, i64);

/// A filter's rows: which columns, where.
#[derive(Debug)]
pub struct Layout {
    size: usize,
    table: Table,
    columns: Vec<(&'static Column, usize)>,
    sources: Sources,
    wants_resident: bool,
}

impl Layout {
    /// The layout that an object asks for; `None` when it does not fit this schema.
    #[must_use]
    pub fn new(table: Table, meta: &VmMeta) -> Option<Self> {
        let size = usize::try_from(meta.row_size).ok()?;
        let mut columns = Vec::new();
        let mut sources = Sources::default();
        for listed in &meta.columns {
            let column = column_by_id(ColumnId(listed.id))?;
            let offset = usize::try_from(listed.offset).ok()?;
            let end = offset.checked_add(column.ty.size())?;
            if !column.tables.contains(table) || offset < 16 || end > size {
                return None;
            }
            let is_thread = table == Table::Thread;
            columns::sources(column.name, is_thread).iter().for_each(|&each| sources.insert(each));
            columns.push((column, offset));
        }
        if table == Table::Mapping {
            sources.insert(Source::Maps);
        }
        let wants_resident = columns.iter().any(|(column, _)| column.name == "resident");
        Some(Self { size, table, columns, sources, wants_resident })
    }

    /// Bytes of a row.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes a row's bytes.
    fn fill(&self, now_ns: i64, row: &Row<'_>, bytes: &mut [u8]) {
        bytes.fill(0);
        let mut missing = 0_u64;
        for (index, (column, offset)) in self.columns.iter().enumerate() {
            let Some(place) = bytes.get_mut(*offset..offset + column.ty.size()) else { continue };
            match columns::read(column.name, row) {
                Some(Cell::Int(value)) => place.copy_from_slice(&value.to_le_bytes()),
                Some(Cell::Text(text)) => {
                    // The last byte stays zero, as in the kernel's own copies.
                    let length = text.len().min(place.len() - 1);
                    place[..length].copy_from_slice(&text[..length]);
                }
                Some(Cell::Object(device, inode)) => {
                    place[..8].copy_from_slice(&device.to_le_bytes());
                    place[8..].copy_from_slice(&inode.to_le_bytes());
                }
                None => missing |= 1 << index,
            }
        }
        bytes[ROW_NOW_OFFSET..ROW_NOW_OFFSET + 8].copy_from_slice(&now_ns.to_le_bytes());
        bytes[ROW_MISSING_OFFSET..ROW_MISSING_OFFSET + 8].copy_from_slice(&missing.to_le_bytes());
    }
}

impl Procfs {
    /// Shows every row of the layout's table to `each`, with who it is.
    ///
    /// Returns for how many processes the rows could not be read at all.
    ///
    /// # Errors
    /// When the file system itself cannot be read.
    pub fn walk(
        &mut self,
        layout: &Layout,
        now_ns: i64,
        mut each: impl FnMut(RowKey, &[u8]),
    ) -> std::io::Result<u64> {
        self.begin_sweep();
        let mut walk =
            Walk { layout, now_ns, bytes: vec![0; layout.size], buffer: Vec::new(), unreadable: 0 };
        let mut pids: Vec<i32> = std::fs::read_dir(&self.root)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        let waits = layout.sources.contains(Source::Waits).then(|| waits::look(&self.root, &pids));
        for pid in pids {
            match layout.table {
                Table::Process => walk.task(self, (pid, None), None, &mut each),
                Table::Thread => {
                    let mut tids = numbers(&self.process(pid).join("task")).unwrap_or_default();
                    tids.sort_unstable();
                    for tid in tids {
                        walk.task(self, (pid, Some(tid)), waits.as_ref(), &mut each);
                    }
                }
                Table::File => walk.files(self, pid, &mut each),
                Table::Mapping => walk.mappings(self, pid, &mut each),
            }
        }
        Ok(walk.unreadable)
    }

    fn process(&self, pid: i32) -> PathBuf {
        self.root.join(pid.to_string())
    }
}

struct Walk<'l> {
    layout: &'l Layout,
    now_ns: i64,
    bytes: Vec<u8>,
    buffer: Vec<u8>,
    unreadable: u64,
}

impl Walk<'_> {
    fn read(&mut self, procfs: &mut Procfs, who: (i32, Option<i32>)) -> Option<Task> {
        Task::read(procfs, who, self.layout.sources, self.now_ns, &mut self.buffer)
    }

    fn task(
        &mut self,
        procfs: &mut Procfs,
        who: (i32, Option<i32>),
        waits: Option<&Waits>,
        each: &mut impl FnMut(RowKey, &[u8]),
    ) {
        let Some(task) = self.read(procfs, who) else { return };
        let wait = waits.and_then(|waits| waits.of(task.tid));
        let row = Row { task: &task, file: None, mapping: None, wait: wait.as_ref() };
        self.show(&row, each);
    }

    fn files(&mut self, procfs: &mut Procfs, pid: i32, each: &mut impl FnMut(RowKey, &[u8])) {
        let Some(task) = self.read(procfs, (pid, None)) else { return };
        let directory = procfs.process(pid);
        let Some(files) = open_files(&directory, &mut self.buffer) else {
            self.unreadable = self.unreadable.saturating_add(1);
            return;
        };
        for file in &files {
            self.show(&Row { task: &task, file: Some(file), mapping: None, wait: None }, each);
        }
    }

    fn mappings(&mut self, procfs: &mut Procfs, pid: i32, each: &mut impl FnMut(RowKey, &[u8])) {
        let Some(mut task) = self.read(procfs, (pid, None)) else { return };
        let Some(mut maps) = task.maps.take() else {
            self.unreadable = self.unreadable.saturating_add(1);
            return;
        };
        if self.layout.wants_resident
            && let Some(smaps) = read(&procfs.process(pid).join("smaps"), &mut self.buffer)
        {
            maps.add_resident(smaps);
        }
        for mapping in &maps.list {
            self.show(&Row { task: &task, file: None, mapping: Some(mapping), wait: None }, each);
        }
    }

    fn show(&mut self, row: &Row<'_>, each: &mut impl FnMut(RowKey, &[u8])) {
        let id = if row.task.is_thread { row.task.tid } else { row.task.pid };
        let start = row.task.start_ns().unwrap_or(0);
        self.layout.fill(self.now_ns, row, &mut self.bytes);
        each((i64::from(id), start), &self.bytes);
    }
}
