//! Races and long runs: many commands at once, and the same a thousand times over. Here in short; `make soak` sets
//! `ITEST_SOAK` and takes its time on a machine that has nothing else to do.

use integration_tests::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn is_long() -> bool {
    std::env::var_os("ITEST_SOAK").is_some()
}

/// How often: in the suite, and in the long form.
fn times(short: u32, long: u32) -> u32 {
    if is_long() { long } else { short }
}

/// Case 57: of 64 that want the id one gets it.
#[test]
fn one_id_for_many() {
    check(|t| {
        for _ in 0..times(1, 50) {
            let mut b = t.bundle();
            b.probe(&["wait"]);
            let id = t.id();
            let calls: Vec<_> = (0..64).map(|_| b.call(&["create"], &id).spawn()).collect();
            let outputs: Vec<_> = calls.into_iter().map(Running::wait).collect();
            let (winners, losers): (Vec<_>, Vec<_>) = outputs.iter().partition(|o| o.status == 0);
            assert_eq!(winners.len(), 1);
            for loser in losers {
                loser.fails(&["already exists"]);
            }
            t.rt(&["delete", "--force", &id]).ok();
            t.nothing_left();
        }
    });
}

/// Whoever is first, force leaves nothing; a creation that it overtakes fails, or is deleted when it is done.
#[test]
fn create_against_delete_force() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["deaf"]);
        for n in 0..times(12, 2000) {
            let id = t.id();
            let create = b.call(&["create"], &id).spawn();
            std::thread::sleep(Duration::from_micros(u64::from(n * 7 % 24) * 1500));
            let delete = t.call(["delete", "--force", &id]).spawn();
            delete.wait().ok();
            create.wait();
            // A deletion that came before the creation had nothing to delete.
            t.rt(&["delete", "--force", &id]).ok();
            t.nothing_left();
        }
    });
}

#[test]
fn delete_against_delete() {
    check(|t| {
        for _ in 0..times(3, 500) {
            let c = t.bundle().up(&["deaf"]);
            let calls: Vec<_> = (0..6).map(|_| t.call(["delete", "--force", &c.id]).spawn()).collect();
            calls.into_iter().for_each(|call| drop(call.wait().ok()));
            t.nothing_left();

            let c = t.bundle().create();
            c.kill("KILL");
            c.becomes("stopped");
            let calls: Vec<_> = (0..6).map(|_| t.call(["delete", &c.id]).spawn()).collect();
            let outputs: Vec<_> = calls.into_iter().map(Running::wait).collect();
            assert_eq!(outputs.iter().filter(|o| o.status == 0).count(), 1);
            for loser in outputs.iter().filter(|o| o.status != 0) {
                loser.fails(&["does not exist"]);
            }
            t.nothing_left();
        }
    });
}

#[test]
fn start_against_start_and_delete() {
    check(|t| {
        for _ in 0..times(3, 500) {
            let mut b = t.bundle();
            b.probe(&["wait"]);
            let c = b.create();
            let starts: Vec<_> = (0..4).map(|_| t.call(["start", &c.id]).spawn()).collect();
            let delete = t.call(["delete", "--force", &c.id]).spawn();
            let started = starts.into_iter().map(Running::wait).filter(|o| o.status == 0).count();
            assert!(started <= 1, "{started} started it");
            delete.wait().ok();
            t.nothing_left();
        }
    });
}

/// `list` never fails, and `state` only for want of the container, whatever goes on.
#[test]
fn those_who_look_on() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]).write();
        fs::create_dir(&t.root).unwrap();
        let over = AtomicBool::new(false);
        let id = t.id();
        // Made here, for a case is for one thread.
        let calls = |n: usize| (0..n).map(|_| [t.call(["list", "-f", "json"]), t.call(["state", &id])]);
        let looks: Vec<_> = calls(times(60, 20_000) as usize).collect();
        std::thread::scope(|s| {
            let looker = s.spawn(|| {
                for [list, state] in looks {
                    let list = list.run();
                    assert_eq!((list.status, list.stderr.as_str()), (0, ""), "{list}");
                    let state = state.run();
                    assert!(state.status == 0 || state.stderr.contains("does not exist"), "{state}");
                }
                over.store(true, Ordering::Relaxed);
            });
            while !over.load(Ordering::Relaxed) && !looker.is_finished() {
                b.call(&["create"], &id).stdout(std::process::Stdio::null()).run().ok();
                t.rt(&["start", &id]).ok();
                t.rt(&["delete", "--force", &id]).ok();
            }
            looker.join().expect("nobody who looked on failed");
        });
        t.nothing_left();
    });
}

/// Case 66: many that enter while the container is killed: each ends, with a status that is the program's, the kill's or
/// an error; nobody is left.
#[test]
fn exec_against_kill() {
    check(|t| {
        for round in 0..times(2, 20) {
            let c = t.bundle().up(&["wait"]);
            let words = ["exec", c.id.as_str(), "/probe", "exit", "7"];
            let calls: Vec<_> = (0..times(16, 500)).map(|_| t.call(words).spawn()).collect();
            std::thread::sleep(Duration::from_millis(u64::from(round) * 40));
            t.rt(&["kill", &c.id, "KILL"]);
            for call in calls {
                let out = call.wait();
                assert!(matches!(out.status, 7 | 137 | 255), "{out}");
            }
            c.becomes("stopped");
            t.rt(&["exec", &c.id, "/bin/true"]).complains(&["cannot exec in a stopped container"]);
            c.delete();
            t.nothing_left();
        }
    });
}

/// What the machine counts. Others may be at work in the suite; the long form has the machine for itself.
fn counters() -> BTreeMap<&'static str, u64> {
    let lines = |path: &str| fs::read_to_string(path).unwrap_or_default().lines().count() as u64;
    let dying = |top: &str| {
        let stat = fs::read_to_string(Path::new(top).join("cgroup.stat")).unwrap_or_default();
        let value = stat.lines().find_map(|l| l.strip_prefix("nr_dying_descendants "));
        value.and_then(|v| v.parse().ok()).unwrap_or(0)
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let slab = memory.lines().find_map(|l| l.strip_prefix("SUnreclaim:")?.trim().strip_suffix(" kB"));
    BTreeMap::from([
        ("mounts", lines("/proc/self/mountinfo")),
        ("cgroups", lines("/proc/cgroups")),
        ("dying cgroups", dying(if unified() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" })),
        ("keys", lines("/proc/keys")),
        ("descriptors", fs::read_dir("/proc/self/fd").map_or(0, |d| d.count() as u64)),
        ("open files", first_number("/proc/sys/fs/file-nr")),
        ("bpf programs", bpf_programs()),
        ("slab kB", slab.and_then(|v| v.trim().parse().ok()).unwrap_or(0)),
    ])
}

fn first_number(path: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Each takes pages that the kernel counts as such.
fn bpf_programs() -> u64 {
    let pages = fs::read_to_string("/proc/vmallocinfo").unwrap_or_default();
    pages.lines().filter(|l| l.contains("bpf_prog_alloc")).count() as u64
}

/// Cases 65 and 68: lives that end at once, by all the verbs; no hang, no zombie, nothing that grows.
#[test]
fn lives_that_end_at_once() {
    check(|t| {
        let mut b = t.bundle();
        b.args(&["/bin/true"]);
        let life = |id: &str| {
            let begin = Moment::now();
            b.call(&["run"], id).run().ok();
            begin.elapsed()
        };
        // What is made once is made before the count.
        for _ in 0..3 {
            life(&t.id());
        }
        let before = counters();
        let mut took: Vec<Duration> = (0..times(60, 10_000)).map(|_| life(&t.id())).collect();
        took.sort_unstable();
        let (middle, most) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        assert!(most < patience(PROMPT), "99 of 100 within {most:?}, half within {middle:?}");
        t.nothing_left();
        if is_long() {
            // The kernel frees at leisure.
            let end = Instant::now() + Duration::from_secs(60);
            loop {
                let grown = grown(&before, &counters());
                if grown.is_empty() {
                    break;
                }
                assert!(
                    Instant::now() < end,
                    "grown: {grown:?}; half within {middle:?}, 99 of 100 within {most:?}"
                );
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    });
}

/// By more than one of a hundred, and more than a handful.
fn grown(before: &BTreeMap<&'static str, u64>, now: &BTreeMap<&'static str, u64>) -> Vec<String> {
    let allowed = |name: &str, n: u64| n + n / 100 + if name == "slab kB" { 4096 } else { 8 };
    let is_more = |(name, n): &(&&str, &u64)| **n > allowed(name, before[**name]);
    now.iter().filter(is_more).map(|(name, n)| format!("{name} from {} to {n}", before[name])).collect()
}

#[test]
fn programs_that_end_at_once() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for _ in 0..times(40, 10_000) {
            t.rt(&["exec", &c.id, "/bin/true"]).ok();
        }
        let init = c.pid();
        let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
        assert_eq!(children, "", "nobody is left inside");
        c.delete_force();
        t.nothing_left();
    });
}

/// Case 58: paused and entered at once, over and over; it always ends thawed or deleted.
#[test]
fn exec_against_pause() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for _ in 0..times(8, 1000) {
            let exec = t.call(["exec", &c.id, "/probe", "exit", "7"]).spawn();
            t.rt(&["pause", &c.id]).ok();
            t.rt(&["resume", &c.id]).ok();
            let out = exec.wait();
            assert!(out.status == 7 || out.stderr.contains("paused"), "{out}");
        }
        assert_eq!(c.status(), "running");
        c.verb(&["pause"]).ok();
        c.delete_force();
        t.nothing_left();
    });
}
