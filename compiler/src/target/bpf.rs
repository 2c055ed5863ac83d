//! The `bpf` target: one `syscall` program a filter that sweeps its whole table.
//!
//! Around the row body stands the open-coded task iterator. What a column is in the kernel
//! is written in one place, `columns`:
//!
//! - `load(asm, column, dst, unreadable)` leaves an integer column's value in `dst`, or
//!   goes to `unreadable`; the row's task is in `r6`. `r0` to `r5` may be lost; `clobbers`
//!   says whether calls are made. Without calls only `dst` and `r0` change.
//! - For a text column (and for `object`) `dst` is `r1` and holds the address of a buffer on
//!   the stack, aligned to 8 and as long as the column's type; `load` fills all of it, zeros
//!   after the text.

pub mod columns;
pub mod kernel_types;
