//! Id-mapped mounts: their own maps or the container's, one mount or all below, on each file system that is here.

use integration_tests::*;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

/// A folder with a file of root's and one of 1000's, which the container sees as those of 5000 and 6000.
fn filled(dir: &Path) {
    std::fs::write(dir.join("root"), "").unwrap();
    std::fs::write(dir.join("user"), "").unwrap();
    chown(dir.join("user"), Some(1000), Some(1000)).unwrap();
}

fn map() -> Value {
    json!([{"containerID": 0, "hostID": 5000, "size": 1000}, {"containerID": 1000, "hostID": 6000, "size": 1}])
}

fn mapped(source: &Path, options: &[&str]) -> Value {
    json!({"destination": "/mnt", "source": source, "type": "none", "options": options, "uidMappings": map(), "gidMappings": map()})
}

const ASK: [&str; 2] = ["stat=/mnt/root", "stat=/mnt/user"];

fn ids(facts: &Value) -> Vec<u64> {
    ASK.iter().flat_map(|a| ["uid", "gid"].map(|m| facts["asked"][a][m].as_u64().unwrap())).collect()
}

#[test]
fn own_maps() {
    check(|t| {
        let source = t.folder("source");
        filled(&source);
        for options in [&["bind"][..], &["rbind"], &["bind", "idmap"], &["rbind", "ridmap"], &["bind", "ro"]]
        {
            let mut b = t.bundle();
            b.mount(mapped(&source, options));
            assert_eq!(ids(&b.facts(&ASK)), [5000, 5000, 6000, 6000], "{options:?}");
        }
        // With a user namespace the mount's maps are those of the mount alone, and what they give is outside of it.
        let mut b = t.bundle();
        b.user_namespace();
        std::fs::create_dir(b.rootfs().join("mnt")).unwrap();
        let own = json!([{"containerID": 0, "hostID": 100_000, "size": 2000}]);
        let mut m = mapped(&source, &["bind"]);
        m["uidMappings"] = own.clone();
        m["gidMappings"] = own;
        b.mount(m);
        assert_eq!(ids(&b.facts(&ASK)), [0, 0, 1000, 1000]);
    });
}

#[test]
fn the_containers_maps() {
    check(|t| {
        let source = t.folder("source");
        filled(&source);
        for option in ["idmap", "ridmap"] {
            let mut b = t.bundle();
            std::fs::create_dir(b.rootfs().join("mnt")).unwrap();
            b.user_namespace().bind(&source, "/mnt", &[option, "rw"]);
            assert_eq!(ids(&b.facts(&ASK)), [0, 0, 1000, 1000], "{option}");
            // What is made in there is root's outside.
            let made = format!("made-{option}");
            let request = format!("create=/mnt/{made}");
            assert_eq!(b.facts(&[&request])["asked"][&request], "ok");
            assert_eq!(source.join(&made).metadata().unwrap().uid(), 0);
        }
        let mut b = t.bundle();
        b.bind(&source, "/mnt", &["idmap"]);
        b.refused(&["id-mapped mounts must have both uid and gid mappings"]);
    });
}

#[test]
fn one_mount_or_all_below() {
    check(|t| {
        let source = t.folder("source");
        filled(&source);
        let below = source.join("below");
        std::fs::create_dir(&below).unwrap();
        let at = below.to_str().unwrap().to_string();
        t.program("mount", &["-t", "tmpfs", "none", &at]).ok();
        t.at_end(&["umount", "-l", &at]);
        filled(&below);
        for (option, uid) in [("idmap", 0), ("ridmap", 5000)] {
            let mut b = t.bundle();
            b.mount(mapped(&source, &["rbind", option]));
            let facts = b.facts(&["stat=/mnt/root", "stat=/mnt/below/root"]);
            assert_eq!(facts["asked"]["stat=/mnt/root"]["uid"], 5000, "{option}");
            assert_eq!(facts["asked"]["stat=/mnt/below/root"]["uid"], uid, "{option}");
        }
    });
}

/// A folder on a file system of that type, or the reason why there is none.
fn folder_on(t: &Case, kind: &str) -> Option<PathBuf> {
    let dir = t.folder(kind);
    let at = dir.to_str().unwrap();
    let mount = |args: &[&str]| {
        let done = t.program("mount", args).status == 0;
        if done {
            t.at_end(&["umount", "-l", at]);
        }
        done
    };
    match kind {
        "disk" => true,
        "overlay" => {
            let [lower, upper, work] = ["lower", "upper", "work"].map(|n| t.folder(n).display().to_string());
            mount(&[
                "-t",
                "overlay",
                "-o",
                &format!("lowerdir={lower},upperdir={upper},workdir={work}"),
                "overlay",
                at,
            ])
        }
        kind => mount(&["-t", kind, "none", at]),
    }
    .then_some(dir)
}

/// Each either works or says why not, with the place; nothing is left out in silence.
#[test]
fn on_every_file_system() {
    check(|t| {
        let mut works = Vec::new();
        for kind in ["disk", "tmpfs", "ramfs", "hugetlbfs", "overlay", "proc", "sysfs", "cgroup2", "mqueue"] {
            let Some(dir) = folder_on(t, kind) else { continue };
            let real = !["proc", "sysfs", "cgroup2", "mqueue"].contains(&kind);
            if real {
                filled(&dir);
            }
            let mut b = t.bundle();
            b.mount(mapped(&dir, &["bind"])).probe(&["facts", ASK[0], ASK[1]]);
            let out = b.run();
            if out.status == 0 && real {
                assert_eq!(ids(&out.facts()), [5000, 5000, 6000, 6000], "{kind}");
                works.push(kind);
            } else {
                assert_ne!(out.status, 0, "{kind}");
                let message = out.fails(&["invalid argument"]);
                for part in ["cannot be idmapped", "/mnt", "/mounts/7"] {
                    assert!(is_reference() || message.contains(part), "{kind}: {message}");
                }
            }
        }
        assert!(works.contains(&"disk") && works.contains(&"tmpfs"), "{works:?}");
    });
}

#[test]
fn maps_that_are_none() {
    check(|t| {
        let source = t.folder("source");
        for (uids, gids, part) in [
            (map(), json!([]), "both uid and gid"),
            (json!([]), map(), "both uid and gid"),
            (json!([{"containerID": 0, "hostID": 5000, "size": 0}]), map(), ""),
            (json!([{"containerID": 5, "hostID": 0, "size": u32::MAX}]), map(), ""),
        ] {
            let mut b = t.bundle();
            let mut m = mapped(&source, &["bind"]);
            m["uidMappings"] = uids;
            m["gidMappings"] = gids;
            b.mount(m);
            let message = b.refused(&[part]);
            assert!(is_reference() || message.contains("/mounts/7"), "{message}");
        }
        let mut b = t.bundle();
        let mut m = mapped(&source, &[]);
        m["type"] = json!("tmpfs");
        b.mount(m);
        b.refused(&["id-mapped mounts are only supported for bind-mounts"]);
    });
}
