//! What a security module is to call the container: AppArmor's profile, SELinux's labels of processes and mounts.

use oci_spec::runtime::{Linux, Process};

use crate::error::{Error, Kind, Result};

/// What the kernel has: a label means nothing to one without its module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    pub apparmor: bool,
    /// With a policy.
    pub selinux: bool,
}

/// From execve(2) on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lsm {
    /// AppArmor's profile.
    pub apparmor: Option<String>,
    /// SELinux's label; of the session keyring, too.
    pub selinux: Option<String>,
}

impl Lsm {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn given(label: &Option<String>) -> Option<&str> {
    label.as_deref().filter(|l| !l.is_empty())
}

/// Labels of a process, the container's own or one of `exec`.
///
/// A profile on a machine without AppArmor is ignored, as crun does and the validation suite asks for; a label on one
/// without SELinux is refused, as runc does.
pub fn build(process: &Process, there: Modules, warnings: &mut Vec<String>) -> Result<Lsm> {
    let selinux = given(process.selinux_label()).map(str::to_owned);
    if selinux.is_some() && !there.selinux {
        return Err(Error::new(
            Kind::Unsupported,
            "selinux label is specified in config, but selinux is disabled or not supported",
        )
        .pointer("/process/selinuxLabel"));
    }
    let mut apparmor = given(process.apparmor_profile()).map(str::to_owned);
    if apparmor.is_some() && !there.apparmor {
        warnings.push("/process/apparmorProfile: ignoring the profile, this kernel has no AppArmor".into());
        apparmor = None;
    }
    Ok(Lsm { apparmor, selinux })
}

/// What `context=` says of the mounts that are made for the container.
pub fn mount_label(linux: &Linux, there: Modules, warnings: &mut Vec<String>) -> Option<String> {
    let label = given(linux.mount_label())?;
    if there.selinux {
        return Some(label.to_owned());
    }
    // The validation suite wants it so; runc has the kernel refuse the first tmpfs.
    warnings.push("/linux/mountLabel: ignoring the label, SELinux is disabled or not supported".into());
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(apparmor: &str, selinux: &str) -> Process {
        let mut p = Process::default();
        p.set_apparmor_profile(Some(apparmor.into()));
        p.set_selinux_label(Some(selinux.into()));
        p
    }

    #[test]
    fn what_the_kernel_has_decides() {
        let both = Modules { apparmor: true, selinux: true };
        let none = Modules::default();
        for (apparmor, selinux, there, want, warned) in [
            ("", "", none, Some((None, None)), 0),
            ("", "", both, Some((None, None)), 0),
            ("p", "", none, Some((None, None)), 1),
            ("p", "", both, Some((Some("p"), None)), 0),
            ("unconfined", "", both, Some((Some("unconfined"), None)), 0),
            ("", "a:b:c", none, None, 0),
            ("", "a:b:c", Modules { apparmor: true, selinux: false }, None, 0),
            ("p", "a:b:c", both, Some((Some("p"), Some("a:b:c"))), 0),
        ] {
            let mut warnings = Vec::new();
            let got = build(&process(apparmor, selinux), there, &mut warnings).ok();
            let want =
                want.map(|(a, s)| Lsm { apparmor: a.map(str::to_owned), selinux: s.map(str::to_owned) });
            assert_eq!((got, warnings.len()), (want, warned), "{apparmor:?} {selinux:?} {there:?}");
        }
    }

    #[test]
    fn labels_of_mounts_need_the_module() {
        let mut linux = Linux::default();
        linux.set_mount_label(Some("a:b:c".into()));
        for (selinux, want, warned) in [(true, Some("a:b:c"), 0), (false, None, 1)] {
            let mut warnings = Vec::new();
            let there = Modules { apparmor: false, selinux };
            assert_eq!(mount_label(&linux, there, &mut warnings).as_deref(), want);
            assert_eq!(warnings.len(), warned);
        }
    }
}
