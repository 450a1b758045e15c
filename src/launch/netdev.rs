//! Moves network devices of the host into the container's namespace, and back where no container comes of it.
//!
//! Once there is a container its devices are its namespace's: whoever manages that one decides what becomes of them
//! (config-linux.md, "Namespace lifecycle and container termination").

use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Error, Kind, OnSys, Result};
use crate::plan::netdev::NetDevice;
use crate::plan::own_namespace;
use crate::sys::net::{Address, Link, Netlink};
use crate::sys::{Errno, fs, ns, process};

/// Devices that go back unless they are to stay.
#[derive(Default)]
pub struct Moved(Option<Move>);

struct Move {
    here: Netlink,
    home: OwnedFd,
    there: Netlink,
    list: Vec<Device>,
}

/// A device that is there now.
struct Device {
    /// Its name there.
    found: String,
    name: String,
    was_up: bool,
    addresses: Vec<Address>,
}

/// `init`: a pidfd of a process that is in the container's network namespace.
pub fn move_all(devices: &[NetDevice], init: impl AsFd) -> Result<Moved> {
    if devices.is_empty() {
        return Ok(Moved::default());
    }
    let here = Netlink::open().on("open", "a netlink socket")?;
    // Before we go anywhere: what is missing is told first.
    let links =
        devices.iter().map(|d| here.link(&d.name).map_err(|e| failed(d, e))).collect::<Result<Vec<_>>>()?;
    let home = own_namespace("net")?;
    ns::join(init, ns::NEWNET).on("join", "the container's network namespace")?;
    let inside = Netlink::open().on("open", "a netlink socket").and_then(|n| Ok((n, own_namespace("net")?)));
    ns::join(&home, ns::NEWNET).on("return to", "the runtime's own namespace")?;
    let (there, namespace) = inside?;
    let same = fs::fstat(&home).on("stat", "the network namespace")?;
    if same.same(&fs::fstat(&namespace).on("stat", "the container's network namespace")?) {
        let text = "unable to move network devices without a NET namespace";
        return Err(Error::spec("/linux/netDevices", text).hint("the container's is the runtime's own"));
    }
    let mut moved = Move { here, home, there, list: Vec::new() };
    for (device, link) in devices.iter().zip(links) {
        if let Err(e) = moved.take(device, link, &namespace) {
            moved.give_back();
            return Err(e);
        }
    }
    Ok(Moved(Some(moved)))
}

fn failed(device: &NetDevice, e: Errno) -> Error {
    let e = Error::sys("move network device", device.name.clone(), e).pointer(device.pointer.clone());
    match e.errno() {
        Some(Errno::ENODEV) => e.hint("there is none of that name in the runtime's network namespace"),
        Some(Errno::EINVAL | Errno::EOPNOTSUPP) => {
            e.hint("the kernel lets this kind of device out of its network namespace by no means")
        }
        Some(Errno::EPERM) => e.hint("it takes CAP_NET_ADMIN over both network namespaces"),
        _ => e,
    }
}

impl Move {
    fn take(&mut self, device: &NetDevice, link: Link, namespace: &OwnedFd) -> Result<()> {
        let refused = |e| failed(device, e);
        let is_template = device.new_name.contains("%d");
        // The kernel would move it first, and then find that it cannot be called so.
        if !is_template && self.there.link(&device.new_name).is_ok() {
            let text = format!(
                "network device {} already exists in the container's network namespace",
                device.new_name
            );
            return Err(Error::new(Kind::Exists, text).pointer(device.pointer.clone()));
        }
        // Which number the kernel finds is told only of a device whose name is known.
        let parked =
            if is_template { format!("orlop{:x}", process::getpid()) } else { device.new_name.clone() };
        // Before it goes down, with which some of them are lost.
        let mut addresses = self.here.addresses(link.index).map_err(refused)?;
        addresses.retain(Address::is_permanent_and_global);
        let moved = self.here.move_to(link.index, &parked, namespace);
        let found = match moved {
            Ok(()) => parked,
            // Moved, and then not called so after all.
            Err(_) if self.here.link(&device.name) == Err(Errno::ENODEV) => device.name.clone(),
            Err(e) => return Err(refused(e)),
        };
        self.list.push(Device {
            found: found.clone(),
            name: device.name.clone(),
            was_up: link.up,
            addresses: addresses.clone(),
        });
        moved.map_err(refused)?;
        let index = self.there.link(&found).map_err(refused)?.index;
        if is_template {
            self.there.rename(index, &device.new_name).map_err(refused)?;
            let found = self.there.name(index).map_err(refused)?;
            self.list.iter_mut().next_back().into_iter().for_each(|d| d.found.clone_from(&found));
        }
        for address in &addresses {
            self.there.add_address(index, address).map_err(refused)?;
        }
        self.there.set_up(index).map_err(refused)
    }

    fn give_back(&self) {
        for device in self.list.iter().rev() {
            let back = || -> crate::sys::Result<()> {
                let index = self.there.link(&device.found)?.index;
                self.there.move_to(index, &device.name, &self.home)?;
                let link = self.here.link(&device.name)?;
                if device.was_up {
                    self.here.set_up(link.index)?;
                }
                device.addresses.iter().try_for_each(|a| self.here.add_address(link.index, a))
            };
            // Who asked is being told already why there is no container.
            let _ = back();
        }
    }
}

impl Moved {
    /// There is a container now.
    pub fn stay(&mut self) {
        self.0 = None;
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        if let Some(moved) = &self.0 {
            moved.give_back();
        }
    }
}
