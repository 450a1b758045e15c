//! Writing the id maps of a new user namespace: by ourselves, or by those who may.

use std::ffi::CString;
use std::time::Duration;

use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::hooks::{self, Hook};
use crate::plan::idmap::{IdMaps, Of, Writer, ranges};
use crate::sys::{cred, fs};

/// A helper reads two files and writes one; the name service behind it may be slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Before the process needs its ids, and before it hides: what /proc shows of who hides is root's alone.
pub fn write(maps: &IdMaps, pid: i32) -> Result<()> {
    if maps.is_empty() {
        return Ok(());
    }
    one(maps, &maps.uid_writer, Of::Uids, pid)?;
    if maps.deny_setgroups {
        let path = format!("/proc/{pid}/setgroups");
        let deny = || fs::write_once(fs::open(&path, fs::OFlag::O_WRONLY)?, b"deny");
        deny().on("write", "setgroups (deny)")?;
    }
    one(maps, &maps.gid_writer, Of::Gids, pid)
}

fn one(maps: &IdMaps, writer: &Writer, of: Of, pid: i32) -> Result<()> {
    match writer {
        Writer::Main => maps.write(of, pid).map_err(|e| {
            e.pointer(of.pointer()).hint(
                "the ids outside must be ours or mapped in our own user namespace, and to map its id 0 takes CAP_SETFCAP",
            )
        }),
        Writer::Helper(path) => help(maps, path, of, pid).map_err(|e| e.pointer(of.pointer())),
    }
}

fn help(maps: &IdMaps, path: &CString, of: Of, pid: i32) -> Result<()> {
    let word = |n: String| CString::new(n).map_err(|_| Error::bug("NUL in a number"));
    let mut argv = vec![path.clone(), word(pid.to_string())?];
    for (inside, outside, count) in ranges(maps.lines(of)) {
        argv.extend([word(inside.to_string())?, word(outside.to_string())?, word(count.to_string())?]);
    }
    let program = Hook { path: path.clone(), argv, env: Vec::new(), timeout: Some(PATIENCE) };
    let said = hooks::program(&program);
    said.map_err(|e| e.hint(advice(maps, of)).of_kind(Kind::Denied))
        .within_with(|| format!("{} failed", of.helper()))
}

/// The first range that was not given to us, and where that is done.
fn advice(maps: &IdMaps, of: Of) -> String {
    let id = if of == Of::Uids { cred::getuid() } else { cred::getegid() };
    let user = user_name();
    let table = fs::read_file(of.grants(), 16 << 20).unwrap_or_default();
    let granted = grants(&String::from_utf8_lossy(&table), &user, &cred::getuid().to_string());
    match ranges(maps.lines(of))
        .find(|(_, first, count)| !((*first, *count) == (id, 1) || within(*first, *count, &granted)))
    {
        Some((_, first, count)) => {
            let has: Vec<String> = granted
                .iter()
                .map(|(f, n)| format!("{f} to {}", f.saturating_add(n.saturating_sub(1))))
                .collect();
            let has = if has.is_empty() { "nothing".into() } else { has.join(", ") };
            format!(
                "{} gives {user} {has}: map those, or have root add the line {user}:{first}:{count}",
                of.grants()
            )
        }
        None => format!(
            "{} gives {user} these ids, so {} lacks its setuid bit or capability, or no_new_privs takes it away",
            of.grants(),
            of.helper()
        ),
    }
}

/// First id, and how many: subuid(5). A line is for a name or for a number.
fn grants(table: &str, user: &str, uid: &str) -> Vec<(u64, u64)> {
    let of = |line: &str| {
        let mut fields = line.trim().splitn(3, ':');
        let who = fields.next()?;
        let (first, count) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
        ((who == user || who == uid) && count > 0).then_some((first, count))
    };
    table.lines().filter_map(of).collect()
}

fn within(first: u32, count: u32, granted: &[(u64, u64)]) -> bool {
    let first = u64::from(first);
    let end = first.saturating_add(count.into());
    granted.iter().any(|(f, n)| *f <= first && end <= f.saturating_add(*n))
}

/// Of passwd(5); else the number, which those files take as well.
fn user_name() -> String {
    let uid = cred::getuid().to_string();
    let table = fs::read_file("/etc/passwd", 16 << 20).unwrap_or_default();
    let table = String::from_utf8_lossy(&table).into_owned();
    let named = table.lines().find_map(|l| {
        let mut fields = l.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    named.unwrap_or(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_to_a_user() {
        let table = "other:1:5\nsailor:100000:65536\n1000:7:1\nsailor:x:1\nsailor:5\n\nsailor:9:0\n";
        let granted = grants(table, "sailor", "1000");
        assert_eq!(granted, [(100_000, 65536), (7, 1)]);
        for (first, count, want) in [
            (100_000, 65536, true),
            (100_001, 65536, false),
            (7, 1, true),
            (7, 2, false),
            (u32::MAX, u32::MAX, false),
        ] {
            assert_eq!(within(first, count, &granted), want, "{first} {count}");
        }
    }
}
