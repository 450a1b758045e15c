//! The command line itself: forms of flags, obsolete ones, usage errors.

use integration_tests::*;

/// Clients write long flags with one dash (Go's flag package), with `=`, and before or after the id.
#[test]
fn forms_of_flags() {
    check(|t| {
        let b = t.bundle();
        b.write();
        let bundle = b.dir.to_str().unwrap();
        let forms: [&[&str]; 6] = [
            &["run", "--bundle", bundle, "ID"],
            &["run", "-bundle", bundle, "ID"],
            &["run", "-b", bundle, "ID"],
            &["run", &format!("--bundle={bundle}"), "ID"],
            &["run", &format!("-b={bundle}"), "ID"],
            &["run", "ID", "--bundle", bundle],
        ];
        for form in forms {
            let id = t.id();
            let words: Vec<&str> = form.iter().map(|w| if *w == "ID" { id.as_str() } else { w }).collect();
            assert_eq!(t.rt(&words).ok().facts()["exe"], "/probe", "{form:?}");
        }
    });
}

#[test]
fn flags_that_change_nothing_here_are_accepted() {
    check(|t| {
        let b = t.bundle();
        for flags in [&["--no-subreaper"][..], &["-no-subreaper"], &["--no-pivot=false"], &["--keep=false"]] {
            let mut words = vec!["run"];
            words.extend(flags);
            b.call(&words, &t.id()).run().ok();
        }
        let root = t.root.to_str().unwrap();
        for global in [
            &["--rootless", "false"][..],
            &["--rootless=auto"],
            &["--rootless=true"],
            &["--systemd-cgroup=false"],
            &["--debug=false"],
        ] {
            t.bare(["--root", root])
                .args(global)
                .args(["run", "-b", b.dir.to_str().unwrap(), &t.id()])
                .run()
                .ok();
        }
    });
}

#[test]
fn criu_is_accepted_and_ignored() {
    check(|t| {
        std::fs::create_dir(&t.root).unwrap();
        t.call(["--criu", "/usr/sbin/criu", "list"]).run().ok();
    });
}

#[test]
fn usage_errors() {
    check(|t| {
        let wrong: [&[&str]; 10] = [
            &["no-such-verb"],
            &["run", "--no-such-flag", "x"],
            &["--no-such-flag", "list"],
            &["create"],
            &["start"],
            &["start", "one", "two"],
            &["kill"],
            &["kill", "a", "TERM", "more"],
            &["delete"],
            &["run", "-b"],
        ];
        for words in wrong {
            let out = t.rt(words);
            assert!(!out.killed && out.status != 0, "{out}");
            assert!(!out.stderr.is_empty(), "{out}");
        }
    });
}

#[test]
fn help() {
    check(|t| {
        for words in [&["--help"][..], &["-h"], &["run", "--help"], &["create", "-h"], &["help"]] {
            let out = t.bare(words).run().ok();
            assert!(out.stdout.to_lowercase().contains("usage"), "{out}");
        }
        let out = t.bare(["--help"]).run().ok();
        for verb in ["create", "start", "run", "state", "list", "kill", "delete", "spec", "features", "ps"] {
            assert!(out.stdout.contains(verb), "{verb} in {out}");
        }
    });
}

/// Rooms that are not built yet say so, rather than do something else in silence.
#[test]
fn the_systemd_driver_is_refused_where_there_is_no_systemd() {
    check(|t| {
        if std::path::Path::new("/run/systemd/system").exists() {
            skip!("there is systemd");
        }
        let mut b = t.bundle();
        b.set("/linux/cgroupsPath", format!("system.slice:it:{}", t.token)).write();
        let id = t.id();
        let words = ["--systemd-cgroup", "run", "--bundle", b.dir.to_str().unwrap(), &id];
        t.rt(&words).fails(&["systemd"]);
        t.nothing_left();
    });
}

#[test]
fn id_rules() {
    check(|t| {
        let b = t.bundle();
        for tail in ["a", "A-b_c.d+e", "0", "-", "..x"] {
            b.call(&["run"], &format!("{}{tail}", t.token)).run().ok();
        }
    });
}
