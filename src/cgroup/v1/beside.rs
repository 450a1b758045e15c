//! Controllers that a hybrid machine keeps in the v2 tree, mostly hugetlb: they are limited there, in v2's terms. runc
//! refuses such a limit; the kernel would keep it.

use oci_spec::runtime::LinuxResources;

use super::Hierarchies;
use crate::cgroup::dir::Dir;
use crate::cgroup::v2;
use crate::cgroup::write::Write;
use crate::error::Result;

/// v1's name of a controller, and v2's.
fn in_v2(controller: &str) -> &str {
    if controller == "blkio" { "io" } else { controller }
}

/// The writes of v1, those that no hierarchy of v1 takes in the words of the tree beside if that does.
pub fn translated(h: &Hierarchies, r: &LinuxResources, all: Vec<Write>) -> Result<Vec<Write>> {
    let lacks = |w: &&Write| !h.members().iter().any(|m| m.has(&w.controller));
    if !all.iter().any(|w| lacks(&w)) {
        return Ok(all);
    }
    let Some(tree) = h.unified() else { return Ok(all) };
    let there = v2::controllers_of_root(tree);
    let is_there = |c: &str| there.split(' ').any(|t| t == in_v2(c));
    let mut moved: Vec<String> =
        all.iter().filter(lacks).map(|w| w.controller.to_string()).filter(|c| is_there(c)).collect();
    moved.dedup();
    if moved.is_empty() {
        return Ok(all);
    }
    let in_v2_words: Vec<&str> = moved.iter().map(|c| in_v2(c)).collect();
    v2::enable(tree, &in_v2_words);
    let (mut writes, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|w| !moved.iter().any(|c| *c == w.controller));
    drop(rest);
    writes.extend(words(r, &in_v2_words)?);
    Ok(writes)
}

/// What v2 writes for these controllers, and only for these: what v1 has of the others means something else there.
fn words(r: &LinuxResources, controllers: &[&str]) -> Result<Vec<Write>> {
    let has = |c: &str| controllers.contains(&c);
    let mut only = LinuxResources::default();
    if has("cpu") || has("cpuset") {
        only.set_cpu(r.cpu().clone());
    }
    if has("memory") {
        only.set_memory(*r.memory());
    }
    if has("pids") {
        only.set_pids(*r.pids());
    }
    if has("io") {
        only.set_block_io(r.block_io().clone());
    }
    if has("hugetlb") {
        only.set_hugepage_limits(r.hugepage_limits().clone());
    }
    if has("rdma") {
        only.set_rdma(r.rdma().clone());
    }
    Ok(v2::writes(&only)?.into_iter().filter(|w| has(&w.controller)).collect())
}

/// Where such a write goes.
pub fn dir<'h>(h: &'h Hierarchies, w: &Write) -> Option<&'h Dir> {
    if h.members().iter().any(|m| m.has(&w.controller)) {
        return None;
    }
    h.unified().filter(|d| v2::controllers_of_root(d).split(' ').any(|c| c == w.controller))
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn only_what_lives_there() {
        let r = r#"{"memory":{"swap":5},"hugepageLimits":[{"pageSize":"2MB","limit":7}],
            "blockIO":{"weight":10},"cpu":{"shares":2,"cpus":"0"},"pids":{"limit":3},"rdma":{"a":{"hcaHandles":1}}}"#;
        let r = serde_json::from_str(r).unwrap();
        for (controllers, want) in [
            (&["hugetlb"][..], "hugetlb.2MB.max = 7, hugetlb.2MB.rsvd.max = 7"),
            (&["io", "cpuset"], "io.bfq.weight = 10, cpuset.cpus = 0"),
            (&["pids", "rdma"], "pids.max = 3, rdma.max = a hca_handle=1"),
            (&[], ""),
        ] {
            let shown: Vec<_> = words(&r, controllers).unwrap().iter().map(|w| w.shown()).collect();
            assert_eq!(shown.join(", "), want, "{controllers:?}");
        }
        // Memory is v2's own there, and so are its rules.
        assert!(words(&r, &["memory"]).is_err());
    }
}
