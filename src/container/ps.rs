//! ps: the processes of a container.

use super::store::Entry;
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::Errno;

/// Pids in the runtime's namespace, sub-cgroups included.
pub fn pids(entry: &Entry) -> Result<Vec<i32>> {
    let record = entry.record()?;
    let cgroup = Cgroup::from_record(&record.cgroup)?;
    let mut pids = match cgroup.all_pids() {
        // A container that has ended may have lost its cgroup to whoever tidies up.
        Err(e) if e.errno() == Some(Errno::ENOENT) && !entry.status(&record).alive() => Vec::new(),
        r => r.within("unable to get all container pids")?,
    };
    pids.sort_unstable();
    Ok(pids)
}

/// The lines of `ps`'s output that are about these processes, and the header.
pub fn filter(output: &str, pids: &[i32]) -> Result<String> {
    let mut lines = output.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|t| t == "PID").ok_or_else(|| {
        Error::new(Kind::Usage, "couldn't find PID field in ps output")
            .hint("the options for ps must let it print the PID column")
    })?;
    let mut out = format!("{header}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|p| p.parse::<i32>().ok());
        if pid.is_some_and(|p| pids.contains(&p)) {
            out.push_str(line);
            out.push('\n');
        }
    }
    Ok(out)
}
