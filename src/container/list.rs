//! list: every container of a state root.

use super::state::{self, State};
use super::store::{Entry, Store};
use crate::error::{Kind, Result};
use crate::log::Log;

/// A container that is damaged, or goes away meanwhile, does not hide the others.
pub fn list(store: &Store, log: &Log) -> Result<Vec<State>> {
    let mut all = Vec::new();
    for id in store.ids()? {
        let owned = |entry: Entry| {
            let owner = state::user_name(entry.owner()?);
            Ok(State { owner, ..state::state(&entry)? })
        };
        match store.find(&id).and_then(owned) {
            Ok(s) => all.push(s),
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => log.warn(&format!("container {id}: {e}")),
        }
    }
    Ok(all)
}
