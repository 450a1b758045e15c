//! `spec`: the document that it writes.

use integration_tests::*;
use std::fs;

fn written(dir: &std::path::Path) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join("config.json")).unwrap()).unwrap()
}

#[test]
fn is_what_runc_writes() {
    check(|t| {
        let dir = t.folder("spec");
        t.call(["spec"]).cwd(&dir).run().ok();
        let mut expected = default_config();
        expected["process"]["terminal"] = json!(true);
        expected["process"]["args"] = json!(["sh"]);
        let mut spec = written(&dir);
        // Only a machine with cgroup version 2 gets a namespace for it.
        spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "cgroup");
        assert!(["runc", "orlop"].contains(&spec["hostname"].as_str().unwrap()));
        spec["hostname"] = json!("runc");
        assert_eq!(spec, expected);
        let text = fs::read_to_string(dir.join("config.json")).unwrap();
        assert!(text.starts_with("{\n\t\"ociVersion\": \"1.3.0\","), "indented by tabs: {text}");
    });
}

#[test]
fn into_a_bundle() {
    check(|t| {
        for flag in ["--bundle", "-b", "-bundle"] {
            let dir = t.folder("spec");
            t.rt(&["spec", flag, dir.to_str().unwrap()]).ok();
            written(&dir);
        }
    });
}

#[test]
fn overwrites_nothing() {
    check(|t| {
        let dir = t.folder("spec");
        fs::write(dir.join("config.json"), "mine").unwrap();
        t.rt(&["spec", "-b", dir.to_str().unwrap()]).fails(&["config.json", "exists"]);
        assert_eq!(fs::read_to_string(dir.join("config.json")).unwrap(), "mine");
    });
}

#[test]
fn into_a_folder_that_does_not_exist() {
    check(|t| {
        t.rt(&["spec", "-b", "/no/such/folder"]).fails(&["no such file or directory"]);
    });
}

#[test]
fn rootless() {
    check(|t| {
        let dir = t.folder("spec");
        t.call(["spec", "--rootless"]).cwd(&dir).run().ok();
        let spec = written(&dir);
        let namespaces: Vec<_> = spec["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["type"].as_str().unwrap())
            .collect();
        assert!(namespaces.contains(&"user") && !namespaces.contains(&"network"), "{namespaces:?}");
        assert_eq!(spec["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": 0, "size": 1}]));
        assert!(spec["linux"].get("resources").is_none());
        let destinations: Vec<_> =
            spec["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap()).collect();
        assert!(destinations.contains(&"/sys"));
        let sys = spec["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/sys").unwrap();
        assert_eq!((&sys["type"], &sys["source"]), (&json!("none"), &json!("/sys")));
        assert!(words(&sys["options"]).contains(&"rbind"));
    });
}

/// The document runs as it is, given a rootfs.
#[test]
fn runs() {
    check(|t| {
        let mut b = t.bundle();
        t.rt(&["spec", "-b", b.dir.to_str().unwrap()]).ok();
        b.config = written(&b.dir);
        b.set("/process/terminal", false).args(&["echo", "hello"]);
        assert_eq!(b.run().ok().stdout, "hello\n");
    });
}
