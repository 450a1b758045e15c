//! A container as the verbs see it: an entry in the store, a record, and what the kernel says of its processes.

// Numbers and texts here are others': no index that may not be there, no sum that wraps, no id that a cast makes another's
// (CVE-2026-30892).
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
    )
)]

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
