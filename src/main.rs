//! Seal, parse, dispatch, and the exit status.

use std::ffi::OsString;

fn main() {
    let args: Vec<OsString> = std::env::args_os().collect();
    let status = match orlop::start_up(&args) {
        Ok(()) => orlop::cli::main(args),
        Err(e) => {
            eprintln!("{e}");
            1
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the end of main: no guard is left")]
    std::process::exit(status);
}
