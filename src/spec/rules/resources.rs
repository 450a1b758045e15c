//! Rules of devices, cgroups and of what else is limited.

use super::*;

pub(super) fn devices(f: &Facts<'_>, out: &mut Findings) {
    let mut seen: HashMap<&Path, (LinuxDeviceType, i64, i64)> = HashMap::new();
    for (i, d) in list(f.linux.map(Linux::devices)).iter().enumerate() {
        let at = format!("/linux/devices/{i}");
        if d.typ() == LinuxDeviceType::A {
            out.wrong(format!("{at}/type"), "invalid device type \"a\"");
        }
        if !d.path().is_absolute() {
            out.wrong(format!("{at}/path"), format!("device path {:?} is not absolute", d.path()));
        }
        out.nul_path(format_args!("{at}/path"), "device path", d.path());
        let numbered = d.typ() != LinuxDeviceType::P;
        for (member, n, most) in [("major", d.major(), 0xfff), ("minor", d.minor(), 0xf_ffff)] {
            if numbered && !(0..=most).contains(&n) {
                out.wrong(
                    format!("{at}/{member}"),
                    format!("{n} is not a {member} device number: 0 to {most} are"),
                );
            }
        }
        out.id(format_args!("{at}/uid"), d.uid().unwrap_or(0));
        out.id(format_args!("{at}/gid"), d.gid().unwrap_or(0));
        let same = |t| if t == LinuxDeviceType::U { LinuxDeviceType::C } else { t };
        let node = if numbered { (same(d.typ()), d.major(), d.minor()) } else { (d.typ(), 0, 0) };
        if seen.insert(d.path(), node).is_some_and(|before| before != node) {
            out.wrong(at, format!("device {:?} is listed twice, as two different ones", d.path()));
        }
    }
}

pub(super) fn device_rules(f: &Facts<'_>, out: &mut Findings) {
    for (i, d) in list(f.resources().map(LinuxResources::devices)).iter().enumerate() {
        let at = format!("/linux/resources/devices/{i}");
        match d.access().as_deref().unwrap_or_default() {
            "" => out.wrong(format!("{at}/access"), format!("device access at {i} field cannot be empty")),
            a if a.contains(|c| !"rwm".contains(c)) => {
                out.wrong(format!("{at}/access"), format!("invalid device access {a:?}: some of r, w and m"));
            }
            _ => {}
        }
        if let Some(t) = d.typ().filter(|t| matches!(t, LinuxDeviceType::U | LinuxDeviceType::P)) {
            out.wrong(format!("{at}/type"), format!("invalid cgroup device type {:?}", t.as_str()));
        }
        for (member, n) in [("major", d.major()), ("minor", d.minor())] {
            if n.is_some_and(|n| !(-1..=i64::from(u32::MAX)).contains(&n)) {
                out.wrong(format!("{at}/{member}"), format!("{} is not a device number", n.unwrap_or(0)));
            }
        }
    }
}

/// Names that become names of files in a cgroup, or words of a line there.
pub(super) fn resource_names(f: &Facts<'_>, out: &mut Findings) {
    let Some(r) = f.resources() else { return };
    let base = "/linux/resources";
    for (key, value) in sorted(r.unified().as_ref()) {
        let at = format!("{base}/unified/{}", escape(key));
        if key.contains(['/', '\0']) || key.is_empty() || key.starts_with('.') {
            out.wrong(&at, format!("unified resource {key:?} must be a file name (no slashes)"));
        }
        out.nul(at, "value of a unified resource", value);
    }
    for (device, _) in sorted(r.rdma().as_ref()) {
        if device.is_empty() || device.contains([' ', '\n', '\0']) {
            out.wrong(
                format!("{base}/rdma/{}", escape(device)),
                format!("{device:?} is no name of an RDMA device"),
            );
        }
    }
    let priorities = r.network().as_ref().and_then(|n| n.priorities().as_ref());
    for (i, p) in priorities.into_iter().flatten().enumerate() {
        if !namespaces::is_interface_name(p.name()) {
            let at = format!("{base}/network/priorities/{i}/name");
            out.wrong(at, format!("invalid network device name {:?}", p.name()));
        }
    }
}

pub(super) fn hugepages(f: &Facts<'_>, out: &mut Findings) {
    for (i, h) in list(f.resources().map(LinuxResources::hugepage_limits)).iter().enumerate() {
        let at = format!("/linux/resources/hugepageLimits/{i}");
        let size = h.page_size();
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_alphanumeric()) {
            out.wrong(
                format!("{at}/pageSize"),
                format!("invalid page size {size:?}: a number and KB, MB or GB"),
            );
        }
        if h.limit() < 0 {
            out.wrong(format!("{at}/limit"), format!("hugepage limit {} is negative", h.limit()));
        }
    }
}

/// config-linux.md: from 10 to 1000; 0 is Go's "not given".
pub(super) fn block_io_weights(f: &Facts<'_>, out: &mut Findings) {
    let Some(io) = f.resources().and_then(|r| r.block_io().as_ref()) else { return };
    let mut check = |at: &str, weight: Option<u16>| {
        if let Some(w) = weight.filter(|w| !matches!(w, 0 | 10..=1000)) {
            let at = format!("/linux/resources/blockIO/{at}");
            out.wrong(at, format!("invalid blkio weight {w}: range is from 10 to 1000"));
        }
    };
    check("weight", io.weight());
    check("leafWeight", io.leaf_weight());
    for (i, d) in io.weight_device().iter().flatten().enumerate() {
        check(&format!("weightDevice/{i}/weight"), d.weight());
        check(&format!("weightDevice/{i}/leafWeight"), d.leaf_weight());
    }
}

pub(super) fn cgroups_path(f: &Facts<'_>, out: &mut Findings) {
    let Some(path) = f.linux.and_then(|l| l.cgroups_path().as_ref()) else { return };
    out.nul_path("/linux/cgroupsPath", "cgroupsPath", path);
    if path.as_os_str().as_bytes().contains(&b'\n') {
        out.wrong("/linux/cgroupsPath", "cgroupsPath contains a newline");
    }
}

pub(super) fn memory_policy(f: &Facts<'_>, out: &mut Findings) {
    let Some(m) = f.linux.and_then(|l| l.memory_policy().as_ref()) else { return };
    let nodes = match id_list(m.nodes().as_deref().unwrap_or_default()) {
        Ok(ranges) => ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum::<u64>(),
        Err(said) => {
            let nodes = m.nodes().as_deref().unwrap_or_default();
            return out.wrong(
                "/linux/memoryPolicy/nodes",
                format!("invalid memory policy nodes {nodes:?}: {said}"),
            );
        }
    };
    match m.mode() {
        Mpol::MpolDefault | Mpol::MpolLocal if nodes != 0 => {
            out.wrong(
                "/linux/memoryPolicy/nodes",
                format!("memory policy mode requires 0 nodes but got {nodes}"),
            );
        }
        Mpol::MpolBind | Mpol::MpolInterleave | Mpol::MpolPreferredMany | Mpol::MpolWeightedInterleave
            if nodes == 0 =>
        {
            out.wrong("/linux/memoryPolicy/nodes", "memory policy mode requires at least one node but got 0");
        }
        _ => {}
    }
}

pub(super) fn intel_rdt(f: &Facts<'_>, out: &mut Findings) {
    let Some(rdt) = f.linux.and_then(|l| l.intel_rdt().as_ref()) else { return };
    if let Some(clos) = rdt.clos_id() {
        let inside = clos.contains('/') && clos.len() > 1;
        if clos == "." || clos == ".." || inside || clos.contains(['\n', '\0']) {
            out.wrong("/linux/intelRdt/closID", format!("invalid intelRdt.ClosID {clos:?}"));
        }
    }
    let mut line = |at: String, text: &str| {
        if text.contains(['\n', '\0']) {
            out.wrong(at, "a schema is one line");
        }
    };
    line("/linux/intelRdt/l3CacheSchema".to_owned(), rdt.l3_cache_schema().as_deref().unwrap_or_default());
    line("/linux/intelRdt/memBwSchema".to_owned(), rdt.mem_bw_schema().as_deref().unwrap_or_default());
    for (i, s) in rdt.schemata().iter().flatten().enumerate() {
        line(format!("/linux/intelRdt/schemata/{i}"), s);
    }
    if rdt.mem_bw_schema().as_ref().is_some_and(|s| !s.is_empty() && !s.starts_with("MB:")) {
        out.wrong("/linux/intelRdt/memBwSchema", "memBwSchema must start with MB:");
    }
}

#[allow(deprecated, reason = "what runc warns about too")]
pub(super) fn kernel_memory(f: &Facts<'_>, out: &mut Findings) {
    let Some(m) = f.resources().and_then(|r| r.memory().as_ref()) else { return };
    if m.kernel().is_some() || m.kernel_tcp().is_some() {
        out.warn("Kernel memory settings are ignored and will be removed");
    }
}
