//! Where a cgroup is and what is written there and read from it.

use std::collections::BTreeMap;
use std::collections::HashMap;

use oci_spec::runtime::LinuxResources;
use orlop::cgroup::path::{self, Place};
use orlop::cgroup::systemd::{self, annotation};
use orlop::cgroup::{self, layout, stats};
use orlop::error::Result;

use super::judged;

/// A path below a mount point that leads nowhere else.
pub fn check_below(below: &str) {
    assert!(!below.is_empty() && !below.starts_with('/') && !below.ends_with('/'), "{below:?}");
    for part in below.split('/') {
        assert!(!matches!(part, "" | "." | ".."), "{below:?}");
    }
}

pub fn check_place(place: Option<Place>) {
    let Some(Place::FromRoot(below) | Place::FromOwn(below)) = place else { return };
    check_below(&below);
    assert!(!below.contains(['\n', '\0']) && below.len() < 4000, "{below:?}");
}

/// The first line is the id, what follows the path.
pub fn path(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (id, wanted) = text.split_once('\n').unwrap_or(("id", &text));
    if judged(orlop::container::Id::parse(id)).is_none() {
        return;
    }
    check_place(judged(path::place(Some(wanted), id)));
    check_place(judged(path::place(None, id)));
    for user in [false, true] {
        let Some(scope) = judged(systemd::Scope::plan(Some(wanted), id, user)) else { continue };
        scope.check().expect("what was planned is good enough for a record");
        let below = judged(scope.below()).expect("what was planned is somewhere");
        check_below(&below);
        assert!(below.ends_with(".scope") && !below.contains(['\n', '\0']), "{below:?}");
    }
}

/// Pairs of lines: key, value.
pub fn unified(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let mut all = HashMap::new();
    while let Some(key) = lines.next() {
        all.insert(key.to_owned(), lines.next().unwrap_or_default().to_owned());
    }
    let mut r = LinuxResources::default();
    r.set_unified(Some(all));
    judged(orlop::spec::rules::check_resources(&r));
    for w in judged(cgroup::v2::writes(&r)).into_iter().flatten() {
        assert!(!w.file.contains(['/', '\0']), "{:?}", w.file);
        assert!(w.file.split_once('.').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty()), "{:?}", w.file);
        assert!(w.file != "..", "{:?}", w.file);
    }
    for version in [219, 245, 255] {
        judged(systemd::property::of_resources(&r, true, version));
    }
}

/// Pairs of lines: the property's name, its value.
pub fn annotations(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let mut all = BTreeMap::new();
    while let Some(key) = lines.next() {
        let value = lines.next().unwrap_or_default();
        all.insert(format!("org.systemd.property.{key}"), value.to_owned());
    }
    for p in judged(annotation::properties(&all)).into_iter().flatten() {
        // Those by which systemd runs a program or touches another unit.
        for never in
            ["Exec", "OnFailure", "OnSuccess", "Conflicts", "Requires", "Wants", "BindsTo", "PropagatesTo"]
        {
            assert!(!p.name.contains(never), "{} may not be set", p.name);
        }
        assert!(p.name.bytes().all(|b| b.is_ascii_alphanumeric()), "{:?}", p.name);
    }
}

/// A mount table, an empty line, a /proc/self/cgroup.
pub fn mountinfo(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (table, own) = text.split_once("\n\n").unwrap_or((&text, "0::/"));
    let found = layout::parse(table, own);
    let place = Place::FromOwn("id".into());
    for h in &found.v1 {
        assert!(!h.controllers.is_empty());
        check_below(&layout::below_v1(h, &place));
    }
    if let Some(h) = &found.v2 {
        check_below(&layout::below_v2(h, &place));
    }
    let _ = found.mode();
    orlop::init::rootfs::foreign_kernel_mounts(table, 1);
}

/// Each file that is asked for gets the next piece of the input; pieces are apart by a zero byte.
pub fn files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let pieces: Vec<&str> = text.split('\0').collect();
    let next = std::cell::Cell::new(0);
    let piece = || -> Result<Option<String>> {
        let n = next.replace(next.get() + 1);
        // A file in a while is not there.
        Ok(pieces.get(n % pieces.len()).filter(|p| **p != "-").map(|p| (*p).to_owned()))
    };
    let sizes = ["2MB".to_owned(), "1GB".to_owned()];
    for stats in [stats::v2::stats(&|_| piece(), &sizes), stats::v1::stats(&|_, _| piece(), &sizes)] {
        if let Some(stats) = judged(stats) {
            serde_json::to_vec(&stats).expect("statistics can be written");
        }
    }
}
