//! The probe: the only program in the test containers' rootfs besides busybox.
//!
//! `probe facts [request…]` prints one JSON document about the process it has become; the other words are behaviours
//! (`probe exit 3`, `probe wait`, …). It has its own `main` in C's sense, since Rust's start-up code would ignore SIGPIPE
//! and open missing standard descriptors before we could look.

#![no_main]

mod acts;
mod facts;
mod kernel;
mod without;

use std::ffi::{CStr, c_char, c_int};

/// # Safety
/// Called by the C runtime only, with what the kernel handed over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let fds = facts::open_descriptors();
    let args: Vec<String> = (0..argc as usize)
        .map(|i| {
            // SAFETY: the kernel hands over `argc` valid C strings.
            let arg = unsafe { CStr::from_ptr(*argv.add(i)) };
            arg.to_string_lossy().into_owned()
        })
        .collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match words.split_first() {
        Some((&"facts", requests)) => facts::print(&args, fds, requests),
        Some((&"without", rest)) => without::run(rest),
        Some((act, rest)) => acts::perform(act, rest, fds),
        None => {
            eprintln!("probe: say what to do");
            2
        }
    }
}
