//! Which devices a container may use: the rules of config.json and the runtime's own, reduced to a default and its
//! exceptions. The same value becomes v1's `devices.allow`/`devices.deny` and v2's eBPF program, so that the two
//! cannot differ in meaning.
//!
//! The reduction emulates the kernel's v1 controller (`security/device_cgroup.c`) as runc does
//! (`cgroups/devices/devices_emulator.go`): the rules are applied in order to a default of "deny all".

use std::collections::BTreeMap;
use std::fmt;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::error::{Error, Result};

/// Read, write, mknod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access(u8);

impl Access {
    const R: u8 = 1;
    const W: u8 = 2;
    const M: u8 = 4;
    pub const ALL: Self = Self(7);
    const MKNOD: Self = Self(Self::M);

    fn parse(text: &str) -> Option<Self> {
        let bit = |c| match c {
            'r' => Some(Self::R),
            'w' => Some(Self::W),
            'm' => Some(Self::M),
            _ => None,
        };
        text.chars().try_fold(0, |all, c| bit(c).map(|b| all | b)).map(Self)
    }

    pub fn reads(self) -> bool {
        self.0 & Self::R != 0
    }
    pub fn writes(self) -> bool {
        self.0 & Self::W != 0
    }
    pub fn mknods(self) -> bool {
        self.0 & Self::M != 0
    }
    fn is_empty(self) -> bool {
        self.0 == 0
    }
    fn or(self, o: Self) -> Self {
        Self(self.0 | o.0)
    }
    fn and(self, o: Self) -> Self {
        Self(self.0 & o.0)
    }
    fn without(self, o: Self) -> Self {
        Self(self.0 & !o.0)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, c) in [(Self::R, "r"), (Self::W, "w"), (Self::M, "m")] {
            if self.0 & bit != 0 {
                f.write_str(c)?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Block,
    Char,
}

/// The devices that an exception is about. Ordered by major, minor, kind; `None` (any) first: the order of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Which {
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub kind: Kind,
}

impl fmt::Display for Which {
    /// As the kernel writes it: `c 1:*`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.kind == Kind::Block { "b " } else { "c " })?;
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{}:{}", number(self.major), number(self.minor))
    }
}

/// A default, and the devices for which the opposite holds.
#[derive(Clone, Debug, Default)]
pub struct DeviceRules {
    /// What holds for a device that no exception names.
    pub allow: bool,
    pub exceptions: BTreeMap<Which, Access>,
    /// In which order the exceptions came. The kernel keeps a list in the order of writing, and those who read it
    /// expect the configuration's rules before ours.
    order: Vec<Which>,
}

/// Rules are the same when they mean the same.
impl PartialEq for DeviceRules {
    fn eq(&self, other: &Self) -> bool {
        (self.allow, &self.exceptions) == (other.allow, &other.exceptions)
    }
}

impl Eq for DeviceRules {}

/// One write to `devices.allow` or `devices.deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub allow: bool,
    pub line: String,
}

const fn char(major: u32, minor: Option<u32>) -> (Which, Access) {
    (Which { major: Some(major), minor, kind: Kind::Char }, Access::ALL)
}

const fn any(kind: Kind) -> (Which, Access) {
    (Which { major: None, minor: None, kind }, Access::MKNOD)
}

/// What every container may do, as runc's (`specconv.AllowedDevices`): make any node, and use these. The path is
/// that of the default node: a node of config.json at that path replaces the rule.
const ALWAYS: [(Option<&str>, (Which, Access)); 11] = [
    (None, any(Kind::Char)),
    (None, any(Kind::Block)),
    (Some("/dev/null"), char(1, Some(3))),
    (Some("/dev/random"), char(1, Some(8))),
    (Some("/dev/full"), char(1, Some(7))),
    (Some("/dev/tty"), char(5, Some(0))),
    (Some("/dev/zero"), char(1, Some(5))),
    (Some("/dev/urandom"), char(1, Some(9))),
    (None, char(136, None)),
    (None, char(5, Some(2))),
    (None, char(10, Some(200))),
];

impl DeviceRules {
    /// `linux.resources.devices` in order, then what every container may do. `nodes`: `linux.devices`.
    pub fn from_config(rules: &[LinuxDeviceCgroup], nodes: &[LinuxDevice]) -> Result<Self> {
        let mut all = Self::default();
        for (i, rule) in rules.iter().enumerate() {
            let at = format!("/linux/resources/devices/{i}");
            let access = rule.access().as_deref().unwrap_or("");
            if access.is_empty() {
                return Err(Error::spec(at, format!("device access at {i} field cannot be empty")));
            }
            let Some(access) = Access::parse(access) else {
                let text = format!("invalid device access {access:?}: only r, w and m are");
                return Err(Error::spec(at + "/access", text));
            };
            let number = |name: &str, v: Option<i64>| match v {
                None | Some(-1) => Ok(None),
                Some(n) => u32::try_from(n)
                    .map(Some)
                    .map_err(|_| Error::spec(format!("{at}/{name}"), format!("invalid device number {n}"))),
            };
            let kind = match rule.typ().unwrap_or(LinuxDeviceType::A) {
                LinuxDeviceType::A => None,
                LinuxDeviceType::B => Some(Kind::Block),
                LinuxDeviceType::C => Some(Kind::Char),
                other => {
                    let text = format!("invalid cgroup device type {:?}", other.as_str());
                    return Err(Error::spec(at + "/type", text));
                }
            };
            match kind {
                // "All" is about every device and every access, whatever else the rule says.
                None => all = Self { allow: rule.allow(), ..Self::default() },
                Some(kind) => {
                    let (major, minor) = (number("major", rule.major())?, number("minor", rule.minor())?);
                    let which = Which { major, minor, kind };
                    all.add(which, access, rule.allow()).map_err(|text| Error::spec(at, text))?;
                }
            }
        }
        for (path, (which, access)) in ALWAYS {
            let replaced = path.is_some_and(|p| nodes.iter().any(|n| n.path().as_os_str() == p));
            if !replaced {
                all.add(which, access, true).map_err(|text| Error::spec("/linux/resources/devices", text))?;
            }
        }
        Ok(all)
    }

    /// What a `devices.list` says. When all is allowed, its exceptions are not shown.
    pub fn from_list(text: &str) -> Result<Self> {
        let mut all = Self::default();
        for line in text.lines() {
            let bad = || Error::bug(format!("malformed line in devices.list: {line:?}"));
            let fields: Vec<&str> = line.split([' ', ':']).collect();
            let [kind, major, minor, access] = fields[..] else { return Err(bad()) };
            let number = |s: &str| match s {
                "*" => Ok(None),
                s => s.parse().map(Some).map_err(|_| bad()),
            };
            let kind = match kind {
                "a" => {
                    all = Self { allow: true, ..Self::default() };
                    continue;
                }
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return Err(bad()),
            };
            let which = Which { major: number(major)?, minor: number(minor)?, kind };
            let access = Access::parse(access).ok_or_else(bad)?;
            all.add(which, access, true).map_err(Error::bug)?;
        }
        Ok(all)
    }

    fn add(&mut self, which: Which, access: Access, allow: bool) -> std::result::Result<(), String> {
        if allow != self.allow {
            if !self.exceptions.contains_key(&which) {
                self.order.push(which);
            }
            let e = self.exceptions.entry(which).or_default();
            *e = e.or(access);
            return Ok(());
        }
        // An exception that is only a part of another, wider one cannot be taken back: the kernel ignores the attempt
        // silently, which would leave a device open that the configuration closes.
        let wider = [
            Which { major: None, ..which },
            Which { minor: None, ..which },
            Which { major: None, minor: None, ..which },
        ];
        for wide in wider.into_iter().filter(|w| *w != which) {
            let has = self.exceptions.get(&wide).copied().unwrap_or_default();
            if !has.and(access).is_empty() {
                return Err(format!(
                    "device rule {which} {access} is not supported: it cannot punch a hole in the wildcard rule {wide} {has}"
                ));
            }
        }
        if let Some(has) = self.exceptions.get_mut(&which) {
            *has = has.without(access);
            if has.is_empty() {
                self.exceptions.remove(&which);
                self.order.retain(|w| *w != which);
            }
        }
        Ok(())
    }

    /// The fewest writes that lead from what holds in a v1 cgroup (`now`) to these rules. Where possible, no device
    /// that is allowed before and after is denied in between.
    pub fn steps_from(&self, now: &Self) -> Vec<Step> {
        let mut steps = Vec::new();
        let none = BTreeMap::new();
        // The exceptions of an allow-all cgroup cannot be read, so they are wiped too.
        let old = if now.allow || now.allow != self.allow {
            steps.push(Step { allow: self.allow, line: "a *:* rwm".into() });
            &none
        } else {
            &now.exceptions
        };
        let mut change = |from: &BTreeMap<Which, Access>, to: &BTreeMap<Which, Access>, allow: bool| {
            let told = self.order.iter().filter_map(|w| from.get_key_value(w));
            let rest = from.iter().filter(|(w, _)| !self.order.contains(w));
            for (which, access) in told.chain(rest) {
                let differs = access.without(to.get(which).copied().unwrap_or_default());
                if !differs.is_empty() {
                    steps.push(Step { allow, line: format!("{which} {differs}") });
                }
            }
        };
        change(old, &self.exceptions, self.allow);
        change(&self.exceptions, old, !self.allow);
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Result<DeviceRules, String> {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).expect("test document");
        let mut all = DeviceRules::default();
        // Without the runtime's own rules: those are tested apart.
        let full = DeviceRules::from_config(&rules, &[]).map_err(|e| e.to_string())?;
        all.allow = full.allow;
        all.exceptions = full.exceptions;
        Ok(all)
    }

    fn lines(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|s| format!("{} {}", if s.allow { "+" } else { "-" }, s.line)).collect()
    }

    const DEFAULT: [&str; 11] = [
        "+ b *:* m",
        "+ c *:* m",
        "+ c 1:3 rwm",
        "+ c 1:5 rwm",
        "+ c 1:7 rwm",
        "+ c 1:8 rwm",
        "+ c 1:9 rwm",
        "+ c 5:0 rwm",
        "+ c 5:2 rwm",
        "+ c 10:200 rwm",
        "+ c 136:* rwm",
    ];

    #[test]
    fn a_new_cgroup_is_allow_all() {
        let want = rules(r#"[{"allow":false,"access":"rwm"}]"#).expect("rules");
        let now = DeviceRules::from_list("a *:* rwm\n").expect("list");
        let mut expected = vec!["- a *:* rwm"];
        expected.extend(DEFAULT);
        assert_eq!(lines(&want.steps_from(&now)), expected);
        // No rules at all means the same.
        assert_eq!(rules("[]").expect("rules"), want);
    }

    #[test]
    fn a_nested_cgroup_needs_only_the_difference() {
        let list = DEFAULT.iter().map(|l| format!("{}\n", &l[2..])).collect::<String>() + "c 4:1 rw\n";
        let now = DeviceRules::from_list(&list).expect("list");
        let want = rules(
            r#"[{"allow":true,"type":"c","major":4,"minor":1,"access":"r"},
            {"allow":true,"type":"b","major":8,"access":"rwm"}]"#,
        )
        .expect("rules");
        assert_eq!(lines(&want.steps_from(&now)), ["- c 4:1 w", "+ b 8:* rwm"]);
        assert!(want.steps_from(&want).is_empty());
    }

    #[test]
    fn all_allowed_with_exceptions() {
        let want = rules(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"a","access":"rwm"},
                {"allow":false,"type":"b","major":8,"minor":0,"access":"rw"}]"#,
        )
        .expect("rules");
        assert!(want.allow);
        let now = DeviceRules::from_list("a *:* rwm").expect("list");
        assert_eq!(lines(&want.steps_from(&now)), ["+ a *:* rwm", "- b 8:0 rw"]);
    }

    #[test]
    fn later_rules_take_back_earlier_ones() {
        let r = |json| rules(json).map(|r| r.exceptions.len());
        let base = rules("[]").expect("rules").exceptions.len();
        assert_eq!(
            r(r#"[{"allow":true,"type":"c","major":9,"minor":9,"access":"rw"},
                 {"allow":false,"type":"c","major":9,"minor":9,"access":"rw"}]"#),
            Ok(base)
        );
        assert!(
            r(r#"[{"allow":true,"type":"c","major":9,"access":"rw"},
                 {"allow":false,"type":"c","major":9,"minor":9,"access":"w"}]"#)
            .expect_err("a hole")
            .contains("punch a hole")
        );
    }

    #[test]
    fn bad_rules() {
        for (json, text) in [
            (r#"[{"allow":true,"type":"c"}]"#, "device access at 0 field cannot be empty"),
            (r#"[{"allow":true,"type":"c","access":"rwx"}]"#, "/linux/resources/devices/0/access"),
            (r#"[{"allow":true,"type":"p","access":"r"}]"#, "invalid cgroup device type"),
            (r#"[{"allow":true,"type":"c","major":-2,"access":"r"}]"#, "invalid device number -2"),
        ] {
            let e = rules(json).expect_err(json);
            assert!(e.contains(text), "{json}: {e}");
        }
        for bad in ["x", "z 1:2 r", "c 1:x r", "c 1:2 q", "c 1 r"] {
            assert!(DeviceRules::from_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_of_the_config_replaces_its_default_rule() {
        let node: LinuxDevice =
            serde_json::from_str(r#"{"path":"/dev/zero","type":"c","major":9,"minor":9}"#).expect("node");
        let with = DeviceRules::from_config(&[], &[node]).expect("rules");
        let zero = Which { major: Some(1), minor: Some(5), kind: Kind::Char };
        assert!(!with.exceptions.contains_key(&zero));
        assert_eq!(with.exceptions.len(), rules("[]").expect("rules").exceptions.len() - 1);
    }
}
