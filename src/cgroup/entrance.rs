//! How a process of `exec` comes into a container's cgroup, or into a cgroup below it.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::{Cgroup, Dir, Door, Tree, path, v1};
use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::fs::{self, OFlag};
use crate::sys::process::Pid;

/// One `--cgroup [CONTROLLER:]PATH`: a cgroup below the container's that is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sub {
    /// `None`: of every hierarchy.
    pub controller: Option<String>,
    pub path: String,
}

/// What the process is born in, and the doors that it goes through by itself.
#[derive(Debug, Default)]
pub struct Entrance {
    /// For `CLONE_INTO_CGROUP`.
    pub birthplace: Option<OwnedFd>,
    /// First of all.
    pub first: Vec<Door>,
    /// When it forks no more: a container at its limit of pids can be entered, but nothing can fork in it.
    pub last: Vec<Door>,
}

/// The ways in, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Born there, where the v2 tree has it.
    Birth,
    /// Moved there: the kernel limits births but not moves.
    Move,
    /// v2: to where the container's init is now. A cgroup with children that have controllers holds no processes of
    /// its own, and an init that may has moved itself below.
    BesideInit(Pid),
    /// Brought there by the user's systemd, from where the user may not move a process himself: out of a session, say,
    /// which is not below his systemd.
    Brought,
    /// v2: nowhere. As runc, where an ordinary user may not enter the cgroup, or there is none.
    Stay,
}

/// The values of `--cgroup`, under runc's rules.
pub fn subs(values: &[String]) -> Result<Vec<Sub>> {
    let bad = |text: String| Err(Error::new(Kind::Usage, text));
    let mut all: Vec<Sub> = Vec::new();
    for value in values {
        let Some((controllers, path)) = value.split_once(':') else {
            if values.len() != 1 {
                return bad(format!("invalid --cgroup argument: {value} (missing <controller>: prefix)"));
            }
            return Ok(vec![Sub { controller: None, path: below(value)? }]);
        };
        for c in controllers.split(',') {
            if c.is_empty() {
                return bad(format!("invalid --cgroup argument: {value} (empty <controller> prefix)"));
            }
            if all.iter().any(|s| s.controller.as_deref() == Some(c)) {
                return bad(format!("invalid --cgroup argument(s): controller {c} specified multiple times"));
            }
            all.push(Sub { controller: Some(c.to_owned()), path: below(path)? });
        }
    }
    Ok(all)
}

/// A clean path that cannot lead out of the container's cgroup.
fn below(sub: &str) -> Result<String> {
    let clean = path::clean(sub);
    if path::clean(&format!("x/{sub}")) != path::join("x", &clean) || sub.contains('\0') {
        return Err(Error::new(Kind::Usage, format!("bad sub cgroup path: {sub}")));
    }
    Ok(clean)
}

impl Cgroup {
    /// Opens the way in. `None`: there is no such way here.
    pub fn entrance(&self, subs: &[Sub], way: Way) -> Result<Option<Entrance>> {
        match &self.tree {
            Tree::V1(h) => match way {
                Way::Birth => v1_entrance(h, subs, true).map(Some),
                Way::Move => v1_entrance(h, subs, false).map(Some),
                Way::BesideInit(_) | Way::Brought | Way::Stay => Ok(None),
            },
            Tree::V2(_) if way == Way::Stay => {
                Ok((subs.is_empty() && self.forgives()).then(Entrance::default))
            }
            Tree::V2(_) if way == Way::Brought => Ok(self.can_bring().then(Entrance::default)),
            Tree::V2(t) => v2_entrance(t.planned(), subs, way),
            Tree::None if subs.is_empty() => Ok((way == Way::Birth).then(Entrance::default)),
            Tree::None => Err(Error::new(Kind::Usage, "--cgroup: the container has no cgroup of its own")),
        }
    }
}

impl Cgroup {
    /// Has it a systemd of the user's, for [`Way::Brought`]?
    pub fn can_bring(&self) -> bool {
        self.driver.as_ref().is_some_and(|d| d.scope().user)
    }

    /// The rest of [`Way::Brought`], when the process is there.
    pub fn bring(&self, subs: &[Sub], pid: Pid) -> Result<()> {
        let Some(driver) = &self.driver else { return Ok(()) };
        driver.attach(subs.first().map_or("", |s| &s.path), pid)
    }
}

fn v1_entrance(h: &v1::Hierarchies, subs: &[Sub], born: bool) -> Result<Entrance> {
    let named = subs.iter().filter_map(|s| s.controller.as_deref());
    if let Some(unknown) = named.into_iter().find(|c| h.dir(c).is_none()) {
        return Err(Error::new(Kind::Usage, format!("unknown controller {unknown} in --cgroup option")));
    }
    let mut entrance = Entrance::default();
    for m in h.members().iter().filter(|m| !m.dir.is_absent()) {
        let sub = subs.iter().find(|s| s.controller.as_deref().is_none_or(|c| m.has(c)));
        let dir = sub.map(|s| m.dir.below(&s.path));
        let dir = dir.as_ref().unwrap_or(&m.dir);
        let path = dir.path().join("tasks");
        let optional = sub.is_none() && h.spares(m);
        match dir.door().on("open", path.display()) {
            Ok(fd) => {
                let doors = if m.has("pids") { &mut entrance.last } else { &mut entrance.first };
                doors.push(Door { fd, path, optional });
            }
            Err(_) if optional => {}
            Err(e) => return Err(e.hint(SUB_HINT)),
        }
    }
    if let Some(unified) = h.unified() {
        let path = unified.path().join("cgroup.procs");
        match born {
            true => entrance.birthplace = open(unified.path()).ok(),
            // Nothing is limited there, but the container is killed through it.
            false => entrance.last.extend(
                fs::open(&path, OFlag::O_WRONLY | OFlag::O_NOFOLLOW).ok().map(|fd| Door {
                    fd,
                    path,
                    optional: true,
                }),
            ),
        }
    }
    Ok(entrance)
}

const SUB_HINT: &str = "a process can enter a cgroup only while it exists; --cgroup does not make one";

fn v2_entrance(dir: &Dir, subs: &[Sub], way: Way) -> Result<Option<Entrance>> {
    if subs.iter().any(|s| s.controller.is_some()) {
        return Err(Error::new(Kind::Usage, "cgroup v2 only supports sub-cgroup paths without a controller"));
    }
    let below = subs.first().map(|s| dir.below(&s.path));
    let path = below.as_ref().unwrap_or(dir).path();
    let birthplace = match way {
        Way::Birth => open(&path).on("open", path.display()).map_err(|e| e.hint(SUB_HINT))?,
        Way::Move => {
            let path = path.join("cgroup.procs");
            let fd = fs::open(&path, OFlag::O_WRONLY | OFlag::O_NOFOLLOW).on("open", path.display())?;
            return Ok(Some(Entrance {
                last: vec![Door { fd, path, optional: false }],
                ..Entrance::default()
            }));
        }
        Way::BesideInit(pid) if subs.is_empty() => {
            let text = fs::read_file(format!("/proc/{pid}/cgroup"), 1 << 16)
                .on("read", format!("/proc/{pid}/cgroup"))?;
            let text = String::from_utf8_lossy(&text);
            let Some(place) = text.lines().find_map(|l| l.strip_prefix("0::/")) else { return Ok(None) };
            let path = dir.mountpoint().join(place);
            open(&path).on("open", path.display())?
        }
        Way::BesideInit(_) | Way::Brought | Way::Stay => return Ok(None),
    };
    Ok(Some(Entrance { birthplace: Some(birthplace), ..Entrance::default() }))
}

fn open(path: impl AsRef<Path>) -> crate::sys::Result<OwnedFd> {
    fs::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_flag() {
        let show = |values: &[&str]| {
            let values: Vec<_> = values.iter().map(|v| (*v).to_owned()).collect();
            match subs(&values) {
                Ok(all) => all
                    .iter()
                    .map(|s| format!("{}={}", s.controller.as_deref().unwrap_or("*"), s.path))
                    .collect::<Vec<_>>()
                    .join(" "),
                Err(e) => e.to_string(),
            }
        };
        let twice = "invalid --cgroup argument(s): controller cpu specified multiple times";
        for (values, want) in [
            (&["foo"][..], "*=foo"),
            (&["/a/../b"], "*=b"),
            (&["cpu,cpuacct:x", "pids:y"], "cpu=x cpuacct=x pids=y"),
            (&["a", "b"], "invalid --cgroup argument: a (missing <controller>: prefix)"),
            (&[":x"], "invalid --cgroup argument: :x (empty <controller> prefix)"),
            (&["cpu:x", "cpu:y"], twice),
            (&[".."], "bad sub cgroup path: .."),
            (&["cpu:a/../../b"], "bad sub cgroup path: a/../../b"),
        ] {
            assert_eq!(show(values), want, "{values:?}");
        }
    }
}
