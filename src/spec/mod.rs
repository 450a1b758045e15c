//! The configuration as it was written.

pub mod mount_options;
