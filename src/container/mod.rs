//! A container as the verbs see it: an entry in the store, a record, and what the kernel says of its processes.

pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod id;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod record;
pub mod run;
pub mod start;
pub mod state;
pub mod status;
pub mod store;
pub mod update;

pub use id::Id;
pub use record::Record;
pub use status::Status;
pub use store::{Entry, Store};
