//! The rooms, named after the runtime's own.

mod lifecycle;
mod mounts;
mod process;
mod run;
