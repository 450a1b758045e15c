//! `skips.toml` and `differences.toml`: what is known beforehand about a test, by its name `room::test`.
//!
//! Both are TOML of the simplest kind, one `"room::test" = "explanation"` on a line. A skip that is not foreseen fails,
//! and so does a foreseen one that did not happen; the same holds for differences of the reference.

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub type Ledger = BTreeMap<String, String>;

pub static SKIPS: LazyLock<Ledger> = LazyLock::new(|| {
    parse(match std::env::var("ITEST_MACHINE").as_deref() {
        Ok("vm") => include_str!("../skips-vm.toml"),
        Ok("selinux") => include_str!("../skips-selinux.toml"),
        _ => include_str!("../skips.toml"),
    })
});
pub static DIFFERENCES: LazyLock<Ledger> = LazyLock::new(|| parse(include_str!("../differences.toml")));

/// What comes of the runtime without some system calls, by `calls:errno`: "works", or "refuses VERB: TEXT". And, by
/// `calls:errno room::test`, why that test cannot pass then.
pub static MISSING: LazyLock<Ledger> = LazyLock::new(|| parse(include_str!("../missing.toml")));

/// Why a test cannot pass without these system calls, or without any.
pub fn missing(what: &str, test: &str) -> Option<&'static String> {
    MISSING.get(&format!("{what} {test}")).or_else(|| MISSING.get(&format!("* {test}")))
}

fn parse(text: &str) -> Ledger {
    let entries = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    entries
        .map(|line| {
            let parts: Vec<&str> = line.splitn(5, '"').collect();
            match parts[..] {
                ["", test, " = ", reason, ""] => (test.to_string(), reason.to_string()),
                _ => panic!("not `\"test\" = \"reason\"`: {line}"),
            }
        })
        .collect()
}

/// What a test throws to end as skipped.
pub struct Skip(pub String);

/// See `skip!`.
pub fn skip(reason: String) -> ! {
    std::panic::resume_unwind(Box::new(Skip(reason)))
}

/// Tells it past the test harness's capture, and notes it for `check-skips`.
pub fn record(kind: &str, test: &str, reason: &str) {
    use std::io::Write;
    note(kind, test, reason);
    let _ = writeln!(std::io::stderr(), "{} {test}: {reason}", kind.to_uppercase());
}

/// Leaves a note in the folder that `run` has made.
pub fn note(kind: &str, test: &str, text: &str) {
    if let Some(records) = std::env::var_os("ITEST_RECORDS") {
        let folder = std::path::Path::new(&records).join(kind);
        std::fs::create_dir_all(&folder).expect("the folder for records");
        std::fs::write(folder.join(test), text).expect("a record");
    }
}
