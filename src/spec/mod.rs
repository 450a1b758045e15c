//! The configuration as it was written: `config.json` of a bundle, and the process and resources documents that
//! `exec` and `update` take.
//!
//! Read at once into the types of `oci-spec`; where those refuse, read again with runc's leniency ([`lenient`]).
//! [`rules`] then judges the whole.

pub mod annotations;
pub mod lenient;
pub mod locate;
pub mod mount_options;
pub mod rules;
pub mod template;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use oci_spec::runtime::{IOPriorityClass, LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::sys::{Errno, fd, fs};

use lenient::Document;

/// The largest document that is read. Two or three MiB are the most that an honest one has: arguments and environment
/// end there (execve(2)), and so does patience with mounts.
const MAX_SIZE: usize = 16 << 20;

/// A configuration, read.
#[derive(Debug)]
pub struct Loaded {
    pub spec: Spec,
    /// For the log; runc warns about the same.
    pub warnings: Vec<String>,
    /// The text of the file.
    pub raw: Vec<u8>,
}

/// Reads `config.json` in the bundle directory.
///
/// In the result whatever Go has no difference for is the same too: empty texts that stand for "not given" (a
/// namespace's path, hostname, cgroupsPath, labels, …) are `None`, and so is `pids` without a `limit`.
pub fn load(bundle: impl AsFd) -> Result<Loaded> {
    let _t = crate::trace::span("read the configuration");
    let raw = read_config(bundle.as_fd())?;
    parse_config(raw)
}

/// The same from its text.
pub fn parse_config(raw: Vec<u8>) -> Result<Loaded> {
    let _t = crate::trace::span("parse the configuration");
    let mut warnings = Vec::new();
    let mut spec: Spec = parse(&raw, Document::Config, &mut warnings).within("unable to load config.json")?;
    tidy(&mut spec, &raw).within("unable to load config.json")?;
    Ok(Loaded { spec, warnings, raw })
}

/// Reads a process document: `exec --process FILE`. The second value is warnings.
pub fn load_process(path: &Path) -> Result<(Process, Vec<String>)> {
    // The user names this file, so it may be a pipe.
    #[expect(clippy::disallowed_methods, reason = "a file of the host")]
    let file = File::open(path).on("open", path.display())?;
    let raw = read(file, path.display().to_string())?;
    parse_process(&raw).within_with(|| format!("unable to load {}", path.display()))
}

/// The same from its text. Places are told in the message: they are not places of `config.json`.
pub fn parse_process(raw: &[u8]) -> Result<(Process, Vec<String>)> {
    let mut warnings = Vec::new();
    let mut process: Process = parse(raw, Document::Process, &mut warnings)?;
    tidy_process(&mut process, raw, Document::Process)?;
    Ok((process, warnings))
}

/// Reads a resources document: `update --resources FILE`, `-` for standard input.
pub fn load_resources(path: &Path) -> Result<(LinuxResources, Vec<String>)> {
    let raw = if path == Path::new("-") {
        let stdin = fd::borrow_standard(0).and_then(|f| f.try_clone_to_owned().map_err(|_| Errno::EMFILE));
        read(File::from(stdin.on("read", "standard input")?), "standard input".to_owned())?
    } else {
        #[expect(clippy::disallowed_methods, reason = "a file of the host")]
        let file = File::open(path).on("open", path.display())?;
        read(file, path.display().to_string())?
    };
    parse_resources(&raw).within_with(|| format!("unable to load resources from {}", path.display()))
}

/// The same from its text.
pub fn parse_resources(raw: &[u8]) -> Result<(LinuxResources, Vec<String>)> {
    let mut warnings = Vec::new();
    let mut resources: LinuxResources = parse(raw, Document::Resources, &mut warnings)?;
    tidy_resources(&mut resources, raw, "/pids/limit");
    Ok((resources, warnings))
}

fn read_config(bundle: BorrowedFd<'_>) -> Result<Vec<u8>> {
    // Nothing that lies there may make us wait: not a FIFO without a writer, not a terminal.
    let flags = fs::OFlag::O_RDONLY | fs::OFlag::O_NONBLOCK | fs::OFlag::O_NOCTTY;
    let fd = match fs::openat(bundle, "config.json", flags, 0) {
        Err(Errno::ENOENT) => {
            return Err(Error::new(Kind::NotFound, "JSON specification file config.json not found")
                .hint("is this a bundle? `orlop spec` writes a config.json to begin with"));
        }
        Err(Errno::ENXIO) => return Err(irregular(false)),
        r => r.on("open", "config.json")?,
    };
    let stat = fs::fstat(&fd).on("stat", "config.json")?;
    if !stat.is_file() {
        return Err(irregular(stat.is_dir()));
    }
    read(File::from(fd), "config.json".to_owned())
}

fn irregular(is_dir: bool) -> Error {
    let what = if is_dir { "it is a directory" } else { "it is not a regular file" };
    Error::new(Kind::Spec, format!("unable to load config.json: {what}"))
}

fn read(file: File, name: String) -> Result<Vec<u8>> {
    // One more than the size that is expected, so that one read(2) sees the end as well.
    let expected = file.metadata().map_or(0, |m| m.len() as usize);
    if expected > MAX_SIZE {
        return Err(too_large(&name));
    }
    let mut raw = Vec::with_capacity(expected + 1);
    file.take(MAX_SIZE as u64 + 1).read_to_end(&mut raw).on("read", &name)?;
    if raw.len() > MAX_SIZE {
        return Err(too_large(&name));
    }
    Ok(raw)
}

fn too_large(name: &str) -> Error {
    Error::new(Kind::Spec, format!("{name} is larger than {} MiB", MAX_SIZE >> 20))
}

/// A text of nothing but brackets and commas can take dozens of times its size in memory. What is not small must be
/// mostly content.
fn refuse_dense(raw: &[u8]) -> Result<()> {
    const SMALL: usize = 256 << 10;
    /// What one value may cost at most, once read: that of the largest type that can be written in three bytes.
    const COST: usize = 96;
    if raw.len() <= SMALL {
        return Ok(());
    }
    let values = raw.iter().filter(|b| matches!(b, b',' | b'[' | b'{')).count();
    if values.saturating_mul(COST) > 3 * raw.len() + (8 << 20) {
        return Err(Error::new(
            Kind::Spec,
            format!("too many values for its size: {values} in {} bytes", raw.len()),
        ));
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(raw: &[u8], document: Document, warnings: &mut Vec<String>) -> Result<T> {
    refuse_dense(raw)?;
    // serde would take a list for the members of a struct in order.
    let is_object = raw.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    if is_object && let Ok(it) = serde_json::from_slice(raw) {
        return Ok(it);
    }
    let text = lenient::mend(raw, document, warnings)?;
    serde_json::from_slice(&text).map_err(|e| lenient::refuse(raw, &text, document, &e))
}

/// Makes `None` of what Go does not tell from absence, and judges what the types cannot say.
fn tidy(spec: &mut Spec, raw: &[u8]) -> Result<()> {
    // Of other platforms: not ours to look at.
    spec.set_windows(None);
    spec.set_solaris(None);
    spec.set_vm(None);
    spec.set_zos(None);
    blank(spec.hostname_mut());
    blank(spec.domainname_mut());
    if let Some(process) = spec.process_mut() {
        tidy_process(process, raw, Document::Config)?;
    }
    for m in spec.mounts_mut().iter_mut().flatten() {
        if m.typ().as_ref().is_some_and(String::is_empty) {
            m.set_typ(None);
        }
        if m.source().as_ref().is_some_and(|s| s.as_os_str().is_empty()) {
            m.set_source(None);
        }
    }
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    blank(linux.rootfs_propagation_mut());
    blank(linux.mount_label_mut());
    if linux.cgroups_path().as_ref().is_some_and(|p| p.as_os_str().is_empty()) {
        linux.set_cgroups_path(None);
    }
    for n in linux.namespaces_mut().iter_mut().flatten() {
        if n.path().as_ref().is_some_and(|p| p.as_os_str().is_empty()) {
            n.set_path(None);
        }
    }
    if let Some(s) = linux.seccomp_mut() {
        if s.listener_path().as_ref().is_some_and(|p| p.as_os_str().is_empty()) {
            s.set_listener_path(None);
        }
        if s.listener_metadata().as_ref().is_some_and(String::is_empty) {
            s.set_listener_metadata(None);
        }
    }
    if let Some(rdt) = linux.intel_rdt_mut() {
        blank(rdt.clos_id_mut());
        blank(rdt.l3_cache_schema_mut());
        blank(rdt.mem_bw_schema_mut());
    }
    for device in linux.net_devices_mut().iter_mut().flat_map(|d| d.values_mut()) {
        blank(device.name_mut());
    }
    if let Some(resources) = linux.resources_mut() {
        tidy_resources(resources, raw, "/linux/resources/pids/limit");
    }
    Ok(())
}

fn tidy_process(process: &mut Process, raw: &[u8], document: Document) -> Result<()> {
    if process.apparmor_profile().as_ref().is_some_and(String::is_empty) {
        process.set_apparmor_profile(None);
    }
    if process.selinux_label().as_ref().is_some_and(String::is_empty) {
        process.set_selinux_label(None);
    }
    // oci-spec makes the default class of one that is not there; the class is required.
    if process.io_priority().as_ref().is_some_and(|io| io.class() == IOPriorityClass::IoprioClassBe) {
        let prefix = if document == Document::Config { "/process" } else { "" };
        if !is_there(raw, &format!("{prefix}/ioPriority/class")) {
            let e = Error::new(Kind::Spec, "invalid ioPriority.Class: \"\"");
            return Err(if prefix.is_empty() { e } else { e.pointer("/process/ioPriority") });
        }
    }
    Ok(())
}

/// `pids` without `limit` says nothing, but oci-spec reads it as a limit of 0.
fn tidy_resources(resources: &mut LinuxResources, raw: &[u8], limit: &str) {
    if resources.pids().is_some_and(|p| p.limit() == 0) && !is_there(raw, limit) {
        resources.set_pids(None);
    }
    if let Some(cpu) = resources.cpu() {
        let (no_cpus, no_mems) = (
            cpu.cpus().as_ref().is_some_and(String::is_empty),
            cpu.mems().as_ref().is_some_and(String::is_empty),
        );
        if no_cpus || no_mems {
            let mut cpu = cpu.clone();
            cpu.set_cpus(cpu.cpus().clone().filter(|c| !c.is_empty()));
            cpu.set_mems(cpu.mems().clone().filter(|m| !m.is_empty()));
            resources.set_cpu(Some(cpu));
        }
    }
}

#[cold]
fn is_there(raw: &[u8], pointer: &str) -> bool {
    let Ok((doc, _)) = lenient::value(raw) else { return false };
    doc.pointer(pointer).is_some_and(|v| !Value::is_null(v))
}

fn blank(text: &mut Option<String>) {
    if text.as_ref().is_some_and(String::is_empty) {
        *text = None;
    }
}

#[cfg(test)]
mod tests;
