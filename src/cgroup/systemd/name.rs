//! Which unit `linux.cgroupsPath` names under systemd's driver: `slice:prefix:name`, pure string work.

use serde::{Deserialize, Serialize};

use crate::cgroup::path;
use crate::error::{Error, Result};

/// A container's unit, and where it hangs: part of the container's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// `libpod-1234.scope`.
    pub unit: String,
    /// As systemd knows it: `a-b.slice`.
    pub slice: String,
    /// Of the user's systemd instead of the system's.
    #[serde(default)]
    pub user: bool,
}

/// systemd's limit of a unit's name, UNIT_NAME_MAX.
const LONGEST: usize = 255;

impl Scope {
    /// runc's rule and defaults; its prefix too, as what lists units by it knows them so.
    pub fn plan(cgroups_path: Option<&str>, id: &str, user: bool) -> Result<Self> {
        let (slice, prefix, name) = match cgroups_path.filter(|p| !p.is_empty()) {
            None => ("", "runc", id),
            Some(text) => match text.split(':').collect::<Vec<_>>()[..] {
                [slice, prefix, name] => (slice, prefix, name),
                _ => {
                    return Err(refuse(format!(
                        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {text:?} instead"
                    )));
                }
            },
        };
        let slice = match slice {
            "" if user => "user.slice",
            "" => "system.slice",
            s => s,
        };
        if name.is_empty() {
            return Err(refuse("the third part of cgroupsPath names no unit".into()));
        }
        if name.ends_with(".slice") {
            let text =
                format!("{name} is a slice, which holds no processes itself: a container needs a scope");
            return Err(refuse(text));
        }
        let scope = Self { unit: format!("{prefix}-{name}.scope"), slice: slice.to_owned(), user };
        scope.check()?;
        Ok(scope)
    }

    /// Also of a record, which may have been tampered with.
    pub fn check(&self) -> Result<()> {
        check_name(&self.unit)?;
        if !self.unit.ends_with(".scope") {
            return Err(refuse(format!("{:?} is no scope", self.unit)));
        }
        expand(&self.slice).map(|_| ())
    }

    /// The scope's cgroup below that of its manager.
    pub fn below(&self) -> Result<String> {
        Ok(path::join(&expand(&self.slice)?, &self.unit))
    }
}

fn refuse(text: String) -> Error {
    Error::spec("/linux/cgroupsPath", text)
}

/// systemd's own rule, unit_name_is_valid(), and no `..`, which it allows.
fn check_name(name: &str) -> Result<()> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    if let Some(c) = name.chars().find(|c| !u8::try_from(*c).is_ok_and(known)) {
        return Err(refuse(format!("invalid unit name {name:?}: it contains {c:?}")));
    }
    if name.contains("..") || name.len() > LONGEST {
        return Err(refuse(format!("invalid unit name {name:?}")));
    }
    Ok(())
}

/// `a-b-c.slice` is `a.slice/a-b.slice/a-b-c.slice`; `-.slice` is the root. systemd.slice(5).
pub fn expand(slice: &str) -> Result<String> {
    let bad = || refuse(format!("invalid slice name: {slice}"));
    check_name(slice)?;
    let name = slice.strip_suffix(".slice").ok_or_else(bad)?;
    if name == "-" {
        return Ok(String::new());
    }
    let mut path = String::new();
    let mut prefix = String::new();
    for component in name.split('-') {
        if component.is_empty() {
            return Err(bad());
        }
        prefix.push_str(component);
        path = path::join(&path, &format!("{prefix}.slice"));
        prefix.push('-');
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices() {
        for (slice, want) in [
            ("system.slice", Some("system.slice")),
            ("test-a-b.slice", Some("test.slice/test-a.slice/test-a-b.slice")),
            ("-.slice", Some("")),
            (".slice", None),
            ("-a.slice", None),
            ("a--b.slice", None),
            ("a-.slice", None),
            ("a/b.slice", None),
            ("../a.slice", None),
            ("a..slice", None),
            ("a", None),
            ("", None),
            ("a\0.slice", None),
        ] {
            assert_eq!(expand(slice).ok().as_deref(), want, "{slice:?}");
        }
    }

    #[test]
    fn paths_and_defaults() {
        for (path, user, want) in [
            (None, false, Some(("system.slice", "runc-id.scope", "system.slice/runc-id.scope"))),
            (Some(""), true, Some(("user.slice", "runc-id.scope", "user.slice/runc-id.scope"))),
            (
                Some("a-b.slice:libpod:1"),
                false,
                Some(("a-b.slice", "libpod-1.scope", "a.slice/a-b.slice/libpod-1.scope")),
            ),
            (Some(":p:n"), false, Some(("system.slice", "p-n.scope", "system.slice/p-n.scope"))),
            (Some("-.slice::n"), false, Some(("-.slice", "-n.scope", "-n.scope"))),
            (Some("/a/b"), false, None),
            (Some("a:b"), false, None),
            (Some("a.slice:b:c:d"), false, None),
            (Some("a.slice:b:"), false, None),
            (Some("a.slice:b:x.slice"), false, None),
            (Some("a:b:c"), false, None),
            (Some("a.slice:../b:c"), false, None),
            (Some("a.slice:b:.."), false, None),
            (Some("a.slice:b:c\nd"), false, None),
            (Some("a.slice:b:c+d"), false, None),
        ] {
            let got = Scope::plan(path, "id", user).ok();
            let below = got.as_ref().map(|s| s.below().unwrap_or_default());
            let got = got.map(|s| (s.slice, s.unit, below.unwrap_or_default()));
            let want = want.map(|(a, b, c): (&str, &str, &str)| (a.into(), b.into(), c.into()));
            assert_eq!(got, want, "{path:?}");
        }
        assert!(Scope::plan(Some(&format!(":p:{}", "x".repeat(4096))), "id", false).is_err());
    }
}
