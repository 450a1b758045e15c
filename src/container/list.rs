//! list: every container of a state root.

use super::state::{self, State};
use super::status::boot_id;
use super::store::{Entry, Store};
use crate::error::{Kind, Result};
use crate::log::Log;

/// In the order of their names.
pub fn list(store: &Store, log: &Log) -> Result<Vec<State>> {
    let this_boot = boot_id();
    each(store, log, |entry| {
        let owner = state::user_name(entry.owner()?);
        Ok(State { owner, ..state::state_in(&entry, &this_boot)? })
    })
}

/// Their names alone, for which nobody need look what they do.
pub fn names(store: &Store, log: &Log) -> Result<Vec<String>> {
    each(store, log, |entry| Ok(entry.record()?.id))
}

/// A container that is damaged, or goes away meanwhile, does not hide the others.
fn each<T>(store: &Store, log: &Log, tell: impl Fn(Entry) -> Result<T>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for id in store.ids()? {
        match store.find(&id).and_then(&tell) {
            Ok(s) => all.push(s),
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => log.warn(&format!("container {id}: {e}")),
        }
    }
    Ok(all)
}
