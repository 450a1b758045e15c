//! Annotations that mean something to a runtime. All others are kept, shown in `state` and given to hooks, as they are.

/// `org.systemd.property.NAME = "GVARIANT"`: a property of the container's systemd unit; only with the systemd cgroup
/// driver. NAME is three letters or more; `…Sec` becomes `…USec` with its value in microseconds. As in runc and crun.
pub const SYSTEMD_PROPERTY_PREFIX: &str = "org.systemd.property.";

/// `org.criu.config = "PATH"`: the configuration file that CRIU reads at checkpoint and restore. As in runc and crun.
pub const CRIU_CONFIG: &str = "org.criu.config";

/// runc's own label of the bundle, kept beside the annotations; `state` takes it out again. A configuration that has
/// an annotation of this name could mislead whoever reads it there.
pub const BUNDLE: &str = "bundle";

/// What `features` lists as potentially unsafe: an image or a user who may set these can change what happens on the
/// host. A trailing dot means a prefix.
pub const POTENTIALLY_UNSAFE: [&str; 3] = [BUNDLE, SYSTEMD_PROPERTY_PREFIX, CRIU_CONFIG];

/// In `features`: whether checkpoint and restore are there.
pub const CHECKPOINT_ENABLED: &str = "org.opencontainers.runc.checkpoint.enabled";

/// In `features`: our version, in the manner of crun. (`org.opencontainers.runc.version`, which others may set to the
/// runc that they are most like, waits until nothing of that runc is missing.)
pub const OWN_VERSION: &str = "run.oci.orlop.version";

/// In `features`: the libseccomp that is linked in.
pub const LIBSECCOMP_VERSION: &str = "io.github.seccomp.libseccomp.version";

/// The name of a systemd property, if the key of an annotation is one. Go's rule: letters of ASCII, at least three.
pub fn systemd_property(key: &str) -> Option<Result<&str, &'static str>> {
    let name = key.strip_prefix(SYSTEMD_PROPERTY_PREFIX)?;
    Some(match name {
        n if n.len() < 3 => Err("too short"),
        n if !n.bytes().all(|b| b.is_ascii_alphabetic()) => Err("contains non-alphabetic character"),
        n => Ok(n),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_by_their_keys() {
        for (key, want) in [
            ("org.systemd.property.TimeoutStopUSec", Some(Ok("TimeoutStopUSec"))),
            ("org.systemd.property.ab", Some(Err("too short"))),
            ("org.systemd.property.", Some(Err("too short"))),
            ("org.systemd.property.a b", Some(Err("contains non-alphabetic character"))),
            ("org.systemd.propertyX", None),
            ("", None),
        ] {
            assert_eq!(systemd_property(key), want, "{key}");
        }
    }
}
