//! The walk over the types, in several places at once.
//!
//! Where a type begins is known only when the one before it has been read, so that a plain
//! walk over the kernel's 126,000 types waits for each of them. Here the section is entered
//! at a few more places, each a guess, and the lanes advance in turn: their waits overlap.
//! A guess counts only when the lane before it arrives at exactly that byte.
//!
//! **Invariant**: lanes that [`walk`] returns cover all types, without a gap or an overlap,
//! in the order of the ids.

use super::types::{self, Skimmed};
use super::{INDEX_STRIDE, TYPE_BYTES, TypeId};
use std::ops::Range;

/// Where in the section the lanes after the first begin, in percent. Functions, which are
/// short, come last, so that these lanes have about as many types each.
const STARTS: [usize; 3] = [36, 63, 82];
/// Most lanes of one walk.
pub(super) const LANES: usize = STARTS.len() + 1;
/// Sections smaller than this are walked in one lane.
const LANED_BYTES: usize = 256 << 10;
/// How far from where it was wanted a lane may begin.
const SEARCHED_BYTES: usize = 64 << 10;
/// How many types in a row have to make sense where a lane begins.
const CREDIBLE_TYPES: usize = 16;

/// A run of types that follow each other.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// How many types come before it.
    pub(super) before: u32,
    /// How many types it has.
    pub(super) count: u32,
    /// The offset of each [`INDEX_STRIDE`]th of its types, from the first one on.
    pub(super) index: Vec<u32>,
    at: usize,
    end: usize,
}

impl Lane {
    fn new(range: Range<usize>) -> Self {
        let index = Vec::with_capacity(range.len() / (TYPE_BYTES * INDEX_STRIDE) / 2);
        Self { before: 0, count: 0, index, at: range.start, end: range.end }
    }

    /// All of one lane, `at` being where the types end.
    pub(super) const fn whole(count: u32, index: Vec<u32>, at: usize) -> Self {
        Self { before: 0, count, index, at, end: at }
    }

    /// Goes on alone; says whether it comes to its end, which is where the next one begins.
    fn finish(&mut self, types: &[u8], mut visit: impl FnMut(u32, Skimmed)) -> bool {
        while self.at < self.end {
            let Some(skimmed) = types::skim(types, self.at) else { return false };
            if (self.count as usize).is_multiple_of(INDEX_STRIDE) {
                self.index.push(self.at as u32);
            }
            self.count += 1;
            self.at += skimmed.bytes;
            visit(self.count, skimmed);
        }
        self.at == self.end
    }
}

/// Walks over the types at `section` of `bytes` and shows the name and kind of each to
/// `visit`, with the number of its lane and its number within the lane, which begins at 1.
/// `names` is the size of the string section; there are fewer than 2^32 bytes.
///
/// `None` when a type is malformed or a guess was wrong: a walk in the order of the ids
/// will tell, and what `visit` was shown counts for nothing.
pub(super) fn walk(
    bytes: &[u8],
    section: Range<usize>,
    names: usize,
    mut visit: impl FnMut(usize, u32, Skimmed),
) -> Option<Vec<Lane>> {
    let types = &bytes[..section.end];
    let mut lanes = lanes(types, &section, names);
    if let Ok(lanes) = <&mut [Lane; LANES]>::try_from(&mut lanes[..]) {
        side_by_side(types, lanes, &mut visit)?;
    }
    let mut before = 0;
    for (number, lane) in lanes.iter_mut().enumerate() {
        if !lane.finish(types, |count, skimmed| visit(number, count, skimmed)) {
            return None;
        }
        lane.before = before;
        before += lane.count;
    }
    Some(lanes)
}

/// Where the lanes begin and end.
fn lanes(types: &[u8], section: &Range<usize>, names: usize) -> Vec<Lane> {
    let mut starts = vec![section.start];
    if section.len() >= LANED_BYTES {
        let near = |percent| section.start + section.len() / 400 * percent * 4;
        starts.extend(STARTS.iter().filter_map(|&at| credible_start(types, near(at), names)));
    }
    let ends = starts.iter().skip(1).chain([&section.end]);
    starts.iter().zip(ends).map(|(&start, &end)| Lane::new(start..end)).collect()
}

/// Lets the lanes advance in turn until the first of them is at its end; `None` when one
/// cannot go on.
fn side_by_side(
    types: &[u8],
    lanes: &mut [Lane; LANES],
    visit: &mut impl FnMut(usize, u32, Skimmed),
) -> Option<()> {
    let ends: [usize; LANES] = std::array::from_fn(|lane| lanes[lane].end);
    let mut at: [usize; LANES] = std::array::from_fn(|lane| lanes[lane].at);
    let mut count = 0_u32;
    while (0..LANES).all(|lane| at[lane] < ends[lane]) {
        if (count as usize).is_multiple_of(INDEX_STRIDE) {
            for (lane, at) in lanes.iter_mut().zip(at) {
                lane.index.push(at as u32);
            }
        }
        count += 1;
        for (lane, at) in at.iter_mut().enumerate() {
            let skimmed = types::skim(types, *at)?;
            *at += skimmed.bytes;
            visit(lane, count, skimmed);
        }
    }
    for (lane, at) in lanes.iter_mut().zip(at) {
        (lane.at, lane.count) = (at, count);
    }
    Some(())
}

/// The first byte from `near` on where types seem to begin.
fn credible_start(types: &[u8], near: usize, names: usize) -> Option<usize> {
    (near..near + SEARCHED_BYTES).step_by(4).find(|&start| {
        let mut rest = types.get(start..).unwrap_or_default();
        (0..CREDIBLE_TYPES).all(|_| {
            let Ok((view, next)) = types::read(rest, start, TypeId(0)) else { return false };
            rest = next;
            view.is_credible(names)
        })
    })
}
