use clap::Args;

use super::{Global, print, to_json};
use crate::container::state::State;
use crate::container::{Store, list};
use crate::error::{Error, Kind, Result};
use crate::log::Log;

#[derive(Debug, Args)]
pub struct List {
    /// table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Names only
    #[arg(long, short)]
    quiet: bool,
}

impl List {
    pub fn run(&self, global: &Global, log: &Log) -> Result<i32> {
        let store = Store::open_existing(&global.root())?;
        if store.is_none() && !global.has_default_root() {
            return Err(global.no_root());
        }
        if self.quiet {
            let names = store.map_or(Ok(Vec::new()), |store| list::names(&store, log))?;
            return print(names.iter().map(|name| format!("{name}\n")).collect::<String>().as_bytes());
        }
        let all = store.map_or(Ok(Vec::new()), |store| list::list(&store, log))?;
        match self.format.as_str() {
            "table" => print(table(&all).as_bytes()),
            // As runc: no container is null, and there is no newline.
            "json" if all.is_empty() => print(b"null"),
            "json" => print(&to_json(&all, false)?),
            _ => Err(Error::new(Kind::Usage, "invalid format option")),
        }
    }
}

/// Columns as wide as their widest cell and three spaces, twelve at least: Go's tabwriter as runc sets it.
fn table(all: &[State]) -> String {
    const HEAD: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let mut rows: Vec<[String; 6]> = vec![HEAD.map(str::to_owned)];
    for s in all {
        rows.push([
            s.id.clone(),
            s.pid.to_string(),
            s.status.to_owned(),
            s.bundle.display().to_string(),
            s.created.clone(),
            s.owner.clone(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<_> = (0..5).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            out.push_str(&format!("{cell:<width$}"));
        }
        out.push_str(&row[5]);
        out.push('\n');
    }
    out
}
