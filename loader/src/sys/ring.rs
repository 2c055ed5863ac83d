//! The consumer's side of a BPF ring buffer.
//!
//! The kernel shows three parts: a page with our position, which we write; a page with its
//! position; the data, mapped twice in a row so that a record never wraps.
//!
//! **Invariant**: a header's length is checked against the data before it is followed, and
//! our position only moves forward, by whole records.

use super::{SharedMemory, Sys, SyscallError};
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;

/// Bit of a record's header: the program is still writing it.
const BUSY: u32 = 1 << 31;
/// Bit of a record's header: the program gave it up.
const DISCARD: u32 = 1 << 30;
/// Bytes of a record's header: length and flags, then its page.
pub const RECORD_HEADER_BYTES: usize = 8;

/// A ring buffer that is read.
#[derive(Debug)]
pub struct Ring {
    consumer: SharedMemory,
    /// The producer's page, then the data twice.
    producer: SharedMemory,
    page: usize,
    size: usize,
}

impl Ring {
    /// Maps the ring buffer `fd` of `size` bytes, a power of two.
    ///
    /// # Errors
    /// [`SyscallError`] of mmap(2).
    pub fn open(sys: &dyn Sys, fd: BorrowedFd<'_>, size: usize) -> Result<Self, SyscallError> {
        let page = page_bytes();
        let consumer = sys.map_shared(fd, 0, page, true)?;
        let producer = sys.map_shared(fd, page, page + 2 * size, false)?;
        Ok(Self { consumer, producer, page, size })
    }

    /// Hands each finished record to `visit`, then frees their room; the number of records.
    pub fn drain(&self, mut visit: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        let mut position = self.position();
        self.read(&mut position, |record| {
            visit(record);
            count += 1;
            ControlFlow::Continue(())
        });
        // What cannot be freed is read again.
        let _ = self.release(position);
        count
    }

    /// How far everything was read and its room freed.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.consumer.load(0).unwrap_or(0)
    }

    /// Frees the room of everything before `position`; false when it cannot be.
    #[must_use]
    pub fn release(&self, position: u64) -> bool {
        self.consumer.store(0, position)
    }

    /// Hands finished records from `position` on to `visit` and moves `position` past them;
    /// whether `visit` has ended it.
    pub fn read(
        &self,
        position: &mut u64,
        mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> bool {
        let mut record = Vec::new();
        while let Some((header, start)) = self.next(*position) {
            let len = (header & !(BUSY | DISCARD)) as usize;
            if header & BUSY != 0 || len > self.size {
                break;
            }
            let room = RECORD_HEADER_BYTES + len.next_multiple_of(8);
            let is_record = header & DISCARD == 0;
            if is_record {
                record.clear();
                if !self.producer.copy_to(start + RECORD_HEADER_BYTES, len, &mut record) {
                    break;
                }
            }
            *position = position.wrapping_add(room as u64);
            if is_record && visit(&record).is_break() {
                return true;
            }
        }
        false
    }

    /// The header of the record at `position` and its offset in `producer`; `None` when the
    /// producer is not past it.
    fn next(&self, position: u64) -> Option<(u32, usize)> {
        let produced = self.producer.load(0)?;
        if position >= produced {
            return None;
        }
        let mask = (self.size as u64).wrapping_sub(1);
        let start = self.page.checked_add(usize::try_from(position & mask).ok()?)?;
        let word = self.producer.load(start)?;
        // The length is the first half of the word in memory.
        Some(((word & u64::from(u32::MAX)) as u32, start))
    }
}

/// The size of the kernel's pages, which the layout of a ring buffer follows.
#[must_use]
pub fn page_bytes() -> usize {
    super::memory::page_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    const PAGE: usize = 64;
    const SIZE: usize = 64;

    fn words(count: usize) -> Arc<[AtomicU64]> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }

    fn ring() -> (Ring, Arc<[AtomicU64]>, Arc<[AtomicU64]>) {
        let consumer = words(PAGE / 8);
        let producer = words((PAGE + 2 * SIZE) / 8);
        let ring = Ring {
            consumer: SharedMemory::from_words(consumer.clone(), true),
            producer: SharedMemory::from_words(producer.clone(), false),
            page: PAGE,
            size: SIZE,
        };
        (ring, consumer, producer)
    }

    fn drained(ring: &Ring) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        ring.drain(|record| records.push(record.to_vec()));
        records
    }

    #[test]
    fn records_are_read_in_order_and_discarded_ones_passed_by() {
        let (ring, consumer, producer) = ring();
        let at = |offset: usize| &producer[(PAGE + offset) / 8];
        at(0).store(8, Ordering::Relaxed);
        at(8).store(0x0807_0605_0403_0201, Ordering::Relaxed);
        at(16).store(u64::from(DISCARD | 3), Ordering::Relaxed);
        at(32).store(3, Ordering::Relaxed);
        at(40).store(0x00ff_eedd, Ordering::Relaxed);
        producer[0].store(48, Ordering::Release);
        assert_eq!(drained(&ring), [vec![1, 2, 3, 4, 5, 6, 7, 8], vec![0xdd, 0xee, 0xff]]);
        assert_eq!(consumer[0].load(Ordering::Relaxed), 48);
        assert_eq!(drained(&ring), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_busy_record_stops_the_reader_before_it() {
        let (ring, consumer, producer) = ring();
        producer[PAGE / 8].store(u64::from(BUSY | 8), Ordering::Relaxed);
        producer[0].store(16, Ordering::Release);
        assert_eq!(drained(&ring), Vec::<Vec<u8>>::new());
        assert_eq!(consumer[0].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_length_beyond_the_buffer_is_not_followed() {
        let (ring, _, producer) = ring();
        producer[PAGE / 8].store(0x3fff_ffff, Ordering::Relaxed);
        producer[0].store(u64::MAX, Ordering::Release);
        assert_eq!(drained(&ring), Vec::<Vec<u8>>::new());
    }
}
