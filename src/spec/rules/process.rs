//! Rules of the process, of `config.json` and of `exec`.

use super::*;

pub(super) fn process(f: &Facts<'_>, out: &mut Findings) {
    // Spec: config.md, "process": required when the container is started; it then ends at once.
    if f.process.is_none() {
        out.warn("/process: there is no process to run");
    }
}

pub(super) fn cwd(f: &Facts<'_>, out: &mut Findings) {
    let Some(p) = f.process else { return };
    let at = format!("{}/cwd", f.base);
    if p.cwd().as_os_str().is_empty() {
        out.wrong(at, "Cwd property must not be empty");
    } else if !p.cwd().is_absolute() {
        out.wrong(at, "Cwd must be an absolute path");
    } else {
        out.nul_path(at, "cwd", p.cwd());
    }
}

pub(super) fn args(f: &Facts<'_>, out: &mut Findings) {
    let Some(p) = f.process else { return };
    let args = p.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        out.wrong(format!("{}/args", f.base), "args must not be empty");
    }
    for (i, a) in args.iter().enumerate() {
        out.nul(format_args!("{}/args/{i}", f.base), "argument", a);
    }
}

pub(super) fn env(f: &Facts<'_>, out: &mut Findings) {
    let Some(p) = f.process else { return };
    for (i, e) in p.env().iter().flatten().enumerate() {
        env_entry(format_args!("{}/env/{i}", f.base), e, out);
    }
}

fn env_entry(at: impl Display, entry: &str, out: &mut Findings) {
    match entry.split_once('=') {
        None => out.wrong(at, format!("invalid environment variable: missing '=' in {entry:?}")),
        Some(("", _)) => out.wrong(at, "invalid environment variable: name cannot be empty"),
        Some((name, _)) if entry.contains('\0') => {
            out.wrong(at, format!("invalid environment variable {name:?}: contains nul byte (\\x00)"));
        }
        Some(_) => {}
    }
}

pub(super) fn user_ids(f: &Facts<'_>, out: &mut Findings) {
    let Some(user) = f.process.map(Process::user) else { return };
    let base = f.base;
    out.id(format_args!("{base}/user/uid"), user.uid());
    out.id(format_args!("{base}/user/gid"), user.gid());
    for (i, gid) in user.additional_gids().iter().flatten().enumerate() {
        out.id(format_args!("{base}/user/additionalGids/{i}"), *gid);
    }
}

pub(super) fn umask(f: &Facts<'_>, out: &mut Findings) {
    let Some(umask) = f.process.and_then(|p| p.user().umask()) else { return };
    if umask > 0o777 {
        let hint = "a number is decimal in JSON: 18 for 022";
        out.wrong(
            format!("{}/user/umask", f.base),
            format!("invalid umask {umask} (octal {umask:o}); {hint}"),
        );
    }
}

pub(super) fn rlimits(f: &Facts<'_>, out: &mut Findings) {
    let mut seen = Vec::new();
    for (i, r) in f.process.iter().flat_map(|p| p.rlimits().iter().flatten()).enumerate() {
        let at = format!("{}/rlimits/{i}", f.base);
        let name = r.typ();
        if seen.contains(&name) {
            out.wrong(&at, format!("rlimit type {name} is given more than once"));
        }
        seen.push(name);
        if r.soft() > r.hard() {
            out.wrong(
                at,
                format!(
                    "{name}: soft limit {} is above the hard limit {}: invalid argument",
                    r.soft(),
                    r.hard()
                ),
            );
        }
    }
}

pub(super) fn capabilities(f: &Facts<'_>, out: &mut Findings) {
    let Some(c) = f.process.and_then(|p| p.capabilities().as_ref()) else { return };
    let none = HashSet::new();
    let of = |s: &'_ Option<HashSet<Capability>>| s.clone().unwrap_or_else(|| none.clone());
    let (permitted, inheritable) = (of(c.permitted()), of(c.inheritable()));
    let beyond = |set: HashSet<Capability>, allowed: &dyn Fn(&Capability) -> bool| {
        let mut names: Vec<_> = set.iter().filter(|c| !allowed(c)).map(|c| format!("CAP_{c}")).collect();
        names.sort_unstable();
        names.join(" ")
    };
    let effective = beyond(of(c.effective()), &|c| permitted.contains(c));
    if !effective.is_empty() {
        let at = format!("{}/capabilities/effective", f.base);
        out.wrong(at, format!("can't apply capabilities: effective but not permitted: {effective}"));
    }
    let bounding = of(c.bounding());
    let unbounded = beyond(inheritable.clone(), &|c| bounding.contains(c));
    if !unbounded.is_empty() {
        let at = format!("{}/capabilities/inheritable", f.base);
        out.wrong(
            at,
            format!("can't apply capabilities: inheritable but not in the bounding set: {unbounded}"),
        );
    }
    let ambient = beyond(of(c.ambient()), &|c| permitted.contains(c) && inheritable.contains(c));
    if !ambient.is_empty() {
        out.warn(format!(
            "can't raise ambient capabilities that are not both permitted and inheritable: {ambient}"
        ));
    }
}

pub(super) fn oom_score_adj(f: &Facts<'_>, out: &mut Findings) {
    let Some(adj) = f.process.and_then(Process::oom_score_adj) else { return };
    if !(-1000..=1000).contains(&adj) {
        out.wrong(
            format!("{}/oomScoreAdj", f.base),
            format!("oomScoreAdj {adj} is not between -1000 and 1000"),
        );
    }
}

pub(super) fn io_priority(f: &Facts<'_>, out: &mut Findings) {
    let Some(io) = f.process.and_then(|p| p.io_priority().as_ref()) else { return };
    if !(0..=7).contains(&io.priority()) {
        out.wrong(
            format!("{}/ioPriority/priority", f.base),
            format!("invalid ioPriority.Priority: {}", io.priority()),
        );
    }
}

pub(super) fn scheduler(f: &Facts<'_>, out: &mut Findings) {
    let Some(s) = f.process.and_then(|p| p.scheduler().as_ref()) else { return };
    let base = f.base;
    let (policy, nice, priority) = (*s.policy(), s.nice().unwrap_or(0), s.priority().unwrap_or(0));
    if matches!(policy, Policy::SchedOther | Policy::SchedBatch) && !(-20..=19).contains(&nice) {
        let said = format!("invalid scheduler.nice: {nice} when scheduler.policy is {policy}");
        out.wrong(format!("{base}/scheduler/nice"), said);
    }
    let real_time = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    if !real_time && priority != 0 {
        let said = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
        out.wrong(format!("{base}/scheduler/priority"), said);
    }
    if real_time && !(1..=99).contains(&priority) {
        let said = format!(
            "invalid scheduler.priority: {priority} when scheduler.policy is {policy}: 1 to 99 are real-time"
        );
        out.wrong(format!("{base}/scheduler/priority"), said);
    }
    let times = [s.runtime(), s.deadline(), s.period()];
    if policy != Policy::SchedDeadline && times.iter().any(|t| t.is_some_and(|t| t != 0)) {
        let said = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
        out.wrong(format!("{base}/scheduler"), said);
    }
}

pub(super) fn cpu_affinity(f: &Facts<'_>, out: &mut Findings) {
    let Some(a) = f.process.and_then(|p| p.exec_cpu_affinity().as_ref()) else { return };
    for (name, shown, cpus) in
        [("initial", "Initial", a.initial()), ("final", "Final", a.cpu_affinity_final())]
    {
        if let Some(Err(said)) = cpus.as_deref().map(id_list) {
            out.wrong(
                format!("{}/execCPUAffinity/{name}", f.base),
                format!("bad CPUAffinity.{shown}: {said}"),
            );
        }
    }
}

pub(super) fn labels(f: &Facts<'_>, out: &mut Findings) {
    let base = f.base;
    if let Some(p) = f.process {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        label(format!("{base}/apparmorProfile"), "apparmorProfile", &text(p.apparmor_profile()), out);
        label(format!("{base}/selinuxLabel"), "selinuxLabel", &text(p.selinux_label()), out);
    }
    if let Some(text) = f.linux.and_then(|l| l.mount_label().as_ref()) {
        label("/linux/mountLabel".to_owned(), "mountLabel", text, out);
    }
}

/// To the kernel a line break ends a label, and an empty one takes away what was set; what is longer than a page it cuts.
fn label(at: String, what: &str, text: &str, out: &mut Findings) {
    const MOST: usize = 4000;
    out.nul(&at, what, text);
    if text.contains('\n') {
        out.wrong(&at, format!("{what} is more than one line"));
    }
    if text.len() > MOST {
        out.wrong(at, format!("{what} is longer than {MOST} bytes"));
    }
}
