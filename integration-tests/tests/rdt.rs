//! linux.intelRdt and `update --l3-cache-schema`, `--mem-bw-schema` where there is no resctrl file system: no machine here
//! has one. What is done with one is proved on a directory like it, by unit tests of src/plan/rdt.rs and src/launch/rdt.rs.

use integration_tests::*;

fn none_here() {
    if std::fs::read_to_string("/proc/mounts").unwrap().contains(" resctrl ") {
        skip!("a resctrl file system is mounted");
    }
}

#[test]
fn is_refused_where_there_is_none() {
    check(|t| {
        none_here();
        for rdt in [
            json!({}),
            json!({"closID": "/"}),
            json!({"closID": "guaranteed", "l3CacheSchema": "L3:0=f"}),
            json!({"schemata": ["L3:0=7f0;1=1f", "MB:0=20;1=70"]}),
            json!({"enableMonitoring": true}),
            json!({"enableCMT": true, "enableMBM": true}),
        ] {
            t.bundle()
                .set("/linux/intelRdt", rdt)
                .refused(&["intelRdt is specified in config, but Intel RDT is not enabled"]);
        }
    });
}

/// Case 49: names that would lead elsewhere, told whatever the machine has.
#[test]
fn names_that_climb_are_refused() {
    check(|t| {
        for clos in [".", "..", "a/b", "../x", "/x", "x/", "a\nb"] {
            t.bundle().set("/linux/intelRdt/closID", clos).refused(&["invalid intelRdt.ClosID"]);
        }
        for (member, value) in [
            ("l3CacheSchema", json!("L3:0=f\nMB:0=10")),
            ("memBwSchema", json!("MB:0=10\nL3:0=f")),
            ("memBwSchema", json!("L3:0=f")),
            ("schemata", json!(["L3:0=f\nL3:1=f"])),
        ] {
            let at = format!("/linux/intelRdt/{member}");
            t.bundle().set(&at, value).refused(&[&at]);
        }
    });
}

#[test]
fn update_says_that_there_is_none() {
    check(|t| {
        none_here();
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        c.verb(&["update", "--l3-cache-schema", "L3:0=f"])
            .fails(&["Intel RDT/CAT: l3 cache schema is not enabled"]);
        c.verb(&["update", "--mem-bw-schema", "MB:0=10"])
            .fails(&["Intel RDT/MBA: memory bandwidth schema is not enabled"]);
        c.verb(&["update", "--l3-cache-schema", "", "--mem-bw-schema", ""]).ok();
        assert_eq!(c.verb(&["events", "--stats"]).ok().json()["data"]["intel_rdt"], json!({}));
    });
}
