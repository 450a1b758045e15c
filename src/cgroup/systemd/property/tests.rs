use super::*;
use oci_spec::runtime::LinuxDeviceCgroup;

fn shown(json: &str, is_v2: bool, version: u32) -> std::result::Result<Vec<String>, String> {
    let r: LinuxResources = serde_json::from_str(json).expect("test document");
    let all = of_resources(&r, is_v2, version).map_err(|e| e.to_string())?;
    Ok(all.iter().map(show).collect())
}

fn show(p: &Property) -> String {
    let value = match &p.value {
        Value::U64(u64::MAX) => "infinity".to_owned(),
        Value::U64(n) => n.to_string(),
        Value::Text(s) => s.clone(),
        Value::Bytes(b) => format!("{b:x?}"),
        Value::Pairs(all) => all.iter().map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>().join(", "),
        other => format!("{other:?}"),
    };
    format!("{}={value}", p.name)
}

#[test]
fn limits_on_v2() {
    for (json, want) in [
        ("{}", vec![]),
        (r#"{"memory":{"limit":100,"swap":300}}"#, vec!["MemoryMax=100", "MemorySwapMax=200"]),
        (r#"{"memory":{"limit":100,"swap":100}}"#, vec!["MemoryMax=100", "MemorySwapMax=0"]),
        (r#"{"memory":{"limit":-1}}"#, vec!["MemoryMax=infinity", "MemorySwapMax=infinity"]),
        (r#"{"memory":{"limit":5,"reservation":3}}"#, vec!["MemoryMax=5", "MemoryLow=3"]),
        (r#"{"memory":{"swappiness":9}}"#, vec![]),
        (r#"{"cpu":{"shares":1024}}"#, vec!["CPUWeight=100"]),
        (r#"{"cpu":{"shares":1024,"idle":1}}"#, vec!["CPUWeight=0"]),
        (r#"{"cpu":{"idle":0}}"#, vec![]),
        (
            r#"{"cpu":{"quota":50000,"period":100000}}"#,
            vec!["CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=500000"],
        ),
        (r#"{"cpu":{"quota":5000}}"#, vec!["CPUQuotaPerSecUSec=50000"]),
        (r#"{"cpu":{"quota":5001}}"#, vec!["CPUQuotaPerSecUSec=60000"]),
        (r#"{"cpu":{"quota":-1}}"#, vec!["CPUQuotaPerSecUSec=infinity"]),
        (r#"{"cpu":{"period":5000}}"#, vec!["CPUQuotaPeriodUSec=5000", "CPUQuotaPerSecUSec=infinity"]),
        (r#"{"cpu":{"quota":9223372036854775807}}"#, vec!["CPUQuotaPerSecUSec=infinity"]),
        (r#"{"cpu":{"cpus":"0-2, 9","mems":"0"}}"#, vec!["AllowedCPUs=[7, 2]", "AllowedMemoryNodes=[1]"]),
        (r#"{"pids":{"limit":0}}"#, vec!["TasksMax=1"]),
        (r#"{"pids":{"limit":-1}}"#, vec!["TasksMax=infinity"]),
        (r#"{"pids":{"limit":7}}"#, vec!["TasksMax=7"]),
        (r#"{"blockIO":{"weight":50}}"#, vec!["IOWeight=50"]),
        (r#"{"blockIO":{"weight":1000}}"#, vec!["IOWeight=10000"]),
        (
            r#"{"unified":{"memory.high":"9","memory.min":"max","memory.max":" 5\n","memory.low":"1","memory.swap.max":"0",
                "pids.max":"0","cpu.weight":"7","cpu.max":"5000 10000","cpuset.cpus":"1","hugetlb.2MB.max":"3"}}"#,
            vec![
                "CPUQuotaPeriodUSec=10000",
                "CPUQuotaPerSecUSec=500000",
                "CPUWeight=7",
                "AllowedCPUs=[2]",
                "MemoryHigh=9",
                "MemoryLow=1",
                "MemoryMax=5",
                "MemoryMin=infinity",
                "MemorySwapMax=0",
                "TasksMax=1",
            ],
        ),
        (
            r#"{"unified":{"cpu.max":"max","cpu.idle":"1","cpu.weight":"5"}}"#,
            vec!["CPUWeight=0", "CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=infinity"],
        ),
    ] {
        assert_eq!(shown(json, true, 257), Ok(want.iter().map(|s| (*s).to_owned()).collect()), "{json}");
    }
}

#[test]
fn limits_on_v1_and_of_an_old_systemd() {
    let all = r#"{"memory":{"limit":100,"swap":300,"reservation":5},"cpu":{"shares":512,"quota":1000,"period":10000,
        "idle":1,"cpus":"0"},"pids":{"limit":3},"blockIO":{"weight":500}}"#;
    for (is_v2, version, want) in [
        (
            false,
            257,
            vec![
                "MemoryLimit=100",
                "CPUShares=512",
                "CPUQuotaPeriodUSec=10000",
                "CPUQuotaPerSecUSec=100000",
                "AllowedCPUs=[1]",
                "TasksMax=3",
                "BlockIOWeight=500",
            ],
        ),
        (
            true,
            239,
            vec![
                "MemoryMax=100",
                "MemoryLow=5",
                "MemorySwapMax=200",
                "CPUWeight=59",
                "CPUQuotaPerSecUSec=100000",
                "TasksMax=3",
                "IOWeight=4500",
            ],
        ),
    ] {
        assert_eq!(shown(all, is_v2, version), Ok(want.iter().map(|s| (*s).to_owned()).collect()));
    }
}

#[test]
fn refusals() {
    for (json, text) in [
        (r#"{"memory":{"swap":5}}"#, "unable to set swap limit without memory limit"),
        (r#"{"cpu":{"cpus":"3-1"}}"#, "invalid range 3-1"),
        (r#"{"cpu":{"cpus":"0-99999999999"}}"#, "is no number below"),
        (r#"{"cpu":{"mems":","}}"#, "it is empty"),
        (r#"{"cpu":{"cpus":"x"}}"#, "/linux/resources/cpu/cpus"),
        (r#"{"unified":{"memory.max":"x"}}"#, "not a number"),
        (r#"{"unified":{"cpu.max":"1 2 3"}}"#, "expected QUOTA [PERIOD]"),
        (r#"{"unified":{"cpu.max":""}}"#, "expected QUOTA [PERIOD]"),
    ] {
        let e = shown(json, true, 257).expect_err(json);
        assert!(e.contains(text), "{json}: {e}");
    }
}

#[test]
fn the_quota_as_systemd_rounds_it() {
    for (json, want) in [
        (r#"{"cpu":{"quota":5001}}"#, Some(6000)),
        (r#"{"cpu":{"quota":5000,"period":100000}}"#, Some(5000)),
        (r#"{"cpu":{"quota":-1}}"#, Some(-1)),
        (r#"{"cpu":{"period":5}}"#, None),
        (r#"{"cpu":{"quota":9223372036854775807}}"#, Some(i64::MAX)),
    ] {
        let r = rounded(&serde_json::from_str(json).expect("test document"));
        assert_eq!(r.cpu().as_ref().and_then(|c| c.quota()), want, "{json}");
    }
}

#[test]
fn memory_oom_group() {
    let policy = |json: &str, version| {
        oom_policy(&serde_json::from_str(json).expect("test document"), version).as_ref().map(show)
    };
    assert_eq!(policy(r#"{"unified":{"memory.oom.group":"1"}}"#, 253).as_deref(), Some("OOMPolicy=kill"));
    assert_eq!(policy(r#"{"unified":{"memory.oom.group":"0"}}"#, 253).as_deref(), Some("OOMPolicy=continue"));
    assert_eq!(policy(r#"{"unified":{"memory.oom.group":"1"}}"#, 252), None);
    assert_eq!(policy("{}", 257), None);
}

#[test]
fn devices() {
    let rules = |json: &str| -> DeviceRules {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).expect("test document");
        DeviceRules::from_config(&rules, &[]).expect("rules")
    };
    let shown = |r: &DeviceRules, v| of_devices(r, v).iter().map(show).collect::<Vec<_>>();
    let always = "block-* m, char-* m, /dev/char/1:3 rwm, /dev/char/1:5 rwm, /dev/char/1:7 rwm, /dev/char/1:8 rwm, \
        /dev/char/1:9 rwm, /dev/char/5:0 rwm, /dev/char/5:2 rwm";
    let some = rules(
        r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":8,"minor":0,"access":"r"}]"#,
    );
    let want = format!("DeviceAllow={always}, /dev/block/8:0 r, /dev/char/10:200 rwm, char-136 rwm");
    assert_eq!(shown(&some, 257), ["DeviceAllow=", "DevicePolicy=strict", &want]);
    let all = rules(r#"[{"allow":true,"access":"rwm"}]"#);
    assert_eq!(shown(&all, 257), ["DeviceAllow=", "DevicePolicy=auto"]);
}
