//! The exact strings that clients of runc match, each with who matches it.

/// containerd (`checkKillError`), CRI-O, BuildKit: the container is gone already.
pub const NOT_RUNNING: &str = "container not running";
/// runc's word for `resume` of what is not paused.
pub const NOT_PAUSED: &str = "container not paused";
/// go-runc, containerd, podman: nothing of that name.
pub const DOES_NOT_EXIST: &str = "container does not exist";
/// containerd, docker.
pub const ID_EXISTS: &str = "container with given ID already exists";
pub const INVALID_ID: &str = "invalid container ID format";
