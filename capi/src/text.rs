//! Texts and lists of texts as C has them.

use crate::handle::Failure;
use std::ffi::{CStr, c_char};

/// Most parameters that are looked at: a list without its end must not be walked for ever.
const PARAMS_MAX: usize = 256;

/// A text of C's.
///
/// # Safety
/// `pointer` is NULL or points to bytes that end with a zero and live for `'a`.
pub(crate) unsafe fn text<'a>(pointer: *const c_char) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(Failure::bad_input("a text is NULL"));
    }
    // SAFETY: it is not NULL; the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Failure::bad_input("a text is not UTF-8"))
}

/// A list of texts that ends with NULL.
///
/// # Safety
/// `pointer` is NULL or points to pointers as [`text`] takes them, the last of which is NULL.
pub(crate) unsafe fn list<'a>(pointer: *const *const c_char) -> Result<Vec<&'a str>, Failure> {
    let mut texts = Vec::new();
    if pointer.is_null() {
        return Ok(texts);
    }
    for index in 0..PARAMS_MAX {
        // SAFETY: the entries before this one were not NULL, so that the list goes on to it.
        let entry = unsafe { pointer.add(index).read() };
        if entry.is_null() {
            return Ok(texts);
        }
        // SAFETY: the caller's promise on the entries.
        texts.push(unsafe { text(entry) }?);
    }
    Err(Failure::bad_input("more than 256 parameters, or no NULL at their end"))
}
