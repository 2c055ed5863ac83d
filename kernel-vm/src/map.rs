//! Maps of fixed capacity in memory that the caller gives.
//!
//! A map has `capacity` places for a key and a value each. Keys are found by hashing with
//! linear probing; a direct map has one place, which is always taken. Values never move, so
//! a pointer that a program got stays good until the end of its run.
//!
//! **Invariant**: no operation allocates, and each looks at `capacity` places at most.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::verify::MapSpec;

/// Marks of a place; any other is a free one's.
const TAKEN: u8 = 1;
/// It was taken: a search goes on behind it.
const REMOVED: u8 = 2;

/// A map over borrowed memory.
#[derive(Debug)]
pub struct Map<'m> {
    spec: MapSpec,
    capacity: usize,
    marks: &'m mut [u8],
    keys: &'m mut [u8],
    /// The values, `capacity * value_size` bytes. Not a slice: programs hold pointers into
    /// them while places are looked up.
    values: NonNull<u8>,
    memory: PhantomData<&'m mut [u8]>,
}

/// Why memory cannot hold a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError {
    /// The memory has another length than [`Map::bytes_needed`] says, or a key or value
    /// another than the map's.
    BadLength,
    /// A direct map has one value and no more.
    BadCapacity,
    /// Every place is taken.
    Full,
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::BadLength => "memory, key or value are not of the map's size",
            Self::BadCapacity => "a direct map has one value and no more",
            Self::Full => "every place of the map is taken",
        })
    }
}

impl core::error::Error for MapError {}

impl<'m> Map<'m> {
    /// Bytes that a map takes; `None` when no machine has so many.
    #[must_use]
    pub fn bytes_needed(spec: &MapSpec, capacity: usize) -> Option<usize> {
        let key = usize::try_from(spec.key_size).ok()?;
        let value = usize::try_from(spec.value_size).ok()?;
        capacity.checked_mul(key.checked_add(value)?.checked_add(1)?)
    }

    /// An empty map; a direct one holds zeros.
    ///
    /// # Errors
    /// When `memory` is not [`Map::bytes_needed`] long, or a direct map's capacity not 1.
    pub fn new(spec: MapSpec, capacity: usize, memory: &'m mut [u8]) -> Result<Self, MapError> {
        if Self::bytes_needed(&spec, capacity) != Some(memory.len()) {
            return Err(MapError::BadLength);
        }
        if spec.direct && capacity != 1 {
            return Err(MapError::BadCapacity);
        }
        memory.fill(0);
        let (marks, rest) = memory.split_at_mut_checked(capacity).ok_or(MapError::BadLength)?;
        let key = usize::try_from(spec.key_size).map_err(|_| MapError::BadLength)?;
        let keys = capacity.checked_mul(key).ok_or(MapError::BadLength)?;
        let (keys, values) = rest.split_at_mut_checked(keys).ok_or(MapError::BadLength)?;
        if spec.direct {
            marks.fill(TAKEN);
        }
        let values = NonNull::from(values).cast();
        Ok(Self { spec, capacity, marks, keys, values, memory: PhantomData })
    }

    /// What it was made for.
    #[must_use]
    pub const fn spec(&self) -> &MapSpec {
        &self.spec
    }

    /// Most keys that it holds.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many keys it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.marks.iter().filter(|&&mark| mark == TAKEN).count()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key; `None` when it has none.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let place = self.find(key)?;
        self.all_values().get(self.value_range(place))
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// When key or value are not of the map's sizes, or all places are taken.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), MapError> {
        if key.len() != self.key_size() || value.len() != self.value_size() {
            return Err(MapError::BadLength);
        }
        let place = self.insert(key).ok_or(MapError::Full)?;
        let range = self.value_range(place);
        let to = self.all_values_mut().get_mut(range).ok_or(MapError::BadLength)?;
        to.copy_from_slice(value);
        Ok(())
    }

    fn value_range(&self, place: usize) -> core::ops::Range<usize> {
        let start = self.value_offset(place);
        start..start.saturating_add(self.value_size())
    }

    /// The start of the values.
    pub(crate) const fn values(&self) -> NonNull<u8> {
        self.values
    }

    /// Bytes of all values.
    pub(crate) fn values_length(&self) -> usize {
        self.value_offset(self.capacity)
    }

    /// Bytes from the start of the values to that of a place.
    pub(crate) fn value_offset(&self, place: usize) -> usize {
        place.saturating_mul(self.value_size())
    }

    pub(crate) fn key_size(&self) -> usize {
        usize::try_from(self.spec.key_size).unwrap_or(0)
    }

    pub(crate) fn value_size(&self) -> usize {
        usize::try_from(self.spec.value_size).unwrap_or(0)
    }

    /// The place of a key.
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        self.search(key).ok()
    }

    /// The place of a key, which takes one when it has none; `None` when all are taken.
    pub(crate) fn insert(&mut self, key: &[u8]) -> Option<usize> {
        let place = match self.search(key) {
            Ok(place) => return Some(place),
            Err(free) => free?,
        };
        let range = self.key_range(place)?;
        let key = key.get(..self.key_size())?;
        self.keys.get_mut(range)?.copy_from_slice(key);
        *self.marks.get_mut(place)? = TAKEN;
        Some(place)
    }

    /// Frees the place of a key; whether it had one.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        if self.spec.direct {
            return false;
        }
        let place = self.find(key);
        match place.and_then(|place| self.marks.get_mut(place)) {
            Some(mark) => {
                *mark = REMOVED;
                true
            }
            None => false,
        }
    }

    /// Where the key of a place stands.
    fn key_range(&self, place: usize) -> Option<core::ops::Range<usize>> {
        let size = self.key_size();
        let from = place.checked_mul(size)?;
        Some(from..from.checked_add(size)?)
    }

    /// The place of a key, or else the first one that it may take.
    #[inline(never)]
    fn search(&self, key: &[u8]) -> Result<usize, Option<usize>> {
        if self.spec.direct {
            return if key.iter().all(|&byte| byte == 0) { Ok(0) } else { Err(None) };
        }
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mixed = usize::try_from((hash ^ (hash >> 32)) & 0x7fff_ffff).unwrap_or(0);
        let mut place = mixed.checked_rem(self.capacity).unwrap_or(0);
        let mut free = None;
        // Every place once, from the one that the key hashes to.
        for _ in 0..self.capacity {
            match self.marks.get(place) {
                Some(&TAKEN) => {
                    let held = self.key_range(place).and_then(|range| self.keys.get(range));
                    if held == Some(key) {
                        return Ok(place);
                    }
                }
                mark => {
                    free = free.or(Some(place));
                    if mark != Some(&REMOVED) {
                        break;
                    }
                }
            }
            place = place.wrapping_add(1);
            if place == self.capacity {
                place = 0;
            }
        }
        Err(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;

    const SPEC: MapSpec = MapSpec { key_size: 4, value_size: 8, direct: false };

    #[test]
    fn a_full_map_refuses_and_a_removed_key_makes_room() {
        let mut memory = vec![0xaa; Map::bytes_needed(&SPEC, 3).unwrap()];
        let mut map = Map::new(SPEC, 3, &mut memory).unwrap();
        for key in 0..3u32 {
            assert!(map.insert(&key.to_le_bytes()).is_some());
        }
        assert_eq!(map.insert(&9u32.to_le_bytes()), None);
        assert_eq!(map.insert(&1u32.to_le_bytes()), map.find(&1u32.to_le_bytes()));
        assert!(map.remove(&1u32.to_le_bytes()));
        assert!(!map.remove(&1u32.to_le_bytes()));
        assert!(map.find(&2u32.to_le_bytes()).is_some(), "found behind a removed one");
        assert!(map.insert(&9u32.to_le_bytes()).is_some());
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn hosts_read_and_write_values_by_key() {
        let mut memory = vec![0xaa; Map::bytes_needed(&SPEC, 2).unwrap()];
        let mut map = Map::new(SPEC, 2, &mut memory).unwrap();
        let key = |key: u32| key.to_le_bytes();
        assert_eq!(map.get(&key(7)), None);
        assert_eq!(map.set(&key(7), &[1; 8]), Ok(()));
        assert_eq!(map.set(&key(8), &[2; 8]), Ok(()));
        assert_eq!(map.set(&key(7), &[3; 8]), Ok(()));
        assert_eq!(map.set(&key(9), &[4; 8]), Err(MapError::Full));
        assert_eq!(map.set(&key(7), &[5; 7]), Err(MapError::BadLength));
        assert_eq!(map.set(&[7], &[5; 8]), Err(MapError::BadLength));
        assert_eq!(map.get(&key(7)), Some(&[3; 8][..]));
        assert_eq!(map.get(&key(8)), Some(&[2; 8][..]));
    }

    #[test]
    fn it_agrees_with_a_map_of_the_standard_library() {
        use std::collections::HashSet;
        let mut memory = vec![0; Map::bytes_needed(&SPEC, 16).unwrap()];
        let mut map = Map::new(SPEC, 16, &mut memory).unwrap();
        let mut model = HashSet::new();
        let mut random = 7;
        for _ in 0..20_000 {
            let bits = crate::isa::scatter(&mut random);
            let key = ((bits >> 8) as u32 % 24).to_le_bytes();
            match bits & 3 {
                0 | 1 => {
                    let fits = model.contains(&key) || model.len() < 16;
                    assert_eq!(map.insert(&key).is_some(), fits);
                    if fits {
                        model.insert(key);
                    }
                }
                2 => assert_eq!(map.remove(&key), model.remove(&key)),
                _ => assert_eq!(map.find(&key).is_some(), model.contains(&key)),
            }
            assert_eq!(map.len(), model.len());
        }
    }

    #[test]
    fn bad_memory_is_refused() {
        let mut memory = [0; 5];
        assert_eq!(Map::new(SPEC, 3, &mut memory).err(), Some(MapError::BadLength));
        assert_eq!(Map::bytes_needed(&SPEC, usize::MAX), None);
    }
}
