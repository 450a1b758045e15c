//! Which cgroup `linux.cgroupsPath` names: pure string work, so that it is known before any directory exists.

use crate::error::{Error, Result};

/// Where a container's cgroup stands in each hierarchy. The text has at least one component, no empty one, no `.`
/// and no `..`, and neither a leading nor a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// From the hierarchy's mount point.
    FromRoot(String),
    /// From the runtime's own cgroup (v1) or that one's parent (v2); see [`super::layout`].
    FromOwn(String),
}

/// runc's rule (`cgroups/internal/path`): an absent or empty path is the container's id, below the runtime's own
/// cgroup; `..` stops at the start, so that nothing escapes.
pub fn place(cgroups_path: Option<&str>, id: &str) -> Result<Place> {
    let wanted = cgroups_path.filter(|p| !p.is_empty());
    let text = wanted.unwrap_or(id);
    let clean = clean(text);
    let refuse =
        |why: String| Error::spec("/linux/cgroupsPath", format!("invalid cgroupsPath {text:?}: {why}"));
    if clean.is_empty() {
        return Err(refuse("it names no cgroup below the root of the hierarchy".into()));
    }
    for part in clean.split('/') {
        if part.len() > 255 {
            return Err(refuse("a component is longer than 255 bytes".into()));
        }
        // The kernel refuses a line feed, which would forge lines of /proc/PID/cgroup: cgroup_mkdir().
        if let Some(c) = part.chars().find(|c| matches!(c, '\0' | '\n')) {
            return Err(refuse(format!("it contains {c:?}")));
        }
    }
    // PATH_MAX, less room for the mount point and the longest file name below.
    if clean.len() > 3840 {
        return Err(refuse(format!("{} bytes are too many", clean.len())));
    }
    Ok(if text.starts_with('/') { Place::FromRoot(clean) } else { Place::FromOwn(clean) })
}

/// The path without empty components, `.` and `..`; `..` at the start stays there. No slash at either end.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            p => parts.push(p),
        }
    }
    parts.join("/")
}

/// Two clean paths in a row, either of which may be empty.
pub fn join(a: &str, b: &str) -> String {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.to_owned(),
        (_, true) => a.to_owned(),
        _ => format!("{a}/{b}"),
    }
}

/// The clean path without its last component.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(p, _)| p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let root = |s: &str| Ok(Place::FromRoot(s.to_owned()));
        let own = |s: &str| Ok(Place::FromOwn(s.to_owned()));
        for (path, want) in [
            (None, own("web-1")),
            (Some(""), own("web-1")),
            (Some("/a/b"), root("a/b")),
            (Some("a/b"), own("a/b")),
            (Some("/../../../../etc"), root("etc")),
            (Some("../../a"), own("a")),
            (Some("a/../../../b"), own("b")),
            (Some("//a///b//./c/"), root("a/b/c")),
            (Some("/"), Err(())),
            (Some("."), Err(())),
            (Some(".."), Err(())),
            (Some("/a/.."), Err(())),
            (Some("a\0b"), Err(())),
            (Some("/a\nb"), Err(())),
        ] {
            assert_eq!(place(path, "web-1").map_err(|_| ()), want, "{path:?}");
        }
        assert!(place(Some(&"x".repeat(256)), "i").is_err());
        assert!(place(Some(&"x/".repeat(3000)), "i").is_err());
        assert!(place(Some(&"x".repeat(255)), "i").is_ok());
    }
}
