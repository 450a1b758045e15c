//! The program's meaning against the profile's, in an interpreter of classic BPF.

mod machine;
mod model;
mod random;

use serde_json::json;

use super::profile::ret::{self, ALLOW, ENOSYS, KILL_PROCESS, KILL_THREAD as KILL, LOG, NOTIFY, TRACE, TRAP};
use super::*;
use crate::sys;
use machine::{AARCH64, Call, X86, X86_64, call, run, steps};

const PODMAN: &str = include_str!("../podman-seccomp-amd64.json");

const EPERM: u32 = ret::ERRNO | 1;
const RET_ERRNO: u32 = ret::ERRNO;

fn profile(v: serde_json::Value) -> LinuxSeccomp {
    serde_json::from_value(v).unwrap()
}

fn podman() -> LinuxSeccomp {
    serde_json::from_str(PODMAN).unwrap()
}

fn refusal(v: serde_json::Value) -> String {
    let p = profile(v);
    compile(&p).and_then(|_| terms(&p)).unwrap_err().to_string()
}

/// The profile's answer, of which there is one.
fn check(p: &LinuxSeccomp, program: &[u8], c: Call) {
    let (got, want) = (run(program, c), model::answers(p, c));
    assert_eq!(want.len(), 1, "{c:x?}");
    assert!(want.contains(&got), "{c:x?}: got {got:#x}, want {want:x?}");
}

// ---- tables ----------------------------------------------------------------------------------------------------------

#[test]
fn podmans_profile_means_what_it_says() {
    let mut p = podman();
    for default_errno in [Some(38), Some(1), None] {
        p.set_default_errno_ret(default_errno);
        let f = compile(&p).unwrap();
        assert_eq!(terms(&p).unwrap().flags, flag::SPEC_ALLOW);
        for nr in 0..600 {
            for first in [0, 8, 0x20000, 0xffff_ffff, 16, 0x7e02_0000] {
                check(&p, &f.program, call(X86_64, nr, &[first, 0, 9]));
                check(&p, &f.program, call(X86_64, nr | X32_BIT, &[first, 1, 2]));
            }
            // 102 and 117 carry the socket and ipc calls on i386, in their first argument.
            if nr != 102 && nr != 117 {
                check(&p, &f.program, call(X86, nr, &[8, 0, 9]));
            }
            assert_eq!(run(&f.program, call(AARCH64, nr, &[])), KILL);
        }
        let named = |n| run(&f.program, call(X86_64, n, &[]));
        assert_eq!([named(500), named(1000), named(0)], [ENOSYS, ENOSYS, ALLOW]);
    }
}

#[test]
fn newer_calls_get_enosys_unless_the_default_is_lenient() {
    let with = |default: serde_json::Value, archs: &[&str]| {
        let mut v = json!({"architectures": archs, "syscalls": [
            {"names": ["read", "write", "openat2"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["close"], "action": "SCMP_ACT_KILL_PROCESS"}]});
        v.as_object_mut().unwrap().extend(default.as_object().unwrap().clone());
        compile(&profile(v)).unwrap().program
    };
    let (newer, older, known) = (438, 436, 437);
    for (default, new, old) in [
        (json!({"defaultAction": "SCMP_ACT_ERRNO"}), ENOSYS, EPERM),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13}), ENOSYS, RET_ERRNO | 13),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38}), ENOSYS, ENOSYS),
        (json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 38}), ENOSYS, KILL),
        (json!({"defaultAction": "SCMP_ACT_KILL_PROCESS"}), ENOSYS, KILL_PROCESS),
        (json!({"defaultAction": "SCMP_ACT_TRAP"}), ENOSYS, TRAP),
        (json!({"defaultAction": "SCMP_ACT_LOG"}), LOG, LOG),
        (json!({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 7}), TRACE | 7, TRACE | 7),
    ] {
        let one = with(default.clone(), &[]);
        let got = [newer, older, known].map(|nr| run(&one, call(X86_64, nr, &[])));
        assert_eq!(got, [new, old, ALLOW], "{default}");
        // x32 was not asked for: as any architecture that is not in the profile.
        assert_eq!(run(&one, call(X86_64, newer | X32_BIT, &[])), KILL, "{default}");
        // Number -1 is a tracer's "skip this call".
        assert_eq!(run(&one, call(X86_64, u32::MAX, &[])), old, "{default}");
        assert_eq!(run(&one, call(X86, newer, &[])), KILL, "{default}");

        let all = with(
            default.clone(),
            &["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_X86_64"],
        );
        for (arch, bit) in [(X86_64, 0), (X86_64, X32_BIT), (X86, 0), (AARCH64, 0)] {
            let got = [newer, older, known].map(|nr| run(&all, call(arch, nr | bit, &[])));
            assert_eq!(got, [new, old, ALLOW], "{default} on {arch:x}");
        }
    }
}

#[test]
fn an_architecture_of_which_no_call_is_named_gets_the_default() {
    let p = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["arch_prctl", "newfstatat", "read"], "action": "SCMP_ACT_ALLOW"}]})))
    .unwrap();
    assert_eq!(run(&p.program, call(X86_64, 263, &[])), ENOSYS);
    let only_zero = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]})))
    .unwrap();
    assert_eq!([0, 1, 500].map(|n| run(&only_zero.program, call(X86_64, n, &[]))), [ALLOW, EPERM, EPERM]);
    let none = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO"}))).unwrap();
    assert_eq!(run(&none.program, call(X86_64, 500, &[])), EPERM);
}

#[test]
fn every_action_and_its_errno() {
    for (text, errno, want) in [
        ("KILL", None, KILL),
        ("KILL_THREAD", None, KILL),
        ("KILL_PROCESS", None, KILL_PROCESS),
        ("TRAP", None, TRAP),
        ("ERRNO", None, EPERM),
        ("ERRNO", Some(13), RET_ERRNO | 13),
        ("ERRNO", Some(0), RET_ERRNO),
        ("TRACE", None, TRACE | 1),
        ("TRACE", Some(99), TRACE | 99),
        ("LOG", None, LOG),
        ("NOTIFY", None, NOTIFY),
        ("TRAP", Some(5), TRAP),
    ] {
        let mut v = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock",
            "syscalls": [{"names": ["mkdir"], "action": format!("SCMP_ACT_{text}")}]});
        if let Some(e) = errno {
            v["syscalls"][0]["errnoRet"] = e.into();
        }
        let p = profile(v);
        let (f, t) = (compile(&p).unwrap(), terms(&p).unwrap());
        assert_eq!(run(&f.program, call(X86_64, 83, &[])), want, "{text} {errno:?}");
        assert_eq!(run(&f.program, call(X86_64, 84, &[])), ALLOW);
        assert_eq!(f.warnings.len(), usize::from(text == "TRAP" && errno.is_some()));
        assert_eq!(t.notify.is_some(), text == "NOTIFY");
        assert_eq!(t.flags & flag::NEW_LISTENER != 0, text == "NOTIFY");
    }
}

#[test]
fn flags() {
    let with = |flags: Option<serde_json::Value>| {
        let mut v = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        if let Some(f) = flags {
            v["flags"] = f;
        }
        terms(&profile(v)).unwrap().flags
    };
    assert_eq!(with(None), 4);
    assert_eq!(with(Some(json!([]))), 0);
    assert_eq!(with(Some(json!(["SECCOMP_FILTER_FLAG_TSYNC"]))), 0);
    assert_eq!(with(Some(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]))), 6);
    let f = terms(&profile(
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a", "listenerMetadata": "m",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}),
    ))
    .unwrap();
    assert_eq!(f.flags, 40);
    assert_eq!(f.notify, Some(Notify { listener_path: "/a".into(), metadata: "m".into() }));
}

#[test]
fn refused_as_runc_refuses() {
    let notify = |name: &str| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a",
            "syscalls": [{"names": ["mkdir", name], "action": "SCMP_ACT_NOTIFY"}]})
    };
    assert!(refusal(notify("write")).contains("SCMP_ACT_NOTIFY cannot be used for the write syscall"));
    assert!(compile(&profile(notify("read"))).is_ok());
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/a"}))
            .contains("SCMP_ACT_NOTIFY cannot be used as default action")
    );
    let mut alone = notify("rmdir");
    alone.as_object_mut().unwrap().remove("listenerPath");
    assert!(refusal(alone).contains("seccomp listenerPath is not set"));
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": [""], "action": "SCMP_ACT_LOG"}]}))
        .contains("empty string is not a valid syscall (config.json: /linux/seccomp/syscalls/0)")
    );
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
        "action": "SCMP_ACT_LOG", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}))
        .contains("syscalls only have up to 6 arguments")
    );
    // s390x has the other endianness.
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_S390X"]}))
            .contains("/linux/seccomp/architectures")
    );
}

#[test]
fn unknown_names_are_ignored_with_a_word() {
    let f = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["no_such_call", "read", "nul\u{0}byte"], "action": "SCMP_ACT_ALLOW"}]})))
    .unwrap();
    assert_eq!(f.warnings[0], "unknown seccomp syscall \"no_such_call\" ignored");
    assert_eq!(f.warnings.len(), 2);
    assert_eq!(run(&f.program, call(X86_64, 0, &[])), ALLOW);
}

#[test]
fn two_conditions_on_one_argument_are_alternatives() {
    let p = profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"],
        "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}]}));
    let f = compile(&p).unwrap();
    for (args, want) in [([1, 0], EPERM), ([2, 0], EPERM), ([3, 9], EPERM), ([3, 0], ALLOW)] {
        assert_eq!(run(&f.program, call(X86_64, 83, &args)), want, "{args:?}");
        check(&p, &f.program, call(X86_64, 83, &args));
    }
}

#[test]
fn a_rule_without_conditions_swallows_those_with() {
    for turn in [false, true] {
        let mut rules = vec![
            json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW"}),
            json!({"names": ["socket", "socket"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_NE"}]}),
        ];
        if turn {
            rules.reverse();
        }
        let f = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}))).unwrap();
        assert_eq!(run(&f.program, call(X86_64, 41, &[16])), ALLOW);
    }
}

#[test]
fn a_program_that_the_kernel_would_refuse_is_named() {
    let args: Vec<_> = (0..4100).map(|v| json!({"index": 0, "value": v * 3, "op": "SCMP_CMP_EQ"})).collect();
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": args}]}))
        .contains("more than the 4096 BPF instructions that the kernel takes")
    );
}

#[test]
fn what_the_runtime_may_still_call() {
    let may = |v: serde_json::Value, name, first| {
        let mut p = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []});
        p.as_object_mut().unwrap().extend(v.as_object().unwrap().clone());
        permits(&compile(&profile(p)).unwrap().program, &[permits::Call { name, first }])
    };
    let rule = |action: &str, args: serde_json::Value| {
        json!({"listenerPath": "/a", "syscalls": [
        {"names": ["read", "clone"], "action": format!("SCMP_ACT_{action}"), "args": args}]})
    };
    let args = |op: &str, value: u64| json!([{"index": 0, "op": format!("SCMP_CMP_{op}"), "value": value, "valueTwo": 0}]);
    assert!(may(rule("ALLOW", json!([])), "read", None));
    assert!(may(rule("LOG", json!([])), "read", None));
    assert!(!may(rule("NOTIFY", json!([])), "read", None));
    assert!(!may(rule("TRACE", json!([])), "read", None));
    assert!(!may(rule("ALLOW", json!([])), "write", None));
    // It may depend on an argument, which may be known.
    assert!(!may(rule("ALLOW", args("EQ", 3)), "read", None));
    let docker = args("MASKED_EQ", 0x7e02_0000);
    assert!(may(rule("ALLOW", docker.clone()), "clone", Some(0x8000)));
    assert!(!may(rule("ALLOW", docker), "clone", Some(0x1000_0000)));
    assert!(may(json!({}), "no_such_call", None));
    let mut p = podman();
    p.set_default_errno_ret(Some(38));
    let calls = ["prctl", "setsid", "capset", "prlimit64", "sched_setaffinity"]
        .map(|name| permits::Call { name, first: None });
    assert!(permits(&compile(&p).unwrap().program, &calls), "exec into podman's containers loads first");
}

// ---- the kernel ------------------------------------------------------------------------------------------------------

/// The kernel takes it, and does it.
#[test]
fn loaded() {
    use crate::sys::process::{self, Exit};
    let mut p = podman();
    p.set_default_errno_ret(Some(13));
    let (filter, terms) = (compile(&p).unwrap(), terms(&p).unwrap());
    let child = process::spawn(&process::Birth::default(), || {
        if process::no_new_privs().is_err() || sys::seccomp::load(&filter.program, terms.flags).is_err() {
            return 1;
        }
        // Allowed; refused by a rule's errno; refused by the default.
        let allowed = process::getppid() > 0;
        let by_rule = sys::fs::mkdirat(sys::fs::AT_FDCWD, "/", 0) == Err(Errno::EEXIST);
        if allowed && by_rule { 0 } else { 2 }
    });
    assert_eq!(child.unwrap().wait().unwrap(), Exit::Code(0));
}

/// `cargo test --release --lib plan::seccomp -- --ignored --nocapture time`
#[test]
#[ignore = "prints times"]
fn times() {
    let p = podman();
    let mut t: Vec<_> = (0..50)
        .map(|_| {
            let start = std::time::Instant::now();
            std::hint::black_box(compile(&p).unwrap());
            start.elapsed()
        })
        .collect();
    t.sort();
    let program = compile(&p).unwrap().program;
    let calls = (0..335).map(|nr| steps(&program, call(X86_64, nr, &[])).1);
    let (sum, most) = calls.fold((0, 0), |(sum, most), n| (sum + n, most.max(n)));
    println!("compile: min {:?} median {:?}; {} instructions", t[0], t[25], program.len() / 8);
    println!("a call: {:.1} instructions on average, {most} at most", sum as f64 / 335.0);
}
