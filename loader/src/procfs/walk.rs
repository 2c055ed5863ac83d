//! The rows of a table, laid out as a filter's program expects them.

use super::Procfs;
use super::columns::{self, Cell, Row};
use super::files::open_files;
use super::task::{Source, Sources, Task, numbers, read};
use crate::waits::{self, Waits};
use kernel_vm::abi::{ROW_COLUMNS_MAX, ROW_HEADER_BYTES, ROW_MISSING_OFFSET, ROW_NOW_OFFSET};
use kernel_vm::object::VmMeta;
use kernel_vm::schema::{Column, ColumnId, Since, Table, Type, column_by_id, columns_of};
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
        for listed in &meta.columns {
            let column = column_by_id(ColumnId(listed.id))?;
            let offset = usize::try_from(listed.offset).ok()?;
            let end = offset.checked_add(column.ty.size())?;
            if !column.tables.contains(table) || offset < ROW_HEADER_BYTES || end > size {
                return None;
            }
            columns.push((column, offset));
        }
        (columns.len() <= ROW_COLUMNS_MAX).then(|| Self::of(table, columns, size))
    }

    /// Every column of a table that /proc has, one after another.
    #[must_use]
    pub fn whole(table: Table) -> Self {
        let mut size = ROW_HEADER_BYTES;
        let mut columns = Vec::new();
        for column in columns_of(table).filter(|column| column.procfs != Since::Never) {
            columns.push((column, size));
            size += column.ty.size();
        }
        Self::of(table, columns, size)
    }

    fn of(table: Table, columns: Vec<(&'static Column, usize)>, size: usize) -> Self {
        let mut sources = Sources::default();
        for (column, _) in &columns {
            let is_thread = table == Table::Thread;
            columns::sources(column.name, is_thread).iter().for_each(|&each| sources.insert(each));
        }
        if table == Table::Mapping {
            sources.insert(Source::Maps);
        }
        let wants_resident = columns.iter().any(|(column, _)| column.name == "resident");
        Self { size, table, columns, sources, wants_resident }
    }

    /// The table whose rows these are.
    #[must_use]
    pub fn table(&self) -> Table {
        self.table
    }

    /// The columns, in the order of their bits.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = &'static Column> {
        self.columns.iter().map(|(column, _)| *column)
    }

    /// A column's type, and where its value stands in a row.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<(Type, usize)> {
        let found = self.columns.iter().find(|(column, _)| column.name == name);
        found.map(|(column, offset)| (column.ty, *offset))
    }

    /// Bytes of a row.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes a row's bytes; `read` gives the value of each column.
    pub(crate) fn fill<'c>(
        &self,
        now_ns: i64,
        read: impl Fn(&'static Column) -> Option<Cell<'c>>,
        bytes: &mut [u8],
    ) {
        bytes.fill(0);
        let mut missing = 0_u64;
        for (index, (column, offset)) in self.columns.iter().enumerate() {
            let Some(place) = bytes.get_mut(*offset..offset + column.ty.size()) else { continue };
            match read(column) {
                Some(Cell::Int(value)) if place.len() == 8 => {
                    place.copy_from_slice(&value.to_le_bytes());
                }
                Some(Cell::Text(text)) if matches!(column.ty, Type::Text { .. }) => {
                    // The last byte stays zero, as in the kernel's own copies.
                    let length = text.len().min(place.len().saturating_sub(1));
                    place[..length].copy_from_slice(&text[..length]);
                }
                Some(Cell::Object(device, inode)) if place.len() == 16 => {
                    place[..8].copy_from_slice(&device.to_le_bytes());
                    place[8..].copy_from_slice(&inode.to_le_bytes());
                }
                // A value of another type than the column's can only come from a recording.
                Some(Cell::Int(_) | Cell::Text(_) | Cell::Object(..)) | None => {
                    missing |= 1_u64.checked_shl(u32::try_from(index).unwrap_or(64)).unwrap_or(0);
                }
            }
        }
        bytes[ROW_NOW_OFFSET..ROW_NOW_OFFSET + 8].copy_from_slice(&now_ns.to_le_bytes());
        bytes[ROW_MISSING_OFFSET..ROW_MISSING_OFFSET + 8].copy_from_slice(&missing.to_le_bytes());
    }
}

/// Who a row is, from its sources.
fn key(row: &Row<'_>) -> RowKey {
    let id = if row.task.is_thread { row.task.tid } else { row.task.pid };
    (i64::from(id), row.task.start_ns().unwrap_or(0))
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
        let mut bytes = vec![0; layout.size];
        self.visit(layout, now_ns, &mut |row: &Row<'_>| {
            layout.fill(now_ns, |column| columns::read(column.name, row), &mut bytes);
            each(key(row), &bytes);
        })
    }

    /// As [`Procfs::walk`], but shows the values themselves, in the layout's order.
    ///
    /// # Errors
    /// As [`Procfs::walk`].
    pub fn walk_cells(
        &mut self,
        layout: &Layout,
        now_ns: i64,
        mut each: impl FnMut(RowKey, &[Option<Cell<'_>>]),
    ) -> std::io::Result<u64> {
        self.visit(layout, now_ns, &mut |row: &Row<'_>| {
            let cells: Vec<_> =
                layout.columns().map(|column| columns::read(column.name, row)).collect();
            each(key(row), &cells);
        })
    }

    fn visit(
        &mut self,
        layout: &Layout,
        now_ns: i64,
        each: &mut impl FnMut(&Row<'_>),
    ) -> std::io::Result<u64> {
        self.begin_sweep();
        let mut walk = Walk { layout, now_ns, buffer: Vec::new(), unreadable: 0 };
        let mut pids: Vec<i32> = std::fs::read_dir(&self.root)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        let waits = layout.sources.contains(Source::Waits).then(|| waits::look(&self.root, &pids));
        for pid in pids {
            match layout.table {
                Table::Process => walk.task(self, (pid, None), None, each),
                Table::Thread => {
                    let mut tids = numbers(&self.process(pid).join("task")).unwrap_or_default();
                    tids.sort_unstable();
                    for tid in tids {
                        walk.task(self, (pid, Some(tid)), waits.as_ref(), each);
                    }
                }
                Table::File => walk.files(self, pid, each),
                Table::Mapping => walk.mappings(self, pid, each),
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
        each: &mut impl FnMut(&Row<'_>),
    ) {
        let Some(task) = self.read(procfs, who) else { return };
        let wait = waits.and_then(|waits| waits.of(task.tid));
        let row = Row { task: &task, file: None, mapping: None, wait: wait.as_ref() };
        each(&row);
    }

    fn files(&mut self, procfs: &mut Procfs, pid: i32, each: &mut impl FnMut(&Row<'_>)) {
        let Some(task) = self.read(procfs, (pid, None)) else { return };
        let directory = procfs.process(pid);
        let Some(files) = open_files(&directory, &mut self.buffer) else {
            self.unreadable = self.unreadable.saturating_add(1);
            return;
        };
        for file in &files {
            each(&Row { task: &task, file: Some(file), mapping: None, wait: None });
        }
    }

    fn mappings(&mut self, procfs: &mut Procfs, pid: i32, each: &mut impl FnMut(&Row<'_>)) {
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
            each(&Row { task: &task, file: None, mapping: Some(mapping), wait: None });
        }
    }
}
