//! state: the document of the spec, as runc extends it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::record::Record;
use super::status::boot_id;
use super::store::Entry;
use crate::error::Result;
use crate::sys::fs;

/// Member for member what `runc state` and `runc list --format json` print. Nothing else: CRI-O decodes it over a
/// record of its own.
#[derive(Debug, Serialize)]
pub struct State {
    #[serde(rename = "ociVersion")]
    pub oci_version: String,
    pub id: String,
    /// 0 when stopped.
    pub pid: i32,
    pub status: &'static str,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Who made it, by name: in `list` only, as with runc.
    pub owner: String,
}

pub fn state(entry: &Entry) -> Result<State> {
    state_in(entry, &boot_id())
}

/// For who asks about many containers: with the id of this boot.
pub fn state_in(entry: &Entry, this_boot: &str) -> Result<State> {
    let record = entry.record()?;
    let status = entry.status_in(&record, this_boot);
    let pid = record.init.filter(|_| status.alive()).map_or(0, |i| i.pid);
    let Record { oci_version, id, bundle, rootfs, created, annotations, .. } = record;
    Ok(State {
        oci_version,
        id,
        pid,
        status: status.name(),
        bundle,
        rootfs,
        created,
        annotations,
        owner: String::new(),
    })
}

/// From the host's passwd(5); without NSS, which a static program cannot load.
pub fn user_name(uid: u32) -> String {
    if uid == 0 {
        return "root".into();
    }
    let text = fs::read_file("/etc/passwd", 4 << 20).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let of = |line: &str| {
        let mut f = line.split(':');
        let (name, id) = (f.next()?, f.nth(1)?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    };
    text.lines().find_map(of).unwrap_or_else(|| format!("#{uid}"))
}
