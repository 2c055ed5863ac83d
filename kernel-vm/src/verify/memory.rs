//! Loads and stores: which bytes, whether they may be read or written.

use super::{Kind, Refused, RejectionKind, STACK_BYTES, Value, Verifier};
use crate::domain::Scalar;
use crate::isa::{Reg, Size};

/// Where an access goes.
pub(super) enum Place {
    /// Bytes of this function's stack, from the lowest address.
    Stack {
        /// The first byte.
        from: usize,
    },
    /// Memory that holds numbers and may be read.
    ReadOnly,
    /// Memory that holds numbers.
    Writable,
}

impl Verifier<'_, '_> {
    /// Checks that `length` bytes at `pointer + off` are within its region.
    pub(super) fn place(
        &self,
        reg: Reg,
        pointer: &Value,
        off: i64,
        length: u64,
    ) -> Result<Place, Refused> {
        let map_value = |map: u16| self.spec.maps.get(usize::from(map)).map_or(0, |m| m.value_size);
        let (size, place) = match pointer.kind {
            Kind::Row => {
                (self.spec.row_size, mutant!(RowIsWritable, Place::ReadOnly, Place::Writable))
            }
            Kind::Params => (self.spec.params_size, Place::ReadOnly),
            Kind::State => (self.spec.state_size, Place::Writable),
            Kind::Window { size } => (u32::from(size), Place::Writable),
            Kind::MapValue(map) => (map_value(map), Place::Writable),
            Kind::Stack => return self.stack_place(reg, pointer, off, length),
            Kind::MapValueOrNull { map, .. } => mutant!(
                NullIsFine,
                {
                    let _ = map;
                    return Err(self.reject_found(RejectionKind::MayBeNull { reg }, pointer));
                },
                (map_value(map), Place::Writable)
            ),
            Kind::Unset => return Err(self.reject(RejectionKind::NotInitialised { reg })),
            Kind::Scalar | Kind::Map(_) | Kind::Func(_) => {
                return Err(self.reject_found(RejectionKind::NotMemory { reg }, pointer));
            }
        };
        let wide = pointer.scalar.wide;
        let first = i128::from(wide.smin).saturating_add(i128::from(off));
        let last = i128::from(wide.smax).saturating_add(i128::from(off));
        let end = last.saturating_add(i128::from(length));
        let size = mutant!(BoundTooLarge, size, size.saturating_add(1));
        if mutant!(NegativeOffset, first < 0, false) || end > i128::from(size) {
            let kind = RejectionKind::OutOfBounds { reg, off, length, size };
            return Err(self.reject_found(kind, pointer));
        }
        Ok(place)
    }

    fn stack_place(
        &self,
        reg: Reg,
        pointer: &Value,
        off: i64,
        length: u64,
    ) -> Result<Place, Refused> {
        let size = STACK_BYTES as u32;
        let Some(base) = pointer.scalar.exact() else {
            return Err(self.reject_found(RejectionKind::VariableStack { reg }, pointer));
        };
        let top = STACK_BYTES as i64;
        let from = base.cast_signed().checked_add(off).and_then(|off| off.checked_add(top));
        let within = from.and_then(|from| usize::try_from(from).ok()).filter(|&from| {
            let end = u64::try_from(from).ok().and_then(|from| from.checked_add(length));
            end.is_some_and(|end| end <= u64::from(size))
        });
        match within {
            Some(from) => Ok(Place::Stack { from }),
            None => {
                Err(self
                    .reject_found(RejectionKind::OutOfBounds { reg, off, length, size }, pointer))
            }
        }
    }

    pub(super) fn load(
        &mut self,
        reg: Reg,
        off: i16,
        size: Size,
        signed: bool,
    ) -> Result<Value, Refused> {
        let pointer = *self.readable(reg)?;
        let length = size.bytes() as usize;
        let place = self.place(reg, &pointer, i64::from(off), length as u64)?;
        if let Place::Stack { from } = place {
            if size == Size::Dw
                && from.is_multiple_of(8)
                && let Some(value) = self.current.spilled(from / 8)
            {
                return Ok(*value);
            }
            if mutant!(StackIsSet, !self.current.is_readable(from, length), false) {
                return Err(self.reject(RejectionKind::StackNotInitialised { off: from_top(from) }));
            }
        }
        Ok(Value::scalar(Scalar::loaded(size, signed)))
    }

    pub(super) fn store(
        &mut self,
        reg: Reg,
        off: i16,
        size: Size,
        value: Value,
    ) -> Result<(), Refused> {
        let pointer = *self.readable(reg)?;
        let length = size.bytes() as usize;
        let place = self.place(reg, &pointer, i64::from(off), length as u64)?;
        let is_pointer = value.kind.is_pointer();
        match place {
            Place::ReadOnly => Err(self.reject_found(RejectionKind::ReadOnly { reg }, &pointer)),
            Place::Writable if mutant!(PointersMayLeave, is_pointer, false) => {
                Err(self.reject_found(RejectionKind::PointerEscapes, &value))
            }
            Place::Writable => Ok(()),
            Place::Stack { from } => {
                if size == Size::Dw && mutant!(SpillRoundsDown, from.is_multiple_of(8), true) {
                    if self.current.spill(from / 8, value) {
                        return Ok(());
                    }
                    return Err(self.reject_found(RejectionKind::TooManySpills, &value));
                }
                if is_pointer {
                    return Err(self.reject_found(RejectionKind::PartOfPointer, &value));
                }
                self.current.write_bytes(from, length);
                Ok(())
            }
        }
    }

    /// Checks that a helper may read `length` bytes at what `reg` holds, and where that is.
    pub(super) fn readable_bytes(&self, reg: Reg, length: u64) -> Result<Place, Refused> {
        let pointer = *self.readable(reg)?;
        let place = self.place(reg, &pointer, 0, length)?;
        if let Place::Stack { from } = place {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if mutant!(ArgumentsAreSet, !self.current.is_readable(from, length), false) {
                let gap = from.saturating_add(self.current.readable_from(from));
                return Err(self.reject(RejectionKind::StackNotInitialised { off: from_top(gap) }));
            }
        }
        Ok(place)
    }

    /// Checks that a helper may read and write two words at what `reg` holds, and forgets what
    /// was there.
    pub(super) fn words(&mut self, reg: Reg) -> Result<(), Refused> {
        match self.readable_bytes(reg, 16)? {
            Place::ReadOnly => {
                return Err(self.reject_held(RejectionKind::ReadOnly { reg }, reg));
            }
            Place::Writable => {}
            Place::Stack { from } => {
                self.current.write_bytes(from, mutant!(HelperWritesAll, 16, 8));
            }
        }
        Ok(())
    }
}

/// A byte of the stack as an offset from r10.
fn from_top(byte: usize) -> i64 {
    (byte as i64).saturating_sub(STACK_BYTES as i64)
}
