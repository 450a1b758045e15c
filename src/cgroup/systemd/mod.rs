//! systemd's driver: the container's cgroup is that of a transient scope, which systemd makes and removes.
//!
//! Two writers share its files. So that they agree, systemd is told every limit that it has a property for, and the
//! files are written after it; what it has none for is written alone. A scope is made around a process that is there
//! already, so init is born in the runtime's own cgroup and waits.

mod annotation;
mod bus;
mod name;
pub mod property;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use crate::error::{Context, Error, Kind, Result};
use crate::sys::process::{Deadline, Pid};

use super::devices::DeviceRules;
use bus::Bus;
pub use name::Scope;
use property::{Property, Value};

/// What systemd may take for one thing that is asked of it, connecting included. It can be long under load (runc
/// #4853), and must not be for ever (runc #3904).
const PATIENCE: Duration = Duration::from_secs(30);
/// For a scope that has no cgroup: most likely there is none.
const SHORT: Duration = Duration::from_secs(2);

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// A scope, and the way to its systemd.
pub struct Driver {
    scope: Scope,
    /// Set when the unit starts, and never again.
    extra: Vec<Property>,
    bus: RefCell<Option<Bus>>,
    version: OnceCell<u32>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("scope", &self.scope)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

impl Driver {
    /// Decides on the unit; nothing is made.
    pub fn plan(
        cgroups_path: Option<&str>,
        id: &str,
        annotations: &BTreeMap<String, String>,
        is_v2: bool,
    ) -> Result<Self> {
        let user = bus::is_users();
        if user && !is_v2 {
            let text = "cannot use rootless systemd cgroups manager on cgroup v1";
            return Err(Error::new(Kind::Host, text).hint("use --cgroup-manager cgroupfs"));
        }
        let mut driver = Self::of(Scope::plan(cgroups_path, id, user)?);
        driver.extra = annotation::properties(annotations)?;
        Ok(driver)
    }

    pub fn of(scope: Scope) -> Self {
        Self { scope, extra: Vec::new(), bus: RefCell::new(None), version: OnceCell::new() }
    }

    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The scope's cgroup below the root of the hierarchy. A user's systemd must be asked for its own.
    pub fn place(&self) -> Result<String> {
        let below = self.scope.below()?;
        if !self.scope.user {
            // Without systemd there is no scope: told before anything is made. The connection serves later.
            self.on_bus(PATIENCE, |_, _| Ok(()))?;
            return Ok(below);
        }
        let own = self.on_bus(PATIENCE, |bus, deadline| bus.manager_property("ControlGroup", deadline))?;
        Ok(super::path::clean(&format!("{own}/{below}")))
    }

    /// Makes the scope around a process, and waits until it is there.
    pub fn start(&self, pid: Pid, r: Option<&LinuxResources>, is_v2: bool) -> Result<()> {
        let pid = u32::try_from(pid).map_err(|_| Error::bug("a scope for no process"))?;
        let policy = match r.filter(|_| is_v2) {
            Some(r) if r.unified().is_some() => property::oom_policy(r, self.version()?),
            _ => None,
        };
        let mut all = vec![
            Property::new("Description", Value::Text(format!("orlop container {}", self.scope.unit))),
            Property::new("Slice", Value::Text(self.scope.slice.clone())),
            Property::new("Delegate", Value::Bool(true)),
            Property::new("PIDs", Value::Pids(vec![pid])),
            // Memory cannot be accounted for from the middle on.
            Property::new("MemoryAccounting", Value::Bool(true)),
            Property::new("CPUAccounting", Value::Bool(true)),
            Property::new(if is_v2 { "IOAccounting" } else { "BlockIOAccounting" }, Value::Bool(true)),
            Property::new("TasksAccounting", Value::Bool(true)),
            Property::new("DefaultDependencies", Value::Bool(false)),
        ];
        all.extend(policy);
        all.extend(self.extra.iter().cloned());
        let unit = &self.scope.unit;
        self.on_bus(PATIENCE, |bus, deadline| {
            let job = match start_unit(bus, unit, &all, deadline) {
                // Most likely what is left of one that failed: it goes when it is reset.
                Err(r) if r.name == UNIT_EXISTS => {
                    let _ = bus.manager("ResetFailedUnit", vec![bus::text(unit)], deadline);
                    start_unit(bus, unit, &all, deadline)
                }
                r => r,
            };
            let job = job.map_err(|r| r.error)?;
            let result = bus.wait_for_job(&job, deadline)?;
            if result == "done" {
                return Ok(());
            }
            let _ = bus.manager("ResetFailedUnit", vec![bus::text(unit)], deadline);
            Err(Error::new(Kind::Host, format!("its job ended as {result:?}"))
                .hint(format!("see journalctl -u {unit}")))
        })
        .within(format!("start systemd unit {unit}"))
    }

    /// Tells systemd the limits.
    pub fn set(&self, r: &LinuxResources, is_v2: bool) -> Result<()> {
        self.set_properties(&property::of_resources(r, is_v2, self.version()?)?)
    }

    pub fn set_devices(&self, rules: &DeviceRules) -> Result<()> {
        self.set_properties(&property::of_devices(rules, self.version()?))
    }

    fn set_properties(&self, all: &[Property]) -> Result<()> {
        if all.is_empty() {
            return Ok(());
        }
        let unit = &self.scope.unit;
        self.on_bus(PATIENCE, |bus, deadline| {
            // Until the unit ends, and not on disk.
            let args = vec![bus::text(unit), bus::flag(true), bus::properties(all)?];
            bus.manager("SetUnitProperties", args, deadline).map(drop).map_err(|r| r.error)
        })
        .within(format!("unable to set properties of systemd unit {unit}"))
    }

    /// Takes the scope away. That it is gone already is no failure.
    pub fn stop(&self, there: bool) -> Result<()> {
        let unit = &self.scope.unit;
        self.on_bus(if there { PATIENCE } else { SHORT }, |bus, deadline| {
            let args = vec![bus::text(unit), bus::text("replace")];
            let stopped = bus.manager("StopUnit", args, deadline).map(|answer| bus::job(&answer));
            match stopped {
                Ok(job) => drop(bus.wait_for_job(&job?, deadline)?),
                Err(r) if r.name == NO_SUCH_UNIT => return Ok(()),
                Err(r) => return Err(r.error),
            }
            // A failed unit stays known until it is reset; any other refuses.
            let _ = bus.manager("ResetFailedUnit", vec![bus::text(unit)], deadline);
            Ok(())
        })
        .within(format!("stop systemd unit {unit}"))
    }

    fn version(&self) -> Result<u32> {
        if let Some(v) = self.version.get() {
            return Ok(*v);
        }
        let text = self.on_bus(PATIENCE, |bus, deadline| bus.manager_property("Version", deadline))?;
        Ok(*self.version.get_or_init(|| version(&text)))
    }

    /// One thing asked of systemd, within a deadline. A connection that has failed is not used again.
    fn on_bus<T>(&self, patience: Duration, ask: impl FnOnce(&mut Bus, Deadline) -> Result<T>) -> Result<T> {
        let deadline = Deadline::after(patience);
        let mut bus = match self.bus.take() {
            Some(bus) => bus,
            None => Bus::connect(self.scope.user, deadline)?,
        };
        let done = ask(&mut bus, deadline);
        if done.is_ok() {
            self.bus.replace(Some(bus));
        }
        done
    }
}

fn start_unit(
    bus: &mut Bus,
    unit: &str,
    all: &[Property],
    deadline: Deadline,
) -> std::result::Result<String, bus::Refusal> {
    let args = vec![bus::text(unit), bus::text("replace"), bus::properties(all)?, bus::no_more_units()?];
    Ok(bus::job(&bus.manager("StartTransientUnit", args, deadline)?)?)
}

/// `v245.4-1.fc32`, `257.9-1~deb13u1`, in quotes or not: the first number. What has none is taken for new.
fn version(text: &str) -> u32 {
    let digits: String =
        text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions() {
        for (text, want) in [
            ("v245.4-1.fc32", 245),
            ("\"v245-1.fc32\"", 245),
            ("257.9-1~deb13u1", 257),
            ("245", 245),
            ("", u32::MAX),
        ] {
            assert_eq!(super::version(text), want, "{text}");
        }
    }
}
