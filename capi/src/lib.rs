//! `libkfilter`: the C interface that `kfilter.h` describes.
//!
//! Beside the command line, not below it: both are thin over the compiler and the loader.
//!
//! **Invariant**: no Rust type crosses the boundary but behind an opaque pointer, and no
//! panic crosses it at all: `extern "C"` functions abort on one.

#![expect(unsafe_code, reason = "C hands over raw pointers; each use says what it relies on")]

mod handle;
mod text;

use handle::{Failure, Handle};
use kernel_vm::abi::SweepStats;
use kfilter_loader::record::Value;
use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::ptr;
use std::time::Duration;
use text::{list, text};

const OK: c_int = 0;
const NOTHING_MATCHED: c_int = 1;

thread_local! {
    static ERROR: RefCell<CString> = RefCell::new(CString::default());
}

/// Counters of a sweep, as `struct kfilter_stats`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Stats {
    visited: u64,
    matched: u64,
    unreadable: u64,
    warming: u64,
    dropped: u64,
    took_ns: u64,
    started_ns: u64,
}

impl From<SweepStats> for Stats {
    fn from(stats: SweepStats) -> Self {
        let SweepStats {
            visited, matched, unreadable, warming, dropped, took_ns, started_ns, ..
        } = stats;
        Self { visited, matched, unreadable, warming, dropped, took_ns, started_ns }
    }
}

/// The version.
#[unsafe(no_mangle)]
pub extern "C" fn kfilter_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Why the last call of this thread failed.
#[unsafe(no_mangle)]
pub extern "C" fn kfilter_error() -> *const c_char {
    ERROR.with_borrow(|error| error.as_ptr())
}

fn fail(failure: Failure) -> c_int {
    let message = failure.message.replace('\0', "");
    ERROR.set(CString::new(message).unwrap_or_default());
    failure.status
}

/// Loads a filter of a file.
///
/// # Safety
/// As `kfilter.h` says: texts end with a zero, `params` with NULL, `out` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_load(
    path: *const c_char,
    filter: *const c_char,
    params: *const *const c_char,
    host: c_int,
    out: *mut *mut Handle,
) -> c_int {
    // SAFETY: the caller's promise on `path`.
    let path = unsafe { text(path) };
    // SAFETY: the caller's promises on the rest, passed on.
    unsafe { load(|| handle::read(path?), filter, params, host, out) }
}

/// Loads a filter of a source text.
///
/// # Safety
/// As [`kfilter_load`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_load_text(
    source: *const c_char,
    filter: *const c_char,
    params: *const *const c_char,
    host: c_int,
    out: *mut *mut Handle,
) -> c_int {
    // SAFETY: the caller's promise on `source`.
    let source = unsafe { text(source) };
    // SAFETY: the caller's promises on the rest, passed on.
    unsafe { load(|| handle::compile("text.kf", source?), filter, params, host, out) }
}

/// # Safety
/// As [`kfilter_load`].
unsafe fn load(
    object: impl FnOnce() -> Result<Vec<u8>, Failure>,
    filter: *const c_char,
    params: *const *const c_char,
    host: c_int,
    out: *mut *mut Handle,
) -> c_int {
    let filter = if filter.is_null() {
        Ok(None)
    } else {
        // SAFETY: it is not NULL, and the caller promises a text.
        unsafe { text(filter) }.map(Some)
    };
    // SAFETY: the caller's promise on `params`.
    let params = unsafe { list(params) };
    let handle = || Handle::load(&object()?, filter?, &params?, host);
    // SAFETY: the caller's promise on `out`.
    unsafe { hand_over(handle(), out) }
}

/// Opens a filter that is kept in the kernel.
///
/// # Safety
/// `name` ends with a zero, `out` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_open(name: *const c_char, out: *mut *mut Handle) -> c_int {
    // SAFETY: the caller's promise on `name`.
    let name = unsafe { text(name) };
    // SAFETY: the caller's promise on `out`.
    unsafe { hand_over(name.and_then(Handle::open), out) }
}

/// # Safety
/// `out` may be written, or is NULL.
unsafe fn hand_over(handle: Result<Handle, Failure>, out: *mut *mut Handle) -> c_int {
    if out.is_null() {
        return fail(Failure::bad_input("`out` is NULL"));
    }
    let (pointer, status) = match handle {
        Ok(handle) => (Box::into_raw(Box::new(handle)), OK),
        Err(failure) => (ptr::null_mut(), fail(failure)),
    };
    // SAFETY: it is not NULL, and the caller promises that it may be written.
    unsafe { out.write(pointer) };
    status
}

/// Lets a filter go.
///
/// # Safety
/// `handle` is NULL or came from this library and is used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_close(handle: *mut Handle) {
    if !handle.is_null() {
        // SAFETY: it came from `Box::into_raw` and nobody uses it afterwards.
        drop(unsafe { Box::from_raw(handle) });
    }
}

/// Sweeps once.
///
/// # Safety
/// `handle` is NULL or came from this library and is not in use elsewhere.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_sweep(handle: *mut Handle) -> c_int {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle.as_mut() }) else { return null() };
    handle.sweep().map_or_else(fail, |()| OK)
}

/// Sweeps until something matches.
///
/// # Safety
/// As [`kfilter_sweep`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_poll(
    handle: *mut Handle,
    interval_ms: c_int,
    timeout_ms: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle.as_mut() }) else { return null() };
    let milliseconds = |ms: c_int| u64::try_from(ms).ok().map(Duration::from_millis);
    let interval = milliseconds(interval_ms.max(1)).unwrap_or_default();
    match handle.poll(interval, milliseconds(timeout_ms)) {
        Ok(true) => OK,
        Ok(false) => NOTHING_MATCHED,
        Err(failure) => fail(failure),
    }
}

/// A descriptor for an event loop.
///
/// # Safety
/// As [`kfilter_sweep`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_fd(handle: *mut Handle) -> c_int {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle.as_mut() }) else {
        null();
        return -1;
    };
    handle.descriptor().unwrap_or_else(|failure| {
        fail(failure);
        -1
    })
}

/// The next record.
///
/// # Safety
/// As [`kfilter_sweep`]; `size` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_next(handle: *mut Handle, size: *mut usize) -> *const c_void {
    // SAFETY: the caller's promise.
    let record = unsafe { handle.as_mut() }.and_then(Handle::next_record);
    if !size.is_null() {
        // SAFETY: it is not NULL, and the caller promises that it may be written.
        unsafe { size.write(record.map_or(0, <[u8]>::len)) };
    }
    record.map_or(ptr::null(), |record| record.as_ptr().cast())
}

/// Counters of the last sweep.
///
/// # Safety
/// As [`kfilter_sweep`]; `out` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_stats(handle: *const Handle, out: *mut Stats) -> c_int {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle.as_ref() }) else { return null() };
    if out.is_null() {
        return null();
    }
    // SAFETY: it is not NULL, and the caller promises that it may be written.
    unsafe { out.write(handle.stats().into()) };
    OK
}

/// How many fields a record has.
///
/// # Safety
/// As [`kfilter_sweep`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_fields(handle: *const Handle) -> usize {
    // SAFETY: the caller's promise.
    unsafe { handle.as_ref() }.map_or(0, Handle::field_count)
}

/// A field's name.
///
/// # Safety
/// As [`kfilter_sweep`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_field_name(handle: *const Handle, field: usize) -> *const c_char {
    // SAFETY: the caller's promise.
    let field = unsafe { handle.as_ref() }.and_then(|handle| handle.field(field));
    field.map_or(ptr::null(), |field| field.name.as_ptr())
}

/// A field's type.
///
/// # Safety
/// As [`kfilter_sweep`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_field_type(handle: *const Handle, field: usize) -> *const c_char {
    // SAFETY: the caller's promise.
    let field = unsafe { handle.as_ref() }.and_then(|handle| handle.field(field));
    field.map_or(ptr::null(), |field| field.ty.as_ptr())
}

/// What a field's value is made of.
///
/// # Safety
/// As [`kfilter_sweep`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_field_kind(handle: *const Handle, field: usize) -> c_int {
    // SAFETY: the caller's promise.
    let field = unsafe { handle.as_ref() }.and_then(|handle| handle.field(field));
    field.map_or(-1, |field| field.kind)
}

/// A number of the current record.
///
/// # Safety
/// As [`kfilter_sweep`]; `value` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_integer(
    handle: *const Handle,
    field: usize,
    value: *mut i64,
) -> c_int {
    // SAFETY: the caller's promise.
    let found = unsafe { handle.as_ref() }.and_then(|handle| handle.value(field));
    let number = match found {
        Some(
            Value::Int(number, _)
            | Value::PerSecond(number, _)
            | Value::Enum(number, _)
            | Value::Thread(number),
        ) => number,
        Some(Value::Bool(truth)) => i64::from(truth),
        Some(Value::Text(_) | Value::Object { .. }) | None => return 0,
    };
    if value.is_null() {
        return 0;
    }
    // SAFETY: it is not NULL, and the caller promises that it may be written.
    unsafe { value.write(number) };
    1
}

/// A text of the current record.
///
/// # Safety
/// As [`kfilter_sweep`]; `buffer` has room for `size` bytes, or is NULL when that is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_text(
    handle: *const Handle,
    field: usize,
    buffer: *mut c_char,
    size: usize,
) -> c_long {
    // SAFETY: the caller's promise.
    let found = unsafe { handle.as_ref() }.and_then(|handle| handle.value(field));
    let Some(Value::Text(bytes)) = found else { return -1 };
    if size > 0 && !buffer.is_null() {
        let length = bytes.len().min(size - 1);
        // SAFETY: `buffer` has `size` bytes, and `length` is below that; the two do not
        // overlap, as `bytes` is ours.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr().cast(), buffer, length);
            buffer.add(length).write(0);
        }
    }
    c_long::try_from(bytes.len()).unwrap_or(-1)
}

fn null() -> c_int {
    fail(Failure::bad_input("a NULL pointer"))
}
