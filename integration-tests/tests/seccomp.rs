//! linux.seccomp: filters load, at the right moment, and do what they say.

use integration_tests::*;

/// A profile in which all is allowed except what `rules` say.
fn denying(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": rules})
}

/// The payload's outcome of these system calls under a profile.
#[track_caller]
fn outcomes(t: &Case, profile: Value, calls: &[&str]) -> Value {
    let mut b = t.bundle();
    b.set("/linux/seccomp", profile);
    let mut words = vec!["syscalls"];
    words.extend(calls);
    b.act(&words)
}

const GETPID: &str = "39";
const PERSONALITY: &str = "135:4294967295";
const MKDIR: &str = "83";

#[test]
fn off_by_default() {
    check(|t| {
        assert_eq!(t.bundle().facts(&[])["seccomp"], 0);
        let mut b = t.bundle();
        // An empty object asks for nothing.
        b.set("/linux/seccomp", json!({"defaultAction": "", "syscalls": []}));
        assert_eq!(b.facts(&[])["seccomp"], 0);
    });
}

#[test]
fn one_filter_and_a_working_program() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/seccomp", denying(json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}])));
        let facts = b.facts(&[]);
        assert_eq!((&facts["seccomp"], &facts["seccompFilters"]), (&json!(2), &json!(1)));
    });
}

#[test]
fn actions_and_errnos() {
    check(|t| {
        let rules = json!([
            {"names": ["getpid"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["getppid"], "action": "SCMP_ACT_LOG"},
            {"names": ["gettid"], "action": "SCMP_ACT_ALLOW"},
        ]);
        let told = outcomes(t, denying(rules), &[GETPID, MKDIR, "110", "186"]);
        assert_eq!(told, json!({"39": {"errno": "EPERM"}, "83": {"errno": "ENOSPC"}, "110": 0, "186": 1}));
    });
}

#[test]
fn a_default_action_with_its_own_errno() {
    check(|t| {
        let allowed = everything_but(&["mkdir"]);
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}],
        });
        assert_eq!(outcomes(t, profile, &[MKDIR]), json!({"83": {"errno": "EACCES"}}));
    });
}

#[test]
fn killing_actions() {
    check(|t| {
        for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
            let mut b = t.bundle();
            b.set("/linux/seccomp", denying(json!([{"names": ["mkdir"], "action": action}])))
                .probe(&["syscalls", MKDIR]);
            let out = b.run();
            assert_eq!((out.status, out.stdout.as_str()), (159, ""), "SIGSYS by {action}: {out}");
        }
    });
}

/// Every operator, on personality's argument.
#[test]
fn arguments() {
    check(|t| {
        let table = [
            ("SCMP_CMP_EQ", 5_u64, 0, [false, true, false]),
            ("SCMP_CMP_NE", 5, 0, [true, false, true]),
            ("SCMP_CMP_LT", 5, 0, [true, false, false]),
            ("SCMP_CMP_LE", 5, 0, [true, true, false]),
            ("SCMP_CMP_GT", 5, 0, [false, false, true]),
            ("SCMP_CMP_GE", 5, 0, [false, true, true]),
            ("SCMP_CMP_MASKED_EQ", 4, 4, [true, true, false]),
        ];
        // dup(1004), dup(1005), dup(1008): descriptors that do not exist.
        for (operator, value, two, denied) in table {
            let value = if operator == "SCMP_CMP_MASKED_EQ" { value } else { 1000 + value };
            let argument = json!({"index": 0, "value": value, "valueTwo": two, "op": operator});
            let rule =
                json!([{"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": [argument]}]);
            let told = outcomes(t, denying(rule), &["32:1004", "32:1005", "32:1008"]);
            let got = ["32:1004", "32:1005", "32:1008"].map(|call| told[call]["errno"] == "ENOSPC");
            assert_eq!(got, masked(operator, denied), "{operator}: {told}");
        }
    });
}

/// 1004 is 0b…1100, 1005 0b…1101, 1008 0b…0000 in the bit of value 4.
fn masked(operator: &str, denied: [bool; 3]) -> [bool; 3] {
    if operator == "SCMP_CMP_MASKED_EQ" { [1004, 1005, 1008].map(|n| n & 4 == 4) } else { denied }
}

/// Two conditions on one argument are alternatives in libseccomp's words, so runc makes them two rules.
#[test]
fn two_conditions_on_one_argument() {
    check(|t| {
        let argument = |value| json!({"index": 0, "value": value, "op": "SCMP_CMP_EQ"});
        let rule = json!([{"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": [argument(1004), argument(1005)]}]);
        let told = outcomes(t, denying(rule), &["32:1004", "32:1005", "32:1008"]);
        assert_eq!(
            [&told["32:1004"]["errno"], &told["32:1005"]["errno"], &told["32:1008"]["errno"]],
            ["ENOSPC", "ENOSPC", "EBADF"]
        );
    });
}

/// Newer than the profile: ENOSYS, so that a libc falls back, and not the default action.
#[test]
fn unknown_system_calls_are_enosys() {
    check(|t| {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": everything_but(&["mkdir"]), "action": "SCMP_ACT_ALLOW"}],
        });
        assert_eq!(
            outcomes(t, profile, &["1000", MKDIR]),
            json!({"1000": {"errno": "ENOSYS"}, "83": {"errno": "EPERM"}})
        );
    });
}

/// A profile says what architectures it is for. Calls of others kill, whatever the default is.
#[test]
fn other_architectures() {
    check(|t| {
        let profile = |archs: &[&str], name: &str| {
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs,
                "syscalls": [{"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]})
        };
        let run = |archs: &[&str], name: &str, words: &[&str]| {
            let mut b = t.bundle();
            b.set("/linux/seccomp", profile(archs, name)).probe(words);
            let out = b.run();
            (out.status, out.stdout)
        };
        // getpid is 20 on i386 and 39 elsewhere, where x32 sets a bit.
        let (x32, killed) = ("1073741863", (159, String::new()));
        for (archs, words, wanted) in [
            (&["SCMP_ARCH_X86_64"][..], &["int80", "20"][..], None),
            (&["SCMP_ARCH_X86_64"], &["syscalls", x32], None),
            (&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], &["int80", "20"], Some("-28")),
            (&["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"], &["syscalls", x32], Some("ENOSPC")),
            (&[], &["syscalls", GETPID], Some("ENOSPC")),
        ] {
            let got = run(archs, "getpid", words);
            match wanted {
                None => assert_eq!(got, killed, "{archs:?} {words:?}"),
                Some(text) => assert!(got.0 == 0 && got.1.contains(text), "{archs:?} {words:?}: {got:?}"),
            }
        }
    });
}

/// Newer than the profile on each architecture by itself.
#[test]
fn unknown_system_calls_of_other_architectures() {
    check(|t| {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [{"names": everything_but(&["mkdir", "getuid"]), "action": "SCMP_ACT_ALLOW"}],
        });
        let run = |words: &[&str]| {
            let mut b = t.bundle();
            b.set("/linux/seccomp", profile.clone()).probe(words);
            b.run().ok().facts()
        };
        // getuid is 24 there.
        assert_eq!(run(&["int80", "24"])["returned"], -13);
        assert_eq!(run(&["int80", "1000"])["returned"], -38);
        assert_eq!(run(&["syscalls", "1000"])["1000"]["errno"], "ENOSYS");
        assert_eq!(run(&["syscalls", "102"])["102"]["errno"], "EACCES");
    });
}

/// The names of what the docker-sized profile allows and the probe needs.
fn everything_but(without: &[&str]) -> Vec<&'static str> {
    ALLOWED.split_whitespace().filter(|n| !without.contains(n)).collect()
}

/// Docker's default profile, its list of names.
const ALLOWED: &str = "accept accept4 access adjtimex alarm bind brk capget capset chdir chmod chown clock_adjtime clock_getres \
    clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl \
    epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat \
    faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchown fchownat fcntl fdatasync fgetxattr flistxattr flock \
    fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_waitv futimesat getcpu getcwd getdents getdents64 getegid \
    geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid \
    getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getxattr \
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents ioprio_get \
    ioprio_set io_setup io_submit kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat \
    listen listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise membarrier memfd_create memfd_secret mincore mkdir \
    mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink \
    mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 \
    pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 \
    prlimit64 process_mrelease pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg \
    remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask \
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam \
    sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr \
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto \
    setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit set_robust_list \
    setsid setsockopt set_thread_area set_tid_address setuid setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd \
    signalfd4 socketpair splice stat statfs statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create \
    timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate \
    umask uname unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid write writev arch_prctl modify_ldt socket clone \
    clone3 personality";

#[test]
fn a_profile_of_dockers_size() {
    check(|t| {
        let mut b = t.bundle();
        b.set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "syscalls": [
                    {"names": everything_but(&["clone", "clone3", "personality", "socket"]), "action": "SCMP_ACT_ALLOW"},
                    {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0xffff_ffff_u32, "op": "SCMP_CMP_EQ"}]},
                    {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
                    {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2_114_060_288, "op": "SCMP_CMP_MASKED_EQ"}]},
                    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                ],
            }),
        );
        // For both orders of no_new_privs and filter.
        for privileges in [true, false] {
            b.set("/process/noNewPrivileges", privileges);
            // personality(query), personality(8), unshare(NEWNS), mount, clone3, vsock.
            let told = b.act(&["syscalls", PERSONALITY, "135:8", "272:131072", "165", "435", "41:40:1:0"]);
            let errno = |call: &str| told[call]["errno"].clone();
            assert_eq!(told[PERSONALITY], 0);
            assert_eq!([errno("135:8"), errno("272:131072"), errno("165"), errno("41:40:1:0")], ["EPERM"; 4]);
            assert_eq!(errno("435"), "ENOSYS");
            assert_eq!(b.facts(&[])["seccomp"], 2);
        }
    });
}

/// What busybox as a static program calls from its start to its end, and execve.
const STRICT: &str = "execve exit_group write close_range brk arch_prctl set_tid_address set_robust_list rseq prlimit64 \
    readlink readlinkat getrandom mprotect getuid geteuid prctl close mmap uname ioctl rt_sigaction";

fn strict(more: &[&str]) -> Value {
    let names: Vec<_> = STRICT.split_whitespace().chain(more.iter().copied()).collect();
    json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]})
}

/// The filter comes so late that it may forbid all that the runtime itself needs.
#[test]
fn almost_nothing_allowed() {
    check(|t| {
        let mut b = t.bundle();
        b.args(&["/bin/true"]).set("/linux/seccomp", strict(&[]));
        for nnp in [true, false] {
            b.set("/process/noNewPrivileges", nnp);
            b.run().ok();
        }
    });
}

/// For exec it is loaded before the process is born, unless it forbids what is left to do then.
#[test]
fn almost_nothing_allowed_to_exec() {
    check(|t| {
        for nnp in [true, false] {
            let mut b = t.bundle();
            b.args(&["/bin/sleep", "100"]).set("/linux/seccomp", strict(&["nanosleep", "clock_nanosleep"]));
            b.set("/process/noNewPrivileges", nnp);
            let c = b.create();
            c.start();
            t.call(["exec", &c.id, "/bin/true"]).run().ok();
            let out = t.call(["exec", &c.id, "/bin/ls", "/"]).run();
            assert_eq!(out.status, 159, "SIGSYS: {out}");
            c.delete_force();
        }
    });
}

/// Between the filter and the program there is nothing.
#[test]
fn nothing_after_the_filter_but_execve() {
    check(|t| {
        let mut b = t.bundle();
        b.args(&["/bin/true"]).set("/linux/seccomp", strict(&[]));
        b.write();
        let trace = t.path("strace");
        t.call(["run", "--bundle"])
            .args([&b.dir])
            .args([t.id()])
            .under(["strace", "-f", "-o", trace.to_str().unwrap(), "--"])
            .run()
            .ok();
        let text = std::fs::read_to_string(&trace).unwrap();
        let loads = |l: &&str| l.contains("seccomp(SECCOMP_SET_MODE_FILTER");
        let line = text.lines().find(loads).unwrap_or_else(|| panic!("{text}"));
        let pid = line.split_whitespace().next().unwrap();
        let its_own = |l: &&str| l.starts_with(pid) && !l.contains(" resumed>");
        let mut after = text.lines().skip_while(|l| !loads(l)).filter(its_own).skip(1);
        let next = after.next().unwrap_or_default();
        assert!(next.contains("execve(\"/bin/true\""), "{next}\n{text}");
    });
}

/// The same for a user who is given no sets at all: his are gone with the change of ids.
#[test]
fn without_privileges_and_without_sets() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/noNewPrivileges", false).set("/process/user", json!({"uid": 1000, "gid": 1000}));
        b.remove("/process/capabilities");
        b.set("/linux/seccomp", denying(json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}])));
        let facts = b.facts(&[]);
        assert_eq!((&facts["seccomp"], &facts["capabilities"]["effective"]), (&json!(2), &json!([])));
    });
}

/// Without no_new_privs and without CAP_SYS_ADMIN for the payload, the filter must be loaded while we still may.
#[test]
fn without_privileges_for_the_payload() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/noNewPrivileges", false)
            .capabilities(&[])
            .set("/process/user", json!({"uid": 1000, "gid": 1000}));
        b.set("/linux/seccomp", denying(json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}])));
        assert_eq!(b.facts(&[])["seccomp"], 2);
    });
}

#[test]
fn flags() {
    check(|t| {
        for flags in [
            json!([]),
            json!(["SECCOMP_FILTER_FLAG_LOG"]),
            json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"]),
        ] {
            let mut profile = denying(json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]));
            profile["flags"] = flags;
            assert_eq!(outcomes(t, profile, &[MKDIR]), json!({"83": {"errno": "EPERM"}}));
        }
    });
}

/// Names that this machine's kernel or libseccomp does not know are passed over: profiles come from newer machines.
#[test]
fn unknown_names_are_ignored() {
    check(|t| {
        let rules = json!([{"names": ["no_such_call_yet", "mkdir"], "action": "SCMP_ACT_ERRNO"}]);
        assert_eq!(outcomes(t, denying(rules), &[MKDIR]), json!({"83": {"errno": "EPERM"}}));
    });
}

/// As with names: a profile may come from a newer machine, or be meant for many.
#[test]
fn an_unknown_architecture_is_a_warning() {
    check(|t| {
        let mut profile = denying(json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]));
        profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_ABACUS"]);
        let mut b = t.bundle();
        b.set("/linux/seccomp", profile).probe(&["syscalls", MKDIR]);
        let out = b.run().ok();
        assert_eq!(out.facts(), json!({"83": {"errno": "EPERM"}}));
        let warned = out
            .log_entries()
            .iter()
            .any(|e| e["level"] == "warning" && e["msg"].to_string().contains("ABACUS"));
        assert!(warned, "{out}");
    });
}

#[test]
fn nonsense_is_refused() {
    check(|t| {
        let rule = |action: &str| denying(json!([{"names": ["mkdir"], "action": action}]));
        let mut bad_flag = rule("SCMP_ACT_ERRNO");
        bad_flag["flags"] = json!(["SECCOMP_FILTER_FLAG_FLY"]);
        let mut bad_default = rule("SCMP_ACT_ERRNO");
        bad_default["defaultAction"] = json!("SCMP_ACT_DANCE");
        let bad_op = denying(
            json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_ALMOST"}]}]),
        );
        let table = [
            (rule("SCMP_ACT_SING"), "SCMP_ACT_SING"),
            (bad_flag, "SECCOMP_FILTER_FLAG_FLY"),
            (bad_default, "SCMP_ACT_DANCE"),
            (bad_op, "SCMP_CMP_ALMOST"),
        ];
        for (profile, part) in table {
            t.bundle().set("/linux/seccomp", profile).refused(&[part]);
        }
    });
}

/// The debug log's word on where a container's filter came from.
#[track_caller]
fn origin(t: &Case, b: &Bundle) -> String {
    b.write();
    let out = t.call(["--debug", "run", "--bundle"]).args([&b.dir]).args([t.id()]).run().ok();
    let lines = out.log_entries();
    let told = lines.iter().filter_map(|e| e["msg"].as_str()).find(|m| m.starts_with("seccomp filter flags"));
    told.unwrap_or_else(|| panic!("{out}")).rsplit(' ').next().unwrap().to_string()
}

/// The second container with a profile does not compile it, whatever happened to the file meanwhile.
#[test]
fn compiled_filters_are_kept() {
    check(|t| {
        use std::os::unix::fs::PermissionsExt;
        let rules = |errno: u32| {
            denying(json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}]))
        };
        let mut b = t.bundle();
        b.set("/linux/seccomp", rules(28)).probe(&["syscalls", MKDIR]);
        assert_eq!([origin(t, &b), origin(t, &b)], ["compiled", "kept"]);
        assert_eq!(b.act(&["syscalls", MKDIR]), json!({"83": {"errno": "ENOSPC"}}));
        // exec finds it, too.
        let c = b.up(&["wait"]);
        let out = t.call(["--debug", "exec", &c.id, "/probe", "syscalls", MKDIR]).run().ok();
        assert!(out.log.contains("4, kept"), "{out}");
        assert_eq!(out.facts(), json!({"83": {"errno": "ENOSPC"}}));
        c.delete_force();
        b.set("/linux/seccomp", rules(30)).probe(&["syscalls", MKDIR]);
        assert_eq!(origin(t, &b), "compiled");
        assert_eq!(b.act(&["syscalls", MKDIR]), json!({"83": {"errno": "EROFS"}}));

        // A directory of nobody else's, which is no container.
        let dir = t.root.join("@filters");
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(t.rt(&["list", "--quiet"]).ok().stdout, "");
        let file = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
        assert_eq!(file.len(), 2);

        // Emptied, or writable by others: made anew.
        for file in &file {
            std::fs::write(file, "").unwrap();
        }
        b.probe(&["syscalls", MKDIR]);
        assert_eq!([origin(t, &b), origin(t, &b)], ["compiled", "kept"]);
        for file in &file {
            std::fs::set_permissions(file, PermissionsExt::from_mode(0o666)).unwrap();
        }
        assert_eq!([origin(t, &b), origin(t, &b)], ["compiled", "kept"]);
        // Where none can be kept.
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::write(&dir, "").unwrap();
        assert_eq!([origin(t, &b), origin(t, &b)], ["compiled", "compiled"]);
        assert_eq!(b.act(&["syscalls", MKDIR]), json!({"83": {"errno": "EROFS"}}));
    });
}
