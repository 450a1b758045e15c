//! Seal, parse, dispatch, and the exit status.

#![no_main]

#[path = "sys/entry.rs"]
mod entry;

fn run(args: Vec<std::ffi::OsString>) -> i32 {
    match orlop::start_up(&args) {
        Ok(()) => orlop::cli::main(args),
        Err(e) => {
            #[expect(clippy::print_stderr, reason = "where the one line of an error goes")]
            {
                eprintln!("{e}");
            }
            1
        }
    }
}
