//! systemd's driver: the container's cgroup is that of a transient scope, which systemd makes and removes.
//!
//! Two writers share its files. So that they agree, systemd is told every limit that it has a property for, and the
//! files are written after it; what it has none for is written alone. A scope is made around a process that is there
//! already, so init is born in the runtime's own cgroup and waits.

pub mod annotation;
mod bus;
mod name;
pub mod property;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use crate::error::{Context, Error, Kind, Result};
use crate::sys::process::{Deadline, Pid};
use crate::sys::{Errno, fs};

use super::devices::DeviceRules;
use bus::{Bus, Refusal};
pub use name::Scope;
use property::{Property, Value};

/// What systemd may take for one thing that is asked of it, connecting included. It can be long under load (runc
/// #4853), and must not be for ever (runc #3904).
const PATIENCE: Duration = Duration::from_secs(30);
/// Of that, for a bus where no systemd is and none has been.
const AWAY: Duration = Duration::from_secs(10);
/// For the end of a scope whose cgroup is gone already, which systemd sees by itself: also after a systemd that hangs
/// has cost [`PATIENCE`].
const TIDY: Duration = Duration::from_secs(2);
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
    /// Has it answered us?
    is_known: Cell<bool>,
    /// Is a unit of this name somebody else's?
    is_taken: Cell<bool>,
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
        Self {
            scope,
            extra: Vec::new(),
            bus: RefCell::new(None),
            is_known: Cell::new(false),
            is_taken: Cell::new(false),
            version: OnceCell::new(),
        }
    }

    /// Did [`Driver::start`] fail because the unit is somebody else's?
    pub fn is_taken(&self) -> bool {
        self.is_taken.get()
    }

    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The scope's cgroup below the root of the hierarchy. A user's systemd must be asked for its own.
    pub fn place(&self) -> Result<String> {
        let below = self.scope.below()?;
        if !self.scope.user {
            // Without systemd there is no scope: told before anything is made. Connection and answer serve later.
            self.version()?;
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
                Err(r) if r.name == UNIT_EXISTS => {
                    // Asked for before, by us, of a systemd that could not answer?
                    if self.holds(pid) {
                        return Ok(());
                    }
                    // Most likely what is left of one that failed: it goes when it is reset.
                    let _ = bus.manager("ResetFailedUnit", vec![bus::text(unit)], deadline);
                    let again = start_unit(bus, unit, &all, deadline);
                    self.is_taken.set(again.as_ref().is_err_and(|r| r.name == UNIT_EXISTS));
                    again?
                }
                r => r?,
            };
            let result = match bus.wait_for_job(&job, deadline)? {
                Some(result) if result == "done" => return Ok(()),
                None if self.holds(pid) => return Ok(()),
                Some(result) => format!("ended as {result:?}"),
                None => "ended unseen, without the process".into(),
            };
            let _ = bus.manager("ResetFailedUnit", vec![bus::text(unit)], deadline);
            let e = Error::new(Kind::Host, format!("its job {result}"));
            Err(e.hint(format!("see journalctl -u {unit}")).into())
        })
        .within(format!("start systemd unit {unit}"))
    }

    /// Is the process in the scope?
    fn holds(&self, pid: u32) -> bool {
        let end = format!("/{}", self.scope.unit);
        let text = fs::read_file(format!("/proc/{pid}/cgroup"), 1 << 16).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().any(|l| l.ends_with(&end))
    }

    /// Tells systemd the limits.
    pub fn set(&self, r: &LinuxResources, is_v2: bool) -> Result<()> {
        self.set_properties(&property::of_resources(r, is_v2, self.version()?)?)
    }

    pub fn set_devices(&self, rules: &DeviceRules) -> Result<()> {
        self.set_properties(&property::of_devices(rules, self.version()?))
    }

    /// Brings a process into the scope, or a cgroup below it.
    pub fn attach(&self, below: &str, pid: Pid) -> Result<()> {
        let pid = u32::try_from(pid).map_err(|_| Error::bug("no process to attach"))?;
        let unit = &self.scope.unit;
        self.on_bus(PATIENCE, |bus, deadline| {
            let args = vec![bus::text(unit), bus::text(&format!("/{below}")), bus::pids(&[pid])?];
            bus.manager("AttachProcessesToUnit", args, deadline).map(drop)
        })
        .within(format!("attach process {pid} to systemd unit {unit}"))
    }

    fn set_properties(&self, all: &[Property]) -> Result<()> {
        if all.is_empty() {
            return Ok(());
        }
        let unit = &self.scope.unit;
        self.on_bus(PATIENCE, |bus, deadline| {
            // Until the unit ends, and not on disk.
            let args = vec![bus::text(unit), bus::flag(true), bus::properties(all)?];
            bus.manager("SetUnitProperties", args, deadline).map(drop)
        })
        .within(format!("unable to set properties of systemd unit {unit}"))
    }

    /// Takes the scope away. That it is gone already is no failure.
    pub fn stop(&self, there: bool) -> Result<()> {
        let unit = &self.scope.unit;
        self.on_bus(if there { TIDY } else { SHORT }, |bus, deadline| {
            let args = vec![bus::text(unit), bus::text("replace")];
            match bus.manager("StopUnit", args, deadline) {
                Ok(answer) => drop(bus.wait_for_job(&bus::job(&answer)?, deadline)?),
                Err(r) if r.name == NO_SUCH_UNIT => return Ok(()),
                Err(r) => return Err(r),
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

    /// One thing asked of systemd, within a deadline, and asked again of a systemd that went away meanwhile. A connection
    /// that has failed is not used again.
    fn on_bus<T>(
        &self,
        patience: Duration,
        mut ask: impl FnMut(&mut Bus, Deadline) -> std::result::Result<T, Refusal>,
    ) -> Result<T> {
        let deadline = Deadline::after(patience);
        // A systemd that was there comes back; there may never have been one.
        let away = Deadline::after(AWAY);
        let mut pause = Duration::from_millis(5);
        loop {
            let connected = match self.bus.take() {
                Some(bus) => Ok(bus),
                None => Bus::connect(self.scope.user, deadline),
            };
            let done = connected.and_then(|mut bus| {
                let answer = ask(&mut bus, deadline)?;
                self.is_known.set(true);
                self.bus.replace(Some(bus));
                Ok(answer)
            });
            match done {
                Ok(answer) => return Ok(answer),
                Err(r) => {
                    let known = self.is_known.get();
                    let passing = r.is_passing() || known && is_away(&r.error);
                    if !passing || deadline.passed() || !known && away.passed() {
                        return Err(r.error);
                    }
                }
            }
            std::thread::sleep(deadline.left().map_or(pause, |left| left.min(pause)));
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}

/// A socket that nobody listens at.
fn is_away(e: &Error) -> bool {
    matches!(e.errno(), Some(Errno::ENOENT | Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::EPIPE))
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
