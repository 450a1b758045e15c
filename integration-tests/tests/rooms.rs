//! The rooms, named after the runtime's own.

mod devices;
mod identity;
mod kernel;
mod lifecycle;
mod mounts;
mod namespaces;
mod paths;
mod process;
mod rlimits;
mod root;
mod run;
mod schedule;
