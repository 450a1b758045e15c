//! Every seed, and random changes of it, through its target: what can be had without libFuzzer, in seconds.
//!
//! ORLOP_FUZZ_ROUNDS: how many changes of each seed (default 200). A failure names the target and keeps its input in
//! `out/fuzz`.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_fuzz::bytes::Chance;
use orlop_fuzz::{TARGETS, Target, json};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    all.sort();
    all
}

/// Words of a dictionary in libFuzzer's form: `"text"` or `name="text"`, with \\, \" and \xNN.
fn dictionary(path: &Path) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let quoted = |line: &str| -> Option<Vec<u8>> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        let inner = line.split_once('"')?.1.strip_suffix('"')?;
        let (mut out, mut chars) = (Vec::new(), inner.chars());
        while let Some(c) = chars.next() {
            match (c, chars.as_str().as_bytes()) {
                ('\\', [b'x', a, b, ..]) => {
                    let digits = [*a, *b];
                    out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                    chars.nth(2);
                }
                ('\\', _) => out.extend(chars.next().map(|c| c as u8)),
                (c, _) => out.extend(c.to_string().bytes()),
            }
        }
        Some(out)
    };
    text.lines().filter_map(quoted).collect()
}

/// What this thread has had of the processors: whoever else is at work does not count.
fn worked() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    Duration::from_nanos(told.split(' ').next().and_then(|n| n.parse().ok()).expect("nanoseconds"))
}

fn run(target: &Target, data: &[u8], from: &Path) {
    let begun = worked();
    let result = catch_unwind(|| (target.run)(data));
    let took = worked().saturating_sub(begun);
    if result.is_err() || took > Duration::from_secs(10) {
        let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out/fuzz").join(target.name);
        std::fs::create_dir_all(&out).expect("a directory for findings");
        let kept = out.join(format!("replay-{}", from.file_name().expect("a file").to_string_lossy()));
        std::fs::write(&kept, data).expect("keep the finding");
        panic!("target {}: {} ({took:?}), from {}", target.name, kept.display(), from.display());
    }
}

#[test]
fn every_seed_and_changes_of_it() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rounds = std::env::var("ORLOP_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200_u64);
    let only = std::env::var("ORLOP_FUZZ_TARGET").ok();
    for target in TARGETS.iter().filter(|t| only.as_ref().is_none_or(|o| o == t.name)) {
        let seeds = files(&here.join("seeds").join(target.name));
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        let words = dictionary(&here.join("dictionaries").join(format!("{}.dict", target.name)));
        for seed in &seeds {
            let data = std::fs::read(seed).expect("read a seed");
            run(target, &data, seed);
            for round in 0..rounds {
                let mut chance = Chance::new(round);
                let document =
                    (target.is_json && round % 4 != 0).then(|| json::mutate(&data, round)).flatten();
                let changed = document.unwrap_or_else(|| {
                    let mut bytes = data.clone();
                    chance.mutate(&mut bytes, &words);
                    bytes
                });
                run(target, &changed, seed);
            }
        }
    }
}

#[test]
fn no_seeds_and_no_dictionary_of_nobody() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for dir in ["seeds", "dictionaries"] {
        for file in files(&here.join(dir)) {
            let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
            assert!(TARGETS.iter().any(|t| t.name == name), "{} belongs to no target", file.display());
        }
    }
}
