//! Where the C library calls us. Rust's own start would do more than we need on every call: ask the kernel for the
//! limits of the stack, watch for its overflow, look at the standard streams, which [`crate::start_up`] does, too.
//! `main.rs` includes this file; it is no part of the library, which others link into programs of their own.

use std::ffi::{OsString, c_char, c_int};

// SAFETY: the one `main` of the one program that includes this file, with the signature that the C library calls.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    keep_memory();
    // The C library has told std of the arguments before it called us.
    let args: Vec<OsString> = std::env::args_os().collect();
    super::run(args)
}

/// We are short-lived and need some hundred kilobytes: asked for at once, and not given back in between.
fn keep_memory() {
    #[cfg(target_env = "gnu")]
    for (what, size) in [(libc::M_TOP_PAD, 512 << 10), (libc::M_TRIM_THRESHOLD, 2 << 20)] {
        // SAFETY: two integers; nobody else allocates meanwhile.
        unsafe { libc::mallopt(what, size) };
    }
}
