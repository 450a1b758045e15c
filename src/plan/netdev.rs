//! Network devices of the host that the container gets.

use oci_spec::runtime::Linux;

use crate::spec::locate::escape;

/// One device; by the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Here.
    pub name: String,
    /// In the container; with `%d` the kernel finds a number.
    pub new_name: String,
    /// Into config.json.
    pub pointer: String,
}

/// Names are judged by `spec::rules`.
pub fn build(linux: &Linux) -> Vec<NetDevice> {
    let mut all: Vec<_> = linux.net_devices().iter().flatten().collect();
    all.sort_by_key(|(name, _)| *name);
    let of = |(name, device): (&String, &oci_spec::runtime::LinuxNetDevice)| NetDevice {
        name: name.clone(),
        new_name: device.name().clone().filter(|n| !n.is_empty()).unwrap_or_else(|| name.clone()),
        pointer: format!("/linux/netDevices/{}", escape(name)),
    };
    all.into_iter().map(of).collect()
}
