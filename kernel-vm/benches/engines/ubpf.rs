//! uBPF beside the others, when `KFILTER_UBPF` names its shared library.
//!
//! Built elsewhere, opened here: no code of it is needed to build or to run the other engines.
#![allow(unsafe_code, reason = "a C library has no safe interface")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;

type Vm = *mut c_void;
type Create = unsafe extern "C" fn() -> Vm;
type Load = unsafe extern "C" fn(Vm, *const c_void, u32, *mut *mut c_char) -> c_int;
type Toggle = unsafe extern "C" fn(Vm, bool) -> bool;
type Exec = unsafe extern "C" fn(Vm, *mut c_void, usize, *mut u64) -> c_int;
type Compiled = unsafe extern "C" fn(*mut c_void, usize) -> u64;
type Compile = unsafe extern "C" fn(Vm, *mut *mut c_char) -> Option<Compiled>;

/// The library's functions that the bench calls, by their declarations in `ubpf.h`.
pub(crate) struct Library {
    create: Create,
    load: Load,
    toggle_bounds_check: Toggle,
    exec: Exec,
    compile: Compile,
}

impl Library {
    /// The library that `KFILTER_UBPF` names; `None` when it names none.
    pub(crate) fn open() -> Option<Self> {
        let path = std::env::var("KFILTER_UBPF").ok()?;
        let name = CString::new(path.as_str()).expect("a path has no zero byte");
        // SAFETY: the string ends with a zero byte; what the library does when it is opened is
        // trusted by whoever named it.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        let handle = NonNull::new(handle).unwrap_or_else(|| panic!("{path} is no library"));
        let symbol = |name: &CStr| {
            // SAFETY: the handle is open and stays so; the name ends with a zero byte.
            let found = unsafe { libc::dlsym(handle.as_ptr(), name.as_ptr()) };
            NonNull::new(found).unwrap_or_else(|| panic!("{path} has no {name:?}")).as_ptr()
        };
        // SAFETY: the symbols are functions of these types, as `ubpf.h` declares them.
        let library = unsafe {
            Self {
                create: std::mem::transmute::<*mut c_void, Create>(symbol(c"ubpf_create")),
                load: std::mem::transmute::<*mut c_void, Load>(symbol(c"ubpf_load")),
                toggle_bounds_check: std::mem::transmute::<*mut c_void, Toggle>(symbol(
                    c"ubpf_toggle_bounds_check",
                )),
                exec: std::mem::transmute::<*mut c_void, Exec>(symbol(c"ubpf_exec")),
                compile: std::mem::transmute::<*mut c_void, Compile>(symbol(c"ubpf_compile")),
            }
        };
        Some(library)
    }

    /// A machine with `program` in it, its accesses checked by the interpreter or not.
    ///
    /// It lives as long as the process: a bench has three.
    pub(crate) fn machine(&self, program: &[u8], checks: bool) -> Machine {
        let length = u32::try_from(program.len()).expect("a short program");
        let mut message = std::ptr::null_mut();
        // SAFETY: the machine is the library's own; the program is read during the calls only.
        let (vm, loaded) = unsafe {
            let vm = (self.create)();
            (self.toggle_bounds_check)(vm, checks);
            (vm, (self.load)(vm, program.as_ptr().cast(), length, &raw mut message))
        };
        assert_eq!(loaded, 0, "uBPF does not take the program");
        // SAFETY: the machine holds a program.
        let compiled = unsafe { (self.compile)(vm, &raw mut message) };
        Machine { vm, exec: self.exec, compiled: compiled.expect("uBPF compiles the program") }
    }
}

/// A program of uBPF's.
pub(crate) struct Machine {
    vm: Vm,
    exec: Exec,
    compiled: Compiled,
}

impl Machine {
    /// Its interpreter.
    pub(crate) fn interpret(&self, row: &mut [u8]) -> u64 {
        let mut result = 0;
        // SAFETY: the machine is loaded; the row is what its length says, and the programs of
        // this bench stay within it and their stack, as our verifier has proven.
        let status =
            unsafe { (self.exec)(self.vm, row.as_mut_ptr().cast(), row.len(), &raw mut result) };
        assert_eq!(status, 0, "uBPF runs the program");
        result
    }

    /// Its machine code.
    pub(crate) fn run_compiled(&self, row: &mut [u8]) -> u64 {
        // SAFETY: as for `interpret`.
        unsafe { (self.compiled)(row.as_mut_ptr().cast(), row.len()) }
    }
}
