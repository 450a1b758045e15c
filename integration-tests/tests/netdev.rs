//! linux.netDevices: devices of the host that move into the container's network namespace, and back where no container
//! comes of it.

use integration_tests::*;

/// A name for a device that no other test has: 15 bytes are all that there is.
fn device(t: &Case, suffix: &str) -> String {
    let number: String = t.token.chars().filter(char::is_ascii_digit).collect();
    format!("t{}{suffix}", &number[number.len().saturating_sub(10)..])
}

fn ip(t: &Case, words: &[&str]) -> Output {
    t.program("ip", words)
}

/// One end of a veth pair; the other stays here, and goes with it. Both go with the test.
fn veth(t: &Case, suffix: &str) -> String {
    let (name, peer) = (device(t, suffix), device(t, &format!("{suffix}p")));
    ip(t, &["link", "add", &name, "type", "veth", "peer", "name", &peer]).ok();
    t.at_end(&["ip", "link", "del", &peer]);
    name
}

/// The devices that the payload sees, with all that `ip` would tell of them.
fn inside(t: &Case, b: &mut Bundle) -> Value {
    let c = b.up(&["wait"]);
    let pid = c.pid().to_string();
    let out = t.program("nsenter", &["-t", &pid, "-n", "ip", "-j", "address", "show"]).ok();
    c.delete_force();
    out.json()
}

fn named<'a>(all: &'a Value, name: &str) -> &'a Value {
    let found = all.as_array().unwrap().iter().find(|d| d["ifname"] == name);
    found.unwrap_or_else(|| panic!("{name} should be in {all}"))
}

/// `10.1.2.3/24` and the like, of one device.
fn addresses(device: &Value) -> Vec<String> {
    let of = |a: &Value| format!("{}/{}", a["local"].as_str().unwrap(), a["prefixlen"]);
    let mut all: Vec<String> =
        device["addr_info"].as_array().unwrap().iter().filter(|a| a["scope"] == "global").map(of).collect();
    all.sort();
    all
}

fn gone(t: &Case, name: &str) -> bool {
    ip(t, &["link", "show", name]).status != 0
}

#[test]
fn moves_as_it_is() {
    check(|t| {
        let name = veth(t, "a");
        let peer = device(t, "ap");
        ip(t, &["link", "set", &name, "mtu", "1789", "address", "02:11:22:33:44:55"]).ok();
        let mut b = t.bundle();
        let all = inside(t, b.set("/linux/netDevices", json!({name.as_str(): {}})));
        let device = named(&all, &name);
        assert_eq!((&device["mtu"], &device["address"]), (&json!(1789), &json!("02:11:22:33:44:55")));
        assert!(device["flags"].to_string().contains("\"UP\""), "{device}");
        // A pair goes with the namespace of one of its ends.
        until("the end of the pair", || gone(t, &peer));
        assert!(gone(t, &name));
    });
}

#[test]
fn takes_its_lasting_addresses_along() {
    check(|t| {
        let name = veth(t, "a");
        for address in ["10.213.7.5/24", "10.213.7.6/24", "10.99.0.1/32"] {
            ip(t, &["address", "add", address, "dev", &name]).ok();
        }
        ip(t, &["address", "add", "10.214.0.1", "peer", "10.214.0.2", "dev", &name]).ok();
        // Not to last, and not to be reached.
        ip(
            t,
            &["address", "add", "10.213.8.8/24", "valid_lft", "1000", "preferred_lft", "1000", "dev", &name],
        )
        .ok();
        ip(t, &["address", "add", "10.213.9.9/24", "scope", "link", "dev", &name]).ok();
        let mut b = t.bundle();
        let all = inside(t, b.set("/linux/netDevices", json!({name.as_str(): {"name": "eth0"}})));
        let device = named(&all, "eth0");
        assert_eq!(addresses(device), ["10.213.7.5/24", "10.213.7.6/24", "10.214.0.1/32", "10.99.0.1/32"]);
        let info = device["addr_info"].as_array().unwrap();
        assert!(!device.to_string().contains("10.213.9.9"), "{device}");
        assert!(info.iter().any(|a| a["address"] == "10.214.0.2"), "the other end: {device}");
    });
}

/// The link's going down takes IPv6 addresses away; they come again.
#[test]
fn takes_its_addresses_of_version_six_along() {
    check(|t| {
        let name = veth(t, "a");
        ip(t, &["link", "set", &name, "up"]).ok();
        ip(t, &["address", "add", "fd00:dead::5/64", "dev", &name, "nodad"]).ok();
        let mut b = t.bundle();
        let all = inside(t, b.set("/linux/netDevices", json!({name.as_str(): {}})));
        assert_eq!(addresses(named(&all, &name)), ["fd00:dead::5/64"]);
    });
}

#[test]
fn of_other_kinds() {
    check(|t| {
        let below = veth(t, "a");
        let (tap, vlan) = (device(t, "t"), device(t, "m"));
        ip(t, &["tuntap", "add", &tap, "mode", "tap"]).ok();
        t.at_end(&["ip", "link", "del", &tap]);
        ip(t, &["link", "add", &vlan, "link", &below, "type", "macvlan"]).ok();
        t.at_end(&["ip", "link", "del", &vlan]);
        let mut b = t.bundle();
        b.set("/linux/netDevices", json!({tap.as_str(): {"name": "tap0"}, vlan.as_str(): {"name": "mac0"}}));
        let all = inside(t, &mut b);
        named(&all, "tap0");
        named(&all, "mac0");
    });
}

#[test]
fn into_a_namespace_that_was_there_it_stays() {
    check(|t| {
        let (ns, name) = (t.token.clone(), veth(t, "a"));
        ip(t, &["netns", "add", &ns]).ok();
        t.at_end(&["ip", "netns", "del", &ns]);
        let mut b = t.bundle();
        b.namespace(json!({"type": "network", "path": format!("/run/netns/{ns}")}));
        b.set("/linux/netDevices", json!({name.as_str(): {"name": "eth7"}}));
        named(&inside(t, &mut b), "eth7");
        ip(t, &["-n", &ns, "link", "show", "eth7"]).ok();
    });
}

#[test]
fn a_template_finds_a_number() {
    check(|t| {
        let (first, second) = (veth(t, "a"), veth(t, "b"));
        let mut b = t.bundle();
        b.set(
            "/linux/netDevices",
            json!({first.as_str(): {"name": "eth%d"}, second.as_str(): {"name": "eth%d"}}),
        );
        let all = inside(t, &mut b);
        named(&all, "eth0");
        named(&all, "eth1");
    });
}

/// Whatever goes wrong afterwards: the device is where and what it was.
#[test]
fn goes_back_where_there_is_no_container() {
    check(|t| {
        let (name, other) = (veth(t, "a"), veth(t, "b"));
        ip(t, &["address", "add", "10.213.7.5/24", "dev", &name]).ok();
        ip(t, &["link", "set", &name, "up"]).ok();
        let before = |n: &str| {
            let mut d = ip(t, &["-j", "address", "show", n]).ok().json()[0].clone();
            // The kernel counts them anew, and the peer's state shows late.
            for member in ["ifindex", "link_index", "operstate", "flags", "link_netnsid", "link"] {
                d.as_object_mut().unwrap().remove(member);
            }
            d
        };
        let was = (before(&name), before(&other));
        let devices = json!({name.as_str(): {"name": "eth0"}, other.as_str(): {"name": "eth%d"}});
        let fails: [fn(&mut Bundle); 3] = [
            |b| drop_ref(b.args(&["/no/such/program"])),
            |b| drop_ref(b.set("/hooks/createRuntime", json!([{"path": "/bin/false"}]))),
            |b| drop_ref(b.set("/linux/sysctl", json!({"kernel.msgmax": "many"}))),
        ];
        for change in fails {
            let mut b = t.bundle();
            b.set("/linux/netDevices", devices.clone());
            change(&mut b);
            assert_ne!(b.run().status, 0);
            assert_eq!((before(&name), before(&other)), was);
            let flags = ip(t, &["-j", "link", "show", &name]).ok().json()[0]["flags"].to_string();
            assert!(flags.contains("\"UP\""), "{flags}");
        }
    });
}

fn drop_ref<T>(_: &mut T) {}

#[test]
fn names_that_are_taken_or_missing_are_refused() {
    check(|t| {
        let (first, second) = (veth(t, "a"), veth(t, "b"));
        let mut b = t.bundle();
        b.set(
            "/linux/netDevices",
            json!({first.as_str(): {"name": "eth0"}, second.as_str(): {"name": "eth0"}}),
        );
        b.refused(&["eth0", "exists"]);
        assert!(!gone(t, &first) && !gone(t, &second), "both are back");
        b.set("/linux/netDevices", json!({first.as_str(): {"name": "lo"}})).refused(&["lo", "exists"]);
        b.set("/linux/netDevices", json!({first.as_str(): {}, "nosuchdevice": {}}))
            .refused(&["nosuchdevice"]);
        assert!(!gone(t, &first), "it has not even left");
        b.set("/linux/netDevices", json!({"lo": {"name": "lo1"}})).refused(&["lo"]);
    });
}

#[test]
fn what_is_no_name_or_has_no_namespace_is_refused() {
    check(|t| {
        for (devices, part) in [
            (json!({"a/b": {}}), "a/b"),
            (json!({"..": {}}), ".."),
            (json!({"sixteen_letters_": {}}), "sixteen"),
            (json!({"eth0": {"name": "a b"}}), "a b"),
            (json!({"eth0": {"name": "a:b"}}), "a:b"),
        ] {
            t.bundle().set("/linux/netDevices", devices).refused(&["invalid network device name", part]);
        }
        let mut b = t.bundle();
        b.namespaces(&["pid", "ipc", "uts", "mount"]);
        b.set("/linux/netDevices", json!({"eth0": {}}));
        b.refused(&["unable to move network devices without a NET namespace"]);
    });
}

/// By its path it is a namespace of the configuration, and the runtime's own all the same.
#[test]
fn into_our_own_namespace_is_refused() {
    check(|t| {
        let name = veth(t, "a");
        let mut b = t.bundle();
        b.namespace(json!({"type": "network", "path": "/proc/self/ns/net"}));
        b.set("/linux/netDevices", json!({name.as_str(): {"name": "eth9"}}));
        b.refused(&["NET namespace"]);
        assert!(!gone(t, &name));
    });
}
