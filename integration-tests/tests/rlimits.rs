//! process.rlimits.

use integration_tests::*;

/// Below the hard limits of this machine, since only CAP_SYS_RESOURCE may raise them.
#[test]
fn soft_and_hard() {
    check(|t| {
        let table = [
            ("RLIMIT_AS", 1 << 40, 1 << 41),
            ("RLIMIT_CORE", 0, 1 << 20),
            ("RLIMIT_CPU", 100, 200),
            ("RLIMIT_DATA", 1 << 33, 1 << 34),
            ("RLIMIT_FSIZE", 1 << 30, 1 << 31),
            ("RLIMIT_LOCKS", 10, 20),
            ("RLIMIT_MEMLOCK", 4096, 8192),
            ("RLIMIT_MSGQUEUE", 1000, 2000),
            ("RLIMIT_NICE", 0, 0),
            ("RLIMIT_NOFILE", 64, 128),
            ("RLIMIT_NPROC", 500, 600),
            ("RLIMIT_RSS", 1 << 30, 1 << 31),
            ("RLIMIT_RTPRIO", 0, 0),
            ("RLIMIT_RTTIME", 1_000_000, 2_000_000),
            ("RLIMIT_SIGPENDING", 100, 200),
            ("RLIMIT_STACK", 1 << 22, 1 << 23),
        ];
        let mut b = t.bundle();
        let all: Vec<Value> = table
            .iter()
            .map(|(k, s, h): &(&str, u64, u64)| json!({"type": k, "soft": s, "hard": h}))
            .collect();
        b.set("/process/rlimits", all);
        let facts = b.facts(&[]);
        for (kind, soft, hard) in table {
            assert_eq!(facts["rlimits"][kind], json!([soft, hard]), "{kind}");
        }
    });
}

#[test]
fn unlimited_is_the_largest_number() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/rlimits", json!([{"type": "RLIMIT_FSIZE", "soft": u64::MAX, "hard": u64::MAX}]));
        assert_eq!(b.facts(&[])["rlimits"]["RLIMIT_FSIZE"], json!(["unlimited", "unlimited"]));
    });
}

#[test]
fn what_is_not_named_stays_the_callers() {
    check(|t| {
        let host = t.program(built().join("probe").to_str().unwrap(), &["facts"]).ok().facts();
        let mut b = t.bundle();
        b.set("/process/rlimits", json!([]));
        let facts = b.facts(&[]);
        for kind in ["RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_NPROC", "RLIMIT_NOFILE"] {
            assert_eq!(facts["rlimits"][kind], host["rlimits"][kind], "{kind}");
        }
    });
}

#[test]
fn a_hard_limit_above_ours() {
    check(|t| {
        if !privileged(t) {
            skip!("no CAP_SYS_RESOURCE");
        }
        let mut b = t.bundle();
        b.set("/process/rlimits", json!([{"type": "RLIMIT_MSGQUEUE", "soft": 2_000_000, "hard": 2_000_000}]));
        assert_eq!(b.facts(&[])["rlimits"]["RLIMIT_MSGQUEUE"], json!([2_000_000, 2_000_000]));
    });
}

/// Whether the runtime may raise limits, as a probe outside tells it.
fn privileged(t: &Case) -> bool {
    let facts = t.program(built().join("probe").to_str().unwrap(), &["facts"]).ok().facts();
    words(&facts["capabilities"]["effective"]).contains(&"CAP_SYS_RESOURCE")
}

#[test]
fn a_hard_limit_above_ours_needs_privilege() {
    check(|t| {
        if privileged(t) {
            skip!("there is CAP_SYS_RESOURCE");
        }
        let mut b = t.bundle();
        b.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 2_000_000, "hard": 2_000_000}]));
        b.refused(&["rlimit", "operation not permitted"]);
    });
}

#[test]
fn nonsense_is_refused() {
    check(|t| {
        let table = [
            (json!([{"type": "RLIMIT_FLY", "soft": 1, "hard": 1}]), "RLIMIT_FLY"),
            (json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]), "invalid argument"),
        ];
        for (rlimits, part) in table {
            t.bundle().set("/process/rlimits", rlimits).refused(&[part]);
        }
    });
}

#[test]
fn a_type_named_twice_is_refused() {
    check(|t| {
        let twice = json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 2}, {"type": "RLIMIT_CORE", "soft": 1, "hard": 1}]);
        t.bundle().set("/process/rlimits", twice).refused(&["RLIMIT_CORE"]);
    });
}
