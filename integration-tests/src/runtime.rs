//! Which runtime is under test.

use std::path::PathBuf;
use std::sync::LazyLock;

static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let chosen = std::env::var("RUNTIME").unwrap_or_default();
    let path = match chosen.as_str() {
        "" | "orlop" => match std::env::var_os("ORLOP_BIN") {
            Some(path) => PathBuf::from(path),
            None => crate::workspace().join("target/x86_64-unknown-linux-gnu/release/orlop"),
        },
        word if word.contains('/') => PathBuf::from(word),
        word => {
            let ours = crate::workspace().join(".cache/peers/bin").join(word);
            if ours.exists() { ours } else { in_path(word) }
        }
    };
    assert!(path.exists(), "no runtime at {}: build it, or choose another with RUNTIME", path.display());
    path.canonicalize().expect("a canonical path")
});

fn in_path(word: &str) -> PathBuf {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|dir| dir.join(word))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{word} is neither in .cache/peers/bin nor in PATH"))
}

/// The runtime's program.
pub fn binary() -> PathBuf {
    BINARY.clone()
}

/// Its file name, by which the ledgers know it.
pub fn name() -> String {
    BINARY.file_name().expect("a file name").to_string_lossy().into_owned()
}

/// Whether this is the runtime that we measure ourselves against; differences are then looked up in their ledger.
pub fn is_reference() -> bool {
    name() == "runc"
}
