//! Calls: helpers by their table, functions by the join of their calls.

use super::flow::flags;
use super::{
    DEPTH_MAX, Kind, LOOP_MAX, Refused, RejectionKind, STACK_BYTES, State, Value, Verifier,
};
use crate::domain::Scalar;
use crate::helper::{Arg, Helper, Ret};
use crate::isa::Reg;

const ARGS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

impl Verifier<'_, '_> {
    #[inline(never)]
    pub(super) fn call_helper(&mut self, id: i32) -> Result<(), Refused> {
        let Some(helper) = Helper::from_id(id) else {
            return Err(self.reject(RejectionKind::UnknownHelper { id }));
        };
        let mut map = None;
        let mut count = Scalar::exactly(0);
        let mut function = None;
        let mut bytes = None;
        for (&arg, reg) in helper.args().iter().zip(ARGS) {
            match arg {
                Arg::None => {}
                Arg::Scalar => {
                    self.number(reg)?;
                }
                Arg::Zero => {
                    if self.number(reg)?.exact() != Some(0) {
                        return Err(self.reject_held(RejectionKind::MustBeZero { reg }, reg));
                    }
                }
                Arg::Map => match self.readable(reg)?.kind {
                    Kind::Map(index) => map = Some(index),
                    _ => return Err(self.wrong_argument(reg, "a map")),
                },
                Arg::Key | Arg::Value => {
                    let spec = map.and_then(|map| self.spec.maps.get(usize::from(map)));
                    let size = spec.map_or(0, |spec| match arg {
                        Arg::Key => spec.key_size,
                        _ => spec.value_size,
                    });
                    self.readable_bytes(reg, u64::from(size))?;
                }
                Arg::Words => self.words(reg)?,
                Arg::Bytes => bytes = Some(reg),
                Arg::RecordSize => {
                    let size = u64::from(self.spec.record_size);
                    if self.number(reg)?.exact() != Some(size) {
                        let kind = RejectionKind::RecordSize { reg, size };
                        return Err(self.reject_held(kind, reg));
                    }
                    if let Some(bytes) = bytes {
                        self.readable_bytes(bytes, size)?;
                    }
                }
                Arg::Count => {
                    count = *self.number(reg)?;
                    if count.wide.umax > LOOP_MAX {
                        let most = count.wide.umax;
                        let kind = RejectionKind::LoopTooLong { reg, most };
                        return Err(self.reject_held(kind, reg));
                    }
                }
                Arg::Func => match self.readable(reg)?.kind {
                    Kind::Func(pc) => function = Some(pc),
                    _ => return Err(self.wrong_argument(reg, "a function")),
                },
                Arg::Context => {
                    self.readable(reg)?;
                }
            }
        }
        if let Some(pc) = function {
            self.enter_callback(pc, &count)?;
        }
        let result = match (helper.ret(), map) {
            (Ret::ValueOrNull, Some(map)) => {
                let id = u32::try_from(self.pc).unwrap_or(u32::MAX);
                Value::pointer(Kind::MapValueOrNull { map, id })
            }
            _ if function.is_some() => {
                let most = count.wide.umax;
                let most = mutant!(LoopCountsShort, most, most.saturating_sub(1));
                Value::scalar(Scalar::range(0, most))
            }
            _ => Value::scalar(Scalar::any()),
        };
        self.after_call(result);
        Ok(())
    }

    fn wrong_argument(&self, reg: Reg, wanted: &'static str) -> Refused {
        self.reject_held(RejectionKind::WrongArgument { reg, wanted }, reg)
    }

    /// The body of a loop: r1 counts, r2 is the context.
    fn enter_callback(&mut self, pc: u32, count: &Scalar) -> Result<(), Refused> {
        let callee = usize::try_from(pc).unwrap_or(usize::MAX);
        if callee <= self.pc {
            return Err(self.reject(RejectionKind::Backward));
        }
        let mut entry = self.callee_state()?;
        let [first, second, third, ..] = ARGS;
        let last = count.wide.umax.saturating_sub(mutant!(LoopEndsEarly, 1, 2));
        entry.set(first, Value::scalar(Scalar::range(0, last)));
        let context = self.passed(third)?;
        entry.set(second, context);
        self.send(callee, &entry)?;
        self.close_window(third, &context);
        if let Some(note) = self.notes.get_mut(self.pc) {
            note.callee = pc;
            note.count = u32::try_from(count.wide.umax).unwrap_or(u32::MAX);
            note.flags |= flags::LOOPS;
        }
        Ok(())
    }

    #[inline(never)]
    pub(super) fn call_local(&mut self) -> Result<(), Refused> {
        let mut entry = self.callee_state()?;
        for reg in ARGS {
            if self.current.reg(reg).kind != Kind::Unset {
                let value = self.passed(reg)?;
                entry.set(reg, value);
            }
        }
        self.send(self.target, &entry)?;
        for reg in ARGS {
            let passed = *entry.reg(reg);
            self.close_window(reg, &passed);
        }
        self.after_call(Value::scalar(Scalar::any()));
        Ok(())
    }

    fn callee_state(&self) -> Result<State, Refused> {
        let depth = self.current.depth.saturating_add(1);
        if depth > DEPTH_MAX {
            return Err(self.reject(RejectionKind::TooDeep));
        }
        Ok(State::function(depth))
    }

    /// What a function is given: of this stack a window of numbers, else the value itself.
    fn passed(&self, reg: Reg) -> Result<Value, Refused> {
        let value = *self.readable(reg)?;
        match value.kind {
            Kind::Stack => {
                let from = self.stack_byte(reg, &value)?;
                let size = self.current.readable_from(from);
                let size = mutant!(WindowTooLarge, size, size.saturating_add(8));
                let size = u16::try_from(size).unwrap_or(0);
                Ok(Value::pointer(Kind::Window { size }))
            }
            Kind::Window { size } => {
                let moved = value.scalar.exact().and_then(|off| u16::try_from(off).ok());
                match moved.and_then(|off| size.checked_sub(off)) {
                    Some(size) => Ok(Value::pointer(Kind::Window { size })),
                    None => Err(self.reject_found(RejectionKind::VariableStack { reg }, &value)),
                }
            }
            // What a null test in the function proves must not reach the caller's copies,
            // nor a pointer to nothing be taken for one that was tested.
            _ => Ok(value),
        }
    }

    fn stack_byte(&self, reg: Reg, value: &Value) -> Result<usize, Refused> {
        match self.place(reg, value, 0, 0)? {
            super::memory::Place::Stack { from } => Ok(from.min(STACK_BYTES)),
            _ => Err(self.reject_found(RejectionKind::VariableStack { reg }, value)),
        }
    }

    /// The function may have written any number into the window.
    fn close_window(&mut self, reg: Reg, passed: &Value) {
        let own = *self.current.reg(reg);
        if let (Kind::Stack, Kind::Window { size }) = (own.kind, passed.kind)
            && let Ok(from) = self.stack_byte(reg, &own)
        {
            let size = mutant!(WindowIsKept, usize::from(size), 0);
            self.current.write_bytes(from, size);
        }
    }

    fn after_call(&mut self, result: Value) {
        for reg in mutant!(CallKeepsArguments, &ARGS[..], &[]) {
            self.current.set(*reg, Value::UNSET);
        }
        self.current.set(Reg::R0, result);
    }
}
