//! `group by`: groups of one become groups, and groups become rows of the `finish` program.
//!
//! The layout of a group is that of [`GroupMeta`]: time, `missing` bitmap, key, cells.
//!
//! **Invariant**: memory is bounded by the object's own limit; whatever finds no room is
//! counted, never left out silently.

use kernel_vm::abi::{ROW_HEADER_BYTES, ROW_MISSING_OFFSET};
use kernel_vm::object::{CellMeta, GROUPS_MAX, GroupMeta, Merge};
use std::collections::{HashMap, HashSet};

/// The groups of one sweep.
#[derive(Debug)]
pub(super) struct Groups<'m> {
    meta: &'m GroupMeta,
    /// In the order in which their keys were first seen.
    groups: Vec<Vec<u8>>,
    by_key: HashMap<Vec<u8>, usize>,
    /// For each cell, which values each group has: `count distinct`.
    distinct: Vec<HashSet<(usize, Vec<u8>)>>,
    dropped: u64,
}

/// Whether a group's layout holds together.
///
/// # Errors
/// Says what does not.
pub(super) fn check(meta: &GroupMeta) -> Result<(), String> {
    let ends_after =
        |offset: u32, size: u32| offset.checked_add(size).is_none_or(|end| end > meta.size);
    let header = u32::try_from(ROW_HEADER_BYTES).unwrap_or(u32::MAX);
    if ends_after(header, meta.key_size) {
        return Err("the key of a group is longer than the group".to_owned());
    }
    if meta.cells.len() > 64 || meta.max == 0 || meta.max > GROUPS_MAX {
        return Err("a group has too many cells, or there are too many groups".to_owned());
    }
    for cell in &meta.cells {
        let after_key = header.saturating_add(meta.key_size);
        if ends_after(cell.offset, cell.size) || cell.offset < after_key {
            return Err("a cell is not inside of its group".to_owned());
        }
        let is_integer = match cell.merge {
            Merge::Sum | Merge::Max | Merge::Min => cell.size == 8,
            Merge::Distinct => cell.size >= 8,
            Merge::First => true,
        };
        if !is_integer {
            return Err("a cell that is summed or compared is no integer".to_owned());
        }
    }
    Ok(())
}

impl<'m> Groups<'m> {
    /// No groups. The layout has been [`check`]ed.
    pub(super) fn new(meta: &'m GroupMeta) -> Self {
        Self {
            meta,
            groups: Vec::new(),
            by_key: HashMap::new(),
            distinct: vec![HashSet::new(); meta.cells.len()],
            dropped: 0,
        }
    }

    /// Adds a group of one.
    pub(super) fn add(&mut self, one: Vec<u8>) {
        let key_end = ROW_HEADER_BYTES.saturating_add(size(self.meta.key_size));
        let Some(key) = one.get(ROW_HEADER_BYTES..key_end) else { return self.drop_one() };
        if one.len() != size(self.meta.size) {
            return self.drop_one();
        }
        match self.by_key.get(key).copied() {
            Some(at) => self.merge(at, &one),
            None if self.groups.len() < size(self.meta.max) => {
                let at = self.groups.len();
                self.by_key.insert(key.to_vec(), at);
                self.groups.push(one.clone());
                self.note_distinct(at, &one);
            }
            None => self.drop_one(),
        }
    }

    /// The groups as rows of the `finish` program, and how much found no room.
    pub(super) fn finish(mut self) -> (Vec<Vec<u8>>, u64) {
        for (cell, values) in self.meta.cells.iter().zip(&self.distinct) {
            if cell.merge != Merge::Distinct {
                continue;
            }
            let mut counts = vec![0_i64; self.groups.len()];
            for (at, _) in values {
                if let Some(count) = counts.get_mut(*at) {
                    *count = count.saturating_add(1);
                }
            }
            for (group, count) in self.groups.iter_mut().zip(counts) {
                if let Some(place) = bytes_mut(group, cell) {
                    place.fill(0);
                    place[..8].copy_from_slice(&count.to_le_bytes());
                }
            }
        }
        (self.groups, self.dropped)
    }

    fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    fn merge(&mut self, at: usize, one: &[u8]) {
        self.note_distinct(at, one);
        let Some(group) = self.groups.get_mut(at) else { return };
        let (mut missing, others) = (missing_bits(group), missing_bits(one));
        for (index, cell) in self.meta.cells.iter().enumerate() {
            let bit = 1_u64 << index;
            let (was_missing, is_missing) = (missing & bit != 0, others & bit != 0);
            if cell.merge == Merge::First {
                if was_missing && !is_missing {
                    missing &= !bit;
                    if let (Some(place), Some(value)) = (bytes_mut(group, cell), bytes(one, cell)) {
                        place.copy_from_slice(value);
                    }
                }
                continue;
            }
            if was_missing || is_missing {
                missing |= bit;
                // What is not known is zero, as in a group of one.
                if let Some(place) = bytes_mut(group, cell) {
                    place.fill(0);
                }
                continue;
            }
            let (Some(a), Some(b)) = (integer(group, cell), integer(one, cell)) else { continue };
            let merged = match cell.merge {
                Merge::Sum => a.saturating_add(b),
                Merge::Max => a.max(b),
                Merge::Min => a.min(b),
                Merge::Distinct | Merge::First => continue,
            };
            if let Some(place) = bytes_mut(group, cell) {
                place.copy_from_slice(&merged.to_le_bytes());
            }
        }
        group[ROW_MISSING_OFFSET..ROW_MISSING_OFFSET + 8].copy_from_slice(&missing.to_le_bytes());
    }

    fn note_distinct(&mut self, at: usize, one: &[u8]) {
        let missing = missing_bits(one);
        let mut full = 0_u64;
        for (index, (cell, values)) in self.meta.cells.iter().zip(&mut self.distinct).enumerate() {
            if cell.merge != Merge::Distinct || missing & (1 << index) != 0 {
                continue;
            }
            let Some(value) = bytes(one, cell) else { continue };
            let value = (at, value.to_vec());
            if values.len() < size(self.meta.max) {
                values.insert(value);
            } else if !values.contains(&value) {
                full = full.saturating_add(1);
            }
        }
        self.dropped = self.dropped.saturating_add(full);
    }
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn missing_bits(group: &[u8]) -> u64 {
    let bits = group.get(ROW_MISSING_OFFSET..).and_then(<[u8]>::first_chunk::<8>);
    bits.map_or(u64::MAX, |bits| u64::from_le_bytes(*bits))
}

fn bytes<'g>(group: &'g [u8], cell: &CellMeta) -> Option<&'g [u8]> {
    group.get(size(cell.offset)..size(cell.offset).checked_add(size(cell.size))?)
}

fn bytes_mut<'g>(group: &'g mut [u8], cell: &CellMeta) -> Option<&'g mut [u8]> {
    group.get_mut(size(cell.offset)..size(cell.offset).checked_add(size(cell.size))?)
}

fn integer(group: &[u8], cell: &CellMeta) -> Option<i64> {
    bytes(group, cell)?.first_chunk::<8>().map(|bytes| i64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel_vm::object::Block;

    fn meta(merges: &[Merge], max: u32) -> GroupMeta {
        let cells: Vec<CellMeta> = (0_u32..)
            .zip(merges)
            .map(|(index, &merge)| CellMeta { offset: 24 + 8 * index, size: 8, merge })
            .collect();
        let size = 24 + 8 * u32::try_from(cells.len()).expect("few cells");
        GroupMeta { size, key_size: 8, cells, max, finish: Block { offset: 0, size: 0 } }
    }

    fn one(key: i64, cells: &[Option<i64>]) -> Vec<u8> {
        let missing = cells.iter().enumerate().filter(|(_, cell)| cell.is_none());
        let missing = missing.fold(0_u64, |bits, (index, _)| bits | 1 << index);
        let mut group = vec![0; 8];
        group.extend(missing.to_le_bytes());
        group.extend(key.to_le_bytes());
        cells.iter().for_each(|cell| group.extend(cell.unwrap_or(0).to_le_bytes()));
        group
    }

    const ALL: [Merge; 5] = [Merge::Sum, Merge::Max, Merge::Min, Merge::Distinct, Merge::First];

    #[test]
    fn equal_keys_become_one_group_cell_by_cell() {
        let meta = meta(&ALL, 10);
        assert_eq!(check(&meta), Ok(()));
        let mut groups = Groups::new(&meta);
        groups.add(one(1, &[Some(5), Some(5), Some(5), Some(7), None]));
        groups.add(one(2, &[Some(i64::MAX), Some(1), Some(1), Some(7), Some(3)]));
        groups.add(one(1, &[Some(-2), Some(-2), Some(-2), Some(8), Some(4)]));
        groups.add(one(1, &[Some(9), Some(9), Some(9), Some(7), Some(6)]));
        groups.add(one(2, &[Some(1), None, Some(0), Some(7), Some(3)]));
        let (groups, dropped) = groups.finish();
        assert_eq!(dropped, 0);
        assert_eq!(
            groups,
            [
                one(1, &[Some(12), Some(9), Some(-2), Some(2), Some(4)]),
                one(2, &[Some(i64::MAX), None, Some(0), Some(1), Some(3)]),
            ]
        );
    }

    #[test]
    fn a_missing_value_stays_missing() {
        let meta = meta(&ALL, 10);
        let mut groups = Groups::new(&meta);
        let unknown = [None, None, None, None, Some(1)];
        groups.add(one(1, &unknown));
        groups.add(one(1, &[Some(1), Some(1), Some(1), Some(1), None]));
        let (groups, _) = groups.finish();
        assert_eq!(missing_bits(&groups[0]), 0b1111);
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let meta = meta(&[Merge::Distinct], 2);
        let mut groups = Groups::new(&meta);
        for (key, value) in [(1, 1), (1, 2), (1, 3), (1, 1), (2, 1), (3, 1), (4, 1)] {
            groups.add(one(key, &[Some(value)]));
        }
        let (groups, dropped) = groups.finish();
        // The value 3 and that of key 2, and the groups of keys 3 and 4.
        assert_eq!((groups.len(), dropped), (2, 4));
        assert_eq!(groups[0], one(1, &[Some(2)]));
    }

    #[test]
    fn a_layout_that_does_not_hold_together_is_refused() {
        let good = meta(&ALL, 10);
        let mut wrong = [good.clone(), good.clone(), good.clone(), good.clone(), good];
        wrong[0].key_size = 4096;
        wrong[1].cells[0].offset = u32::MAX;
        wrong[2].cells[0].size = 4;
        wrong[3].cells[0].offset = 8;
        wrong[4].max = GROUPS_MAX + 1;
        for each in wrong {
            assert!(check(&each).is_err(), "{each:?}");
        }
    }

    #[test]
    fn a_group_of_another_size_is_dropped() {
        let meta = meta(&ALL, 10);
        let mut groups = Groups::new(&meta);
        groups.add(vec![0; 30]);
        groups.add(Vec::new());
        assert_eq!(groups.finish(), (Vec::new(), 2));
    }
}
