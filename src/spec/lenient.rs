//! The second reading of a document that did not fit the types at once.
//!
//! The types of `oci-spec` are stricter than Go's in many places where runc reads on, and they misspell two names.
//! Here the document is read as plain JSON and mended; what runc would refuse is refused with its words, what runc
//! only warns about is a warning. The result is text again, so that there is but one typed parser in the binary.
//!
//! | in the document | here |
//! |---|---|
//! | a member that is `null` | absent, as in Go; a `null` in a map of strings is the empty string |
//! | a key twice | the last one counts |
//! | text after the end | warning |
//! | `windows`, `solaris`, `vm`, `zos` | not read |
//! | `process.user`, `process.cwd`, `mounts[].destination`, `hooks.*[].path` missing | empty; `rules` judges |
//! | an unknown capability | warning |
//! | an unknown seccomp architecture | warning: that architecture's calls are refused then, so this is safe |
//! | a seccomp section without an action and calls | no seccomp, as in runc |
//! | `seccomp.syscalls[].args[]` without index, value; `names` missing | 0, 0; nothing |
//! | `SCHED_FLAG_RESET_ON_FORK`, `SCHED_FLAG_DL_OVERRUN` | renamed to what oci-spec takes them for |
//! | blanks and empty elements in `execCPUAffinity`, an empty device type, a huge page limit beyond i64 | mended |
//! | unknown: rlimit, namespace, device type, personality domain, scheduler, ioPriority, memoryPolicy, seccomp action, operator, flag | error that names it |

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::locate;
use crate::error::{Error, Kind, Result};

/// Which document is read, for the places in it and what to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    Config,
    Process,
    Resources,
}

impl Document {
    /// The pointer of an error is one into `config.json`; a place in another document is told in the text.
    fn error(self, raw: &[u8], offset: usize, pointer: String, said: &str) -> Error {
        let (line, column) = locate::line_column(raw, offset);
        match self {
            Self::Config => Error::spec(pointer, format!("{said} at line {line} column {column}")),
            _ => Error::new(Kind::Spec, format!("{said} at line {line} column {column} ({pointer})")),
        }
    }
}

/// The document as plain JSON, and whether text follows its end (which Go's decoder does not look at).
pub fn value(raw: &[u8]) -> serde_json::Result<(Value, bool)> {
    let mut de = serde_json::Deserializer::from_slice(raw);
    let value = Value::deserialize(&mut de)?;
    let trailing = de.end().is_err();
    Ok((value, trailing))
}

/// The mended text.
#[cold]
pub fn mend(raw: &[u8], document: Document, warnings: &mut Vec<String>) -> Result<Vec<u8>> {
    let (mut doc, trailing) = value(raw).map_err(|e| {
        let (offset, pointer) = locate::of_error(raw, &e);
        let hint = if e.is_eof() {
            "the file is cut short"
        } else {
            "this is not JSON; `jq . FILE` shows the place: often a comment, a comma too many or one missing"
        };
        document.error(raw, offset, pointer, &locate::words(&e)).hint(hint)
    })?;
    if trailing {
        warnings.push("ignoring what follows the end of the document".to_owned());
    }
    if doc.is_null() {
        return Err(Error::new(Kind::Spec, "config cannot be null"));
    }
    if !doc.is_object() {
        return Err(document.error(raw, 0, String::new(), "the document is not an object"));
    }
    drop_nulls(&mut doc);
    let mut pen = Pen { at: Vec::new(), warnings, raw, document };
    match document {
        Document::Config => pen.config(&mut doc)?,
        Document::Process => pen.process(&mut doc)?,
        Document::Resources => pen.resources(&mut doc)?,
    }
    serde_json::to_vec(&doc).map_err(|e| Error::bug(format!("cannot write down what was read: {e}")))
}

/// The error for what the types refuse in the mended `text`.
#[cold]
pub fn refuse(raw: &[u8], text: &[u8], document: Document, e: &serde_json::Error) -> Error {
    let (_, pointer) = locate::of_error(text, e);
    let said = locate::words(e);
    let error = document.error(raw, locate::offset_of(raw, &pointer), pointer, &said);
    let hint = match said.rsplit("expected ").next() {
        Some(t) if t.starts_with("u32") => "a whole number from 0 to 4294967295 is wanted here",
        Some(t) if t.starts_with("u64") || t.starts_with("usize") => {
            "a whole number that is not negative is wanted here"
        }
        Some(t) if t.starts_with("i32") || t.starts_with("i64") => "a whole number is wanted here",
        Some(t) if t.starts_with("u16") => "a whole number from 0 to 65535 is wanted here",
        Some(t) if t.contains("string") => "a text in quotes is wanted here",
        Some(t) if t.starts_with("a sequence") => "a list in [] is wanted here",
        Some(t) if t.starts_with("struct") || t.starts_with("a map") => "an object in {} is wanted here",
        Some(t) if t.starts_with("a boolean") => "true or false is wanted here",
        _ => return error,
    };
    error.hint(hint)
}

/// A member that is `null` is as good as absent; in a map it is the empty value.
fn drop_nulls(v: &mut Value) {
    match v {
        Value::Object(members) => {
            for (map, empty) in [
                ("annotations", json!("")),
                ("sysctl", json!("")),
                ("unified", json!("")),
                ("netDevices", json!({})),
                ("timeOffsets", json!({})),
                ("rdma", json!({})),
            ] {
                if let Some(Value::Object(map)) = members.get_mut(map) {
                    map.values_mut().filter(|v| v.is_null()).for_each(|v| *v = empty.clone());
                }
            }
            members.retain(|_, v| !v.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Goes through the document and mends; knows where it is.
struct Pen<'a> {
    at: Vec<String>,
    warnings: &'a mut Vec<String>,
    raw: &'a [u8],
    document: Document,
}

type Object = Map<String, Value>;

impl Pen<'_> {
    fn refuse(&self, said: String) -> Error {
        let pointer: String = self.at.iter().map(|c| format!("/{}", locate::escape(c))).collect();
        self.document.error(self.raw, locate::offset_of(self.raw, &pointer), pointer, &said)
    }

    /// Into the member `name`, if it is there and is an object.
    fn object(
        &mut self,
        of: &mut Object,
        name: &str,
        f: impl FnOnce(&mut Self, &mut Object) -> Result<()>,
    ) -> Result<()> {
        let Some(Value::Object(inner)) = of.get_mut(name) else { return Ok(()) };
        self.at.push(name.to_owned());
        f(self, inner)?;
        self.at.pop();
        Ok(())
    }

    /// Into each value of the list `name`, if it is there and is a list.
    fn each(
        &mut self,
        of: &mut Object,
        name: &str,
        f: &mut dyn FnMut(&mut Self, &mut Value) -> Result<()>,
    ) -> Result<()> {
        let Some(Value::Array(values)) = of.get_mut(name) else { return Ok(()) };
        self.at.push(name.to_owned());
        for (i, v) in values.iter_mut().enumerate() {
            self.at.push(i.to_string());
            f(self, v)?;
            self.at.pop();
        }
        self.at.pop();
        Ok(())
    }

    /// Into each object of the list `name`.
    fn each_object(
        &mut self,
        of: &mut Object,
        name: &str,
        f: &mut dyn FnMut(&mut Self, &mut Object) -> Result<()>,
    ) -> Result<()> {
        self.each(of, name, &mut |pen, v| match v {
            Value::Object(inner) => f(pen, inner),
            _ => Ok(()),
        })
    }

    /// The text member `name` (absent is empty) must be one of `known`; `say` makes the complaint.
    fn one_of(&mut self, of: &Object, name: &str, known: &[&str], say: fn(&str) -> String) -> Result<()> {
        let text = match of.get(name) {
            None => "",
            Some(Value::String(s)) => s,
            Some(_) => return Ok(()), // of the wrong type: the parser will say so
        };
        if known.contains(&text) {
            return Ok(());
        }
        if of.contains_key(name) {
            self.at.push(name.to_owned());
        }
        Err(self.refuse(say(text)))
    }

    fn config(&mut self, doc: &mut Value) -> Result<()> {
        let Value::Object(doc) = doc else { return Ok(()) };
        for foreign in ["windows", "solaris", "vm", "zos", "freebsd", "uidMappings", "gidMappings"] {
            doc.remove(foreign);
        }
        self.object(doc, "process", Self::process_members)?;
        self.each_object(doc, "mounts", &mut |_, m| {
            m.entry("destination").or_insert_with(|| json!(""));
            Ok(())
        })?;
        self.object(doc, "hooks", |pen, hooks| {
            for kind in HOOKS {
                pen.each_object(hooks, kind, &mut |_, h| {
                    h.entry("path").or_insert_with(|| json!(""));
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        self.object(doc, "linux", Self::linux)
    }

    fn process(&mut self, doc: &mut Value) -> Result<()> {
        match doc {
            Value::Object(p) => self.process_members(p),
            _ => Ok(()),
        }
    }

    fn process_members(&mut self, p: &mut Object) -> Result<()> {
        p.entry("user").or_insert_with(|| json!({}));
        p.entry("cwd").or_insert_with(|| json!(""));
        self.object(p, "capabilities", Self::capabilities)?;
        self.each_object(p, "rlimits", &mut |pen, r| {
            pen.one_of(r, "type", RLIMITS, |t| format!("wrong rlimit value: {t}"))
        })?;
        self.object(p, "scheduler", Self::scheduler)?;
        self.object(p, "ioPriority", |pen, io| {
            pen.one_of(io, "class", IO_CLASSES, |c| format!("invalid ioPriority.Class: {c:?}"))
        })?;
        self.object(p, "execCPUAffinity", |pen, a| {
            for (name, shown) in [("initial", "Initial"), ("final", "Final")] {
                let Some(Value::String(list)) = a.get_mut(name) else { continue };
                if list.is_empty() {
                    a.remove(name);
                    continue;
                }
                pen.at.push(name.to_owned());
                let parts: Vec<_> = list.split(',').map(str::trim).filter(|p| !p.is_empty()).collect();
                let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
                if parts.is_empty() {
                    return Err(
                        pen.refuse(format!("bad CPUAffinity.{shown}: no members found in set {list:?}"))
                    );
                }
                let is_range =
                    |p: &&str| p.split_once('-').map_or(digits(p), |(a, b)| digits(a) && digits(b));
                if let Some(bad) = parts.iter().find(|p| !is_range(p)) {
                    return Err(pen.refuse(format!(
                        "bad CPUAffinity.{shown}: {bad:?} is neither a CPU nor a range of CPUs"
                    )));
                }
                *list = parts.join(",");
                pen.at.pop();
            }
            Ok(())
        })
    }

    fn capabilities(&mut self, sets: &mut Object) -> Result<()> {
        let mut unknown = Vec::new();
        for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
            let Some(Value::Array(names)) = sets.get_mut(set) else { continue };
            names.retain(|v| {
                let Value::String(name) = v else { return true };
                let known = known_capability(name);
                if !known && !unknown.contains(name) {
                    unknown.push(name.clone());
                }
                known
            });
        }
        if !unknown.is_empty() {
            unknown.sort_unstable();
            let names = unknown.join(" ");
            self.warnings.push(format!("ignoring unknown or unavailable capabilities: [{names}]"));
        }
        Ok(())
    }

    fn scheduler(&mut self, s: &mut Object) -> Result<()> {
        if s.get("policy").is_none_or(|p| p == "") {
            return Err(self.refuse("scheduler policy is required".to_owned()));
        }
        self.one_of(s, "policy", POLICIES, |p| format!("invalid scheduler policy: {p}"))?;
        self.each(s, "flags", &mut |pen, flag| {
            let Value::String(name) = flag else { return Ok(()) };
            match SCHED_FLAGS.iter().find(|(real, _)| real == name) {
                Some((_, misspelt)) => *name = (*misspelt).to_owned(),
                None => return Err(pen.refuse(format!("invalid scheduler flag: {name}"))),
            }
            Ok(())
        })
    }

    fn linux(&mut self, l: &mut Object) -> Result<()> {
        self.each_object(l, "namespaces", &mut |pen, n| {
            pen.one_of(n, "type", NAMESPACES, |t| format!("namespace {t:?} does not exist"))
        })?;
        self.each_object(l, "devices", &mut |pen, d| {
            pen.one_of(d, "type", &["c", "b", "u", "p"], |t| format!("invalid device type {t:?}"))
        })?;
        if let Some(r) = l.get_mut("resources") {
            self.at.push("resources".to_owned());
            self.resources(r)?;
            self.at.pop();
        }
        if let Some(Value::Object(s)) = l.get("seccomp") {
            let none =
                |name: &str| s.get(name).is_none_or(|v| v == "" || v.as_array().is_some_and(Vec::is_empty));
            if none("defaultAction") && none("syscalls") {
                l.remove("seccomp");
            }
        }
        self.object(l, "seccomp", Self::seccomp)?;
        self.object(l, "personality", |pen, p| {
            pen.one_of(p, "domain", &["LINUX", "LINUX32"], |d| format!("invalid personality domain {d}"))
        })?;
        self.object(l, "memoryPolicy", |pen, m| {
            pen.one_of(m, "mode", MEMORY_MODES, |m| format!("invalid memory policy mode {m:?}"))?;
            pen.each(m, "flags", &mut |pen, f| {
                pen.known(f, MEMORY_FLAGS, |f| format!("invalid memory policy flag {f:?}"))
            })
        })
    }

    fn known(&mut self, v: &Value, known: &[&str], say: fn(&str) -> String) -> Result<()> {
        match v {
            Value::String(s) if !known.contains(&s.as_str()) => Err(self.refuse(say(s))),
            _ => Ok(()),
        }
    }

    fn resources(&mut self, r: &mut Value) -> Result<()> {
        let Value::Object(r) = r else { return Ok(()) };
        self.each_object(r, "devices", &mut |pen, d| {
            if d.get("type").is_some_and(|t| t == "") {
                d.remove("type");
            }
            match d.contains_key("type") {
                true => {
                    pen.one_of(d, "type", &["a", "b", "c"], |t| format!("invalid cgroup device type {t:?}"))
                }
                false => Ok(()),
            }
        })?;
        self.each_object(r, "hugepageLimits", &mut |_, h| {
            // Go has 64 bits without a sign here; the kernel cuts both to the number of pages that there can be.
            if h.get("limit").and_then(Value::as_u64).is_some_and(|l| i64::try_from(l).is_err()) {
                h.insert("limit".to_owned(), json!(i64::MAX));
            }
            Ok(())
        })
    }

    fn seccomp(&mut self, s: &mut Object) -> Result<()> {
        self.one_of(s, "defaultAction", ACTIONS, action_text)?;
        if let Some(Value::Array(archs)) = s.get_mut("architectures") {
            let warnings = &mut *self.warnings;
            archs.retain(|v| {
                let Value::String(name) = v else { return true };
                let known = ARCHS.contains(&name.as_str());
                if !known {
                    warnings.push(format!("ignoring unknown seccomp architecture {name}"));
                }
                known
            });
        }
        self.each(s, "flags", &mut |pen, f| {
            pen.known(f, SECCOMP_FLAGS, |f| format!("seccomp flag {f:?} is not known"))
        })?;
        self.each_object(s, "syscalls", &mut |pen, c| {
            pen.one_of(c, "action", ACTIONS, action_text)?;
            c.entry("names").or_insert_with(|| json!([]));
            pen.each_object(c, "args", &mut |pen, a| {
                pen.one_of(a, "op", OPERATORS, |o| {
                    format!("string {o} is not a valid operator for seccomp")
                })?;
                a.entry("index").or_insert_with(|| json!(0));
                a.entry("value").or_insert_with(|| json!(0));
                Ok(())
            })
        })
    }
}

fn action_text(action: &str) -> String {
    format!("string {action} is not a valid action for seccomp")
}

/// oci-spec takes a capability in any case, with and without its prefix.
fn known_capability(name: &str) -> bool {
    let name = name.to_uppercase();
    let bare = name.trim_start_matches("CAP_");
    CAPABILITIES.iter().any(|c| c.strip_prefix("CAP_") == Some(bare))
}

/// In the kernel's order of numbers.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

pub const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

pub const NAMESPACES: &[&str] = &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

const RLIMITS: &[&str] = &[
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
];

const IO_CLASSES: &[&str] = &["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];

const POLICIES: &[&str] =
    &["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"];

/// The names of the specification, and as oci-spec 0.10 spells them.
const SCHED_FLAGS: &[(&str, &str)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_RECLAIM", "SCHED_FLAG_RECLAIM"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
    ("SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_POLICY"),
    ("SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_KEEP_PARAMS"),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MIN"),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", "SCHED_FLAG_UTIL_CLAMP_MAX"),
];

pub const MEMORY_MODES: &[&str] = &[
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

pub const MEMORY_FLAGS: &[&str] = &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

pub const ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

pub const OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// What oci-spec knows, all of the specification's.
const ARCHS: &[&str] = &[
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_NATIVE",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// In runc's order.
pub const SECCOMP_FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];
