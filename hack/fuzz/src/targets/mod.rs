pub mod cgroups;
pub mod devices;
pub mod documents;
pub mod handshake;
pub mod seccomp;
pub mod words;

use orlop::error::Error;

/// What holds of every error: one line, short enough to be read, that the log can carry too.
pub fn judge(e: &Error) {
    let text = e.to_string();
    assert!(!text.is_empty());
    assert!(!text.contains(['\n', '\r', '\0', '\x1b']), "more than a line: {text:?}");
    let wire = serde_json::to_vec(e).expect("an error crosses the process border");
    let back: Error = serde_json::from_slice(&wire).expect("and comes back");
    assert_eq!(back.to_string(), text);
    let _ = e.facts();
}

pub fn judged<T>(r: Result<T, Error>) -> Option<T> {
    r.map_err(|e| judge(&e)).ok()
}
