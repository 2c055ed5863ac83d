//! Rings of threads that wait for each other, drawn for people, and who waits for whom.
//!
//! A layout has what it takes when it emits `tid` and a thread that it waits for; the lock's
//! address and the name are shown where they are emitted, too.
//!
//! **Invariant**: each ring is drawn once, and every walk ends, whatever the records say.

use super::human;
use kernel_vm::object::RecordMeta;
use kernel_vm::schema::{Type, Unit};
use kfilter_loader::record::{RecordBatch, Value, fields};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One thread of a ring.
struct Waiter {
    owner: i64,
    name: String,
    lock: String,
}

/// The threads of a sweep's records that wait for another one.
pub(crate) struct Waits(BTreeMap<i64, Waiter>);

impl Waits {
    /// Those among `records`.
    pub(crate) fn among(layout: &RecordMeta, records: &RecordBatch) -> Self {
        Self(records.iter().filter_map(|record| waiter(layout, record)).collect())
    }

    /// The thread of `record`, the one that it waits for, the one that this one waits for and so
    /// on: up to one that waits for nobody that matched, or that was there before; empty when it
    /// does not wait.
    pub(crate) fn chain(&self, layout: &RecordMeta, record: &[u8]) -> Vec<i64> {
        let Some((start, first)) = waiter(layout, record) else { return Vec::new() };
        let mut chain = vec![start];
        let mut next = Some(first.owner);
        while let Some(tid) = next {
            let is_known = chain.contains(&tid);
            chain.push(tid);
            next = self.0.get(&tid).map(|waiter| waiter.owner).filter(|_| !is_known);
        }
        chain
    }
}

/// The rings among the records; empty when there are none.
pub(crate) fn draw(layout: &RecordMeta, records: &RecordBatch) -> String {
    let Waits(waiters) = Waits::among(layout, records);
    let mut out = String::new();
    let mut drawn = BTreeSet::new();
    for &start in waiters.keys() {
        let ring = ring_from(start, &waiters);
        if ring.is_empty() || !ring.iter().all(|tid| drawn.insert(*tid)) {
            continue;
        }
        let plural = if ring.len() == 1 { "" } else { "s" };
        let _ = writeln!(out, "ring of {} thread{plural}:", ring.len());
        for tid in &ring {
            if let Some(Waiter { name, lock, .. }) = waiters.get(tid) {
                let _ = writeln!(out, "  {name}{tid} waits for {lock}held by");
            }
        }
        let name = waiters.get(&start).map_or("", |waiter| waiter.name.as_str());
        let _ = writeln!(out, "  {name}{start}");
    }
    out
}

/// The threads from `start` back to it; empty when it is in no ring.
fn ring_from(start: i64, waiters: &BTreeMap<i64, Waiter>) -> Vec<i64> {
    let mut ring = vec![start];
    let mut at = start;
    while ring.len() <= waiters.len() {
        match waiters.get(&at) {
            Some(waiter) if waiter.owner == start => return ring,
            Some(waiter) => at = waiter.owner,
            None => break,
        }
        ring.push(at);
    }
    Vec::new()
}

fn waiter(layout: &RecordMeta, record: &[u8]) -> Option<(i64, Waiter)> {
    let (mut tid, mut owner) = (None, None);
    let (mut name, mut lock) = (String::new(), String::new());
    for (field, value) in fields(layout, record) {
        let Some(value) = value else { continue };
        match (field.name.as_str(), field.ty.0, value) {
            ("tid", _, Value::Int(number, _)) => tid = Some(number),
            ("comm", _, value @ Value::Text(_)) => name = human::value(Some(&value)) + " ",
            (_, Type::Thread, Value::Thread(number)) if number != 0 => {
                owner = owner.or(Some(number));
            }
            (_, Type::Int(Unit::Address), value) if lock.is_empty() => {
                lock = human::value(Some(&value)) + ", ";
            }
            _ => {}
        }
    }
    Some((tid?, Waiter { owner: owner?, name, lock }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel_vm::object::{FieldMeta, TypeMeta};

    fn layout() -> RecordMeta {
        let field = |name: &str, ty, offset| FieldMeta {
            name: name.into(),
            ty: TypeMeta(ty),
            offset,
            hidden: false,
        };
        let fields = vec![
            field("tid", Type::Int(Unit::Id), 8),
            field("comm", Type::Text { capacity: 16 }, 16),
            field("mutex", Type::Int(Unit::Address), 32),
            field("owner", Type::Thread, 40),
        ];
        RecordMeta { size: 48, fields }
    }

    fn batch(edges: &[(i64, i64)]) -> RecordBatch {
        let mut batch = RecordBatch::new(48);
        for (tid, owner) in edges {
            let mut record = vec![0; 8];
            record.extend(tid.to_le_bytes());
            record.extend(*b"abba\0\0\0\0\0\0\0\0\0\0\0\0");
            record.extend((0x7000 + tid).to_le_bytes());
            record.extend(owner.to_le_bytes());
            assert!(batch.push(&record));
        }
        batch
    }

    #[test]
    fn a_chain_ends_where_nobody_waits_or_where_it_was_before() {
        let records = batch(&[(1, 2), (2, 3), (3, 2), (7, 8), (9, 9)]);
        let waits = Waits::among(&layout(), &records);
        let chains: Vec<Vec<i64>> =
            records.iter().map(|record| waits.chain(&layout(), record)).collect();
        assert_eq!(chains[0], [1, 2, 3, 2]);
        assert_eq!(chains[1], [2, 3, 2]);
        assert_eq!(chains[3], [7, 8]);
        assert_eq!(chains[4], [9, 9]);
    }

    #[test]
    fn each_ring_is_drawn_once() {
        let records = batch(&[(13, 11), (11, 12), (21, 22), (12, 13), (22, 21), (30, 30)]);
        insta::assert_snapshot!(draw(&layout(), &records), @r"
        ring of 3 threads:
          abba 11 waits for 0x700b, held by
          abba 12 waits for 0x700c, held by
          abba 13 waits for 0x700d, held by
          abba 11
        ring of 2 threads:
          abba 21 waits for 0x7015, held by
          abba 22 waits for 0x7016, held by
          abba 21
        ring of 1 thread:
          abba 30 waits for 0x701e, held by
          abba 30
        ");
    }

    #[test]
    fn chains_are_no_rings() {
        // 1 waits for the ring of 2 and 3; 4 waits for somebody who is not here.
        let text = draw(&layout(), &batch(&[(1, 2), (2, 3), (3, 2), (4, 99), (5, 0)]));
        assert_eq!(text.matches("ring of").count(), 1, "{text}");
        assert!(!text.contains("abba 1 ") && !text.contains("abba 4 "), "{text}");
    }

    #[test]
    fn other_layouts_have_no_rings() {
        let (filter, record) = crate::output::records::tests::filter();
        let mut batch = RecordBatch::new(record.len());
        assert!(batch.push(&record));
        assert_eq!(draw(&filter.record, &batch), "");
    }
}
