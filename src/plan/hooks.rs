//! Hooks, sorted by who runs them, and the state document that they read.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime as oci;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::hooks::Hook;

/// What a hook finds on its standard input. Spec: runtime, "State".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookState {
    #[serde(rename = "ociVersion")]
    pub oci_version: String,
    pub id: String,
    pub status: String,
    #[serde(skip_serializing_if = "is_zero")]
    #[serde(default)]
    pub pid: i32,
    pub bundle: PathBuf,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

impl HookState {
    /// The document, with the status and the pid of the moment.
    pub fn json(&self, status: &str, pid: i32) -> Vec<u8> {
        serde_json::to_vec(&self.at(status, pid)).unwrap_or_default()
    }

    pub fn at(&self, status: &str, pid: i32) -> Self {
        Self { status: status.into(), pid, ..self.clone() }
    }
}

/// In the runtime's namespaces.
#[derive(Default)]
pub struct HostHooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub state: HookState,
}

/// In the container's namespaces.
#[derive(Default)]
pub struct ContainerHooks {
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub state: HookState,
}

/// `payload_env`: what startContainer hooks get that name none, as with runc: they run in the program's place.
pub fn build(
    hooks: Option<&oci::Hooks>,
    state: &HookState,
    payload_env: &[CString],
) -> Result<(HostHooks, ContainerHooks)> {
    let list = |l: Option<&Vec<oci::Hook>>, kind: &str| -> Result<Vec<Hook>> {
        let one =
            |(i, h): (usize, &oci::Hook)| Hook::new(h).map_err(|e| e.pointer(format!("/hooks/{kind}/{i}")));
        l.into_iter().flatten().enumerate().map(one).collect()
    };
    let Some(h) = hooks else {
        let host = HostHooks { state: state.clone(), ..HostHooks::default() };
        return Ok((host, ContainerHooks { state: state.clone(), ..ContainerHooks::default() }));
    };
    #[allow(deprecated, reason = "prestart is, and is still used by everybody")]
    let prestart = h.prestart().as_ref();
    let host = HostHooks {
        prestart: list(prestart, "prestart")?,
        create_runtime: list(h.create_runtime().as_ref(), "createRuntime")?,
        poststart: list(h.poststart().as_ref(), "poststart")?,
        state: state.clone(),
    };
    let mut start_container = list(h.start_container().as_ref(), "startContainer")?;
    let given = h.start_container().iter().flatten().map(|h| h.env().is_some());
    for (hook, _) in start_container.iter_mut().zip(given).filter(|(_, given)| !given) {
        hook.env = payload_env.to_vec();
    }
    let container = ContainerHooks {
        create_container: list(h.create_container().as_ref(), "createContainer")?,
        start_container,
        state: state.clone(),
    };
    Ok((host, container))
}
