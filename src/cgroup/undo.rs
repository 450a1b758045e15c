//! What a limit was before it was written, and the way back.

use crate::error::Error;

use super::dir::Dir;
use super::write::{Missing, Write};

/// One value to write back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    file: String,
    value: String,
}

/// What takes `w` back, in the order in which it must be written. Empty where the file cannot be read: then it can
/// hardly be written either.
pub fn before(dir: &Dir, w: &Write) -> Vec<Before> {
    let read = |file: &str| dir.read_all(file).ok();
    let (file, value, text) = match (read(&w.file), &w.missing) {
        (Some(text), _) => (w.file.to_string(), &w.value, text),
        (None, Missing::Instead(file, value)) => match read(file) {
            Some(text) => (file.to_string(), value, text),
            None => return Vec::new(),
        },
        (None, _) => return Vec::new(),
    };
    let mut all: Vec<Before> =
        previous(&file, &text, value).into_iter().map(|value| Before { file: file.clone(), value }).collect();
    // The kernel forgets the weight of a cgroup that is made idle: sched_group_set_idle().
    if file == "cpu.idle" && text.trim() == "0" {
        for weight in ["cpu.shares", "cpu.weight"] {
            all.extend(read(weight).map(|t| Before { file: weight.into(), value: t.trim().to_owned() }));
        }
    }
    all
}

/// The values that make a file read `text` again once `value` has been written to it.
fn previous(file: &str, text: &str, value: &str) -> Vec<String> {
    let is_keyed = file.starts_with("io.")
        || file.ends_with("_device")
        || matches!(file, "rdma.max" | "net_prio.ifpriomap");
    if is_keyed {
        return value.lines().map(|line| keyed(file, text, line)).collect();
    }
    let one = match file {
        // Several lines, of which one can be written, without its name.
        "memory.oom_control" => text.lines().find_map(|l| l.strip_prefix("oom_kill_disable ")).unwrap_or("0"),
        _ => text.trim(),
    };
    // An empty write would be none at all.
    vec![if one.is_empty() { "\n".to_owned() } else { one.to_owned() }]
}

/// A file with one line a device or interface, and perhaps a default.
fn keyed(file: &str, text: &str, line: &str) -> String {
    let first = |l: &str| l.split_whitespace().next().map(str::to_owned);
    let key = first(line).unwrap_or_default();
    let has_key = line.trim() != key;
    let old = match has_key {
        true => text.lines().find(|l| first(l).as_deref() == Some(&key)).map(str::to_owned),
        false => text
            .lines()
            .find_map(|l| l.strip_prefix("default ").or((!l.contains(' ')).then_some(l)))
            .map(str::to_owned),
    };
    old.unwrap_or_else(|| match line.split_once('=') {
        // Not listed: as if it had never been named.
        Some((setting, _)) if file == "io.max" => format!("{setting}=max"),
        _ if file.starts_with("io.") && file.ends_with("weight") => format!("{key} default"),
        _ => format!("{key} 0"),
    })
}

/// Writes all back, the last first. What cannot be is told beside the error.
pub fn take_back(done: Vec<(&Dir, Vec<Before>)>, e: Error) -> Error {
    let mut stuck = Vec::new();
    for (dir, before) in done.iter().rev() {
        for b in before {
            if let Err(errno) = dir.write(&b.file, &b.value) {
                stuck.push(format!("{} could not be set back to {:?} ({errno})", b.file, b.value));
            }
        }
    }
    if stuck.is_empty() { e } else { e.within(stuck.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::previous;

    #[test]
    fn what_makes_it_as_it_was() {
        for (file, text, value, want) in [
            ("memory.max", "max\n", "4096", "max"),
            ("memory.limit_in_bytes", "9223372036854771712\n", "4096", "9223372036854771712"),
            ("cpu.max", "max 100000\n", "5000 10000", "max 100000"),
            ("cpuset.cpus", "\n", "0", "\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "1", "0"),
            (
                "io.max",
                "8:0 rbps=7 wbps=max riops=max wiops=max\n",
                "8:0 rbps=1",
                "8:0 rbps=7 wbps=max riops=max wiops=max",
            ),
            ("io.max", "", "8:0 rbps=1", "8:0 rbps=max"),
            ("io.weight", "default 100\n8:0 50\n", "4950", "100"),
            ("io.weight", "default 100\n8:0 50\n", "8:0 10", "8:0 50"),
            ("io.bfq.weight", "default 100\n", "8:0 10", "8:0 default"),
            ("blkio.throttle.read_bps_device", "8:16 5\n", "8:0 1", "8:0 0"),
            ("blkio.throttle.read_bps_device", "8:16 5\n8:0 2\n", "8:0 1", "8:0 2"),
            ("net_prio.ifpriomap", "lo 0\neth0 5\n", "eth0 7", "eth0 5"),
            (
                "rdma.max",
                "mlx hca_handle=max hca_object=2\n",
                "mlx hca_handle=3",
                "mlx hca_handle=max hca_object=2",
            ),
        ] {
            assert_eq!(previous(file, text, value), [want], "{file} {value}");
        }
    }
}
