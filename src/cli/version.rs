use std::ffi::OsString;

use crate::error::Result;
use crate::plan::seccomp;

/// `--version` or `-v` before any verb: clap would want the verb as well.
pub fn asked_for(args: &[OsString]) -> bool {
    args.iter()
        .skip(1)
        .take_while(|a| a.as_encoded_bytes().starts_with(b"-"))
        .any(|a| a == "--version" || a == "-v")
}

/// Lines as runc writes them: Docker and containerd parse the first three.
pub fn print() -> Result<i32> {
    let commit = option_env!("ORLOP_COMMIT").unwrap_or("unknown");
    print_lines(env!("CARGO_PKG_VERSION"), commit)
}

fn print_lines(version: &str, commit: &str) -> Result<i32> {
    let text = format!(
        "orlop version {version}\ncommit: {commit}\nspec: 1.3.0\nlibseccomp: {}\n",
        seccomp::version()
    );
    super::print(text.as_bytes())
}
