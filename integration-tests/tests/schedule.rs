//! process.scheduler, ioPriority, execCPUAffinity, oomScoreAdj.

use integration_tests::*;

#[test]
fn untouched_by_default() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        let host = t.program(built().join("probe").to_str().unwrap(), &["facts"]).ok().facts();
        for fact in ["scheduler", "ioPriority", "oomScoreAdj"] {
            assert_eq!(facts[fact], host[fact], "{fact}");
        }
        assert_eq!(facts["affinity"], json!(cpus()));
    });
}

#[test]
fn scheduler_policies() {
    check(|t| {
        let host = t.program(built().join("probe").to_str().unwrap(), &["facts"]).ok().facts();
        let nice = host["scheduler"]["nice"].as_i64().unwrap();
        let table = [
            (json!({"policy": "SCHED_OTHER", "nice": 7}), "SCHED_OTHER", 7, 0),
            (json!({"policy": "SCHED_BATCH", "nice": 3}), "SCHED_BATCH", 3, 0),
            (json!({"policy": "SCHED_BATCH", "nice": -5}), "SCHED_BATCH", -5, 0),
            // Where the kernel leaves it as it was.
            (json!({"policy": "SCHED_IDLE"}), "SCHED_IDLE", nice, 0),
            (json!({"policy": "SCHED_FIFO", "priority": 10}), "SCHED_FIFO", 0, 10),
            (json!({"policy": "SCHED_RR", "priority": 99}), "SCHED_RR", 0, 99),
        ];
        for (scheduler, policy, nice, priority) in table {
            let mut b = t.bundle();
            // Under cgroup version 1 a real-time policy wants a budget, of which all that the program does is paid.
            b.set("/linux/resources/cpu", json!({"realtimeRuntime": 100_000, "realtimePeriod": 1_000_000}));
            let s = b.set("/process/scheduler", scheduler).facts(&[])["scheduler"].clone();
            assert_eq!(
                (&s["policy"], &s["nice"], &s["priority"]),
                (&json!(policy), &json!(nice), &json!(priority))
            );
        }
    });
}

#[test]
fn scheduler_deadline() {
    check(|t| {
        let mut b = t.bundle();
        b.set(
            "/process/scheduler",
            json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 9_000_000, "period": 10_000_000}),
        );
        let s = b.facts(&[])["scheduler"].clone();
        assert_eq!(s["policy"], "SCHED_DEADLINE");
        assert_eq!(
            (&s["runtime"], &s["deadline"], &s["period"]),
            (&json!(1_000_000), &json!(9_000_000), &json!(10_000_000))
        );
    });
}

/// In sched(7)'s bits: reset on fork is 1.
#[test]
fn scheduler_flags() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}));
        assert_eq!(b.facts(&[])["scheduler"]["flags"].as_u64().unwrap() & 1, 1);
    });
}

#[test]
fn scheduler_nonsense_is_refused() {
    check(|t| {
        let table = [
            (json!({"policy": "SCHED_NAP"}), "scheduler policy"),
            (json!({"policy": "SCHED_OTHER", "nice": 99}), "nice"),
            (json!({"policy": "SCHED_OTHER", "priority": 5}), "priority"),
            (json!({"policy": "SCHED_OTHER", "runtime": 5}), "runtime"),
        ];
        for (scheduler, part) in table {
            t.bundle().set("/process/scheduler", scheduler).refused(&[part]);
        }
    });
}

#[test]
fn io_priority() {
    check(|t| {
        let table = [
            ("IOPRIO_CLASS_RT", 0),
            ("IOPRIO_CLASS_RT", 7),
            ("IOPRIO_CLASS_BE", 4),
            ("IOPRIO_CLASS_IDLE", 0),
        ];
        for (class, priority) in table {
            let mut b = t.bundle();
            let facts =
                b.set("/process/ioPriority", json!({"class": class, "priority": priority})).facts(&[]);
            assert_eq!(facts["ioPriority"], json!({"class": class, "priority": priority}));
        }
    });
}

#[test]
fn io_priority_nonsense_is_refused() {
    check(|t| {
        for entry in [
            json!({"class": "IOPRIO_CLASS_LAZY", "priority": 1}),
            json!({"class": "IOPRIO_CLASS_RT", "priority": 8}),
        ] {
            t.bundle().set("/process/ioPriority", entry).refused(&["priority"]);
        }
    });
}

#[test]
fn oom_score_adj() {
    check(|t| {
        for score in [0, 100, 1000] {
            assert_eq!(t.bundle().set("/process/oomScoreAdj", score).facts(&[])["oomScoreAdj"], score);
        }
    });
}

fn privileged(t: &Case) -> bool {
    let facts = t.program(built().join("probe").to_str().unwrap(), &["facts"]).ok().facts();
    words(&facts["capabilities"]["effective"]).contains(&"CAP_SYS_RESOURCE")
}

#[test]
fn a_lower_oom_score() {
    check(|t| {
        if !privileged(t) {
            skip!("no CAP_SYS_RESOURCE");
        }
        assert_eq!(t.bundle().set("/process/oomScoreAdj", -500).facts(&[])["oomScoreAdj"], -500);
    });
}

/// Without CAP_SYS_RESOURCE the score may not fall below what it is.
#[test]
fn a_lower_oom_score_needs_privilege() {
    check(|t| {
        if privileged(t) {
            skip!("there is CAP_SYS_RESOURCE");
        }
        let message = t.bundle().set("/process/oomScoreAdj", -500).refused(&["oom_score_adj"]).to_lowercase();
        assert!(
            message.contains("permission denied") || message.contains("operation not permitted"),
            "{message}"
        );
    });
}

#[test]
fn exec_cpu_affinity_does_not_concern_the_first_process() {
    check(|t| {
        let mut b = t.bundle();
        let one = cpus()[0].to_string();
        b.set("/process/execCPUAffinity", json!({"initial": one, "final": one}));
        assert_eq!(b.facts(&[])["affinity"], json!(cpus()));
    });
}

#[test]
fn exec_cpu_affinity_nonsense_is_refused() {
    check(|t| {
        t.bundle().set("/process/execCPUAffinity", json!({"initial": "0-,x"})).refused(&["affinity"]);
    });
}

/// A caller that pinned itself does not pin the container beyond its cpuset.
#[test]
fn the_callers_affinity_is_not_the_containers() {
    check(|t| {
        let b = t.bundle();
        b.write();
        let (root, bundle) = (t.root.to_str().unwrap(), b.dir.to_str().unwrap());
        let (binary, id) = (binary(), t.id());
        let one = cpus()[0].to_string();
        let words = ["-c", &one, binary.to_str().unwrap(), "--root", root, "run", "-b", bundle, &id];
        let facts = t.program("taskset", &words).ok().facts();
        assert_eq!(facts["affinity"], json!(cpus()));
    });
}

/// Case 49: what no kernel would take is told before anything is made.
#[test]
fn out_of_range_is_refused() {
    check(|t| {
        let table = [
            ("/process/execCPUAffinity", json!({"initial": "0-"}), "CPUAffinity.Initial"),
            ("/process/execCPUAffinity", json!({"initial": "3-1"}), "CPUAffinity.Initial"),
            ("/process/execCPUAffinity", json!({"final": "99999"}), "CPUAffinity.Final"),
            ("/process/execCPUAffinity", json!({"final": "-1"}), "CPUAffinity.Final"),
            ("/process/execCPUAffinity", json!({"final": "x"}), "CPUAffinity.Final"),
            ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": -1}), "ioPriority"),
            ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8}), "ioPriority"),
            (
                "/process/ioPriority",
                json!({"class": "IOPRIO_CLASS_BE", "priority": 4_294_967_296_i64}),
                "priority",
            ),
            ("/process/ioPriority", json!({"class": "BE", "priority": 1}), "ioPriority"),
            ("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": -21}), "nice"),
            ("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 20}), "nice"),
            ("/process/scheduler", json!({"policy": "SCHED_FIFO", "priority": 100}), "scheduler"),
            ("/process/scheduler", json!({"policy": "SCHED_RR", "priority": -1}), "scheduler"),
            ("/process/scheduler", json!({"policy": "SCHED_IDLE", "deadline": 5}), "SchedDeadline"),
            (
                "/process/scheduler",
                json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NAP"]}),
                "SCHED_FLAG_NAP",
            ),
            ("/linux/personality", json!({"domain": "LINUX64"}), "LINUX64"),
            ("/linux/personality", json!({"domain": ""}), "domain"),
        ];
        for (at, value, part) in table {
            t.bundle().set(at, value.clone()).refused(&[part]);
        }
    });
}
