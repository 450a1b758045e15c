//! Single words and lines of them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use orlop::cli;
use orlop::container::Id;
use orlop::container::exec::parse_user;
use orlop::launch::notify::allowed;
use orlop::plan::schedule::cpu_list;
use orlop::spec::{mount_options, rules};

use super::judged;

pub fn mount_options(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let options: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let Some(parsed) = judged(mount_options::parse(&options)) else { return };
    assert_eq!(parsed.rec_set & parsed.rec_clear & !orlop::sys::mount::ATTR_ATIME, 0, "set and cleared");
    let _ = (parsed.legacy_flags(), parsed.needs_legacy());
    for o in &options {
        mount_options::propagation(o);
    }
}

/// Each of the parsers, on the whole text.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(id) = judged(Id::parse(&text)) {
        let id = id.as_str();
        assert!(!id.contains(['/', '\0', '\n']) && !matches!(id, "" | "." | ".."), "{id:?}");
    }
    if let Some((uid, gid)) = judged(parse_user(&text)) {
        // Leading zeros are all that may differ.
        let shown = gid.map_or_else(|| uid.to_string(), |g| format!("{uid}:{g}"));
        let plain = |t: &str| t.split(':').map(|n| n.trim_start_matches('0').to_owned()).collect::<Vec<_>>();
        assert_eq!(plain(&shown), plain(&text), "{text:?}");
        assert!(uid != u32::MAX && gid != Some(u32::MAX));
    }
    if let Ok(ranges) = rules::id_list(&text) {
        assert!(ranges.iter().all(|(a, b)| a <= b && *b < 8192), "{ranges:?}");
    }
    judged(cpu_list(&text, "/process/execCPUAffinity/initial"));
    if let Some(path) = rules::sysctl_path(&text) {
        let bad = |c: &str| matches!(c, "" | "." | "..") || c.contains('\0');
        assert!(!path.split('/').any(bad), "{path:?}");
    }
    judged(cli::quantity::size(&text));
    judged(cli::quantity::duration(&text));
    if let Some((pids, table)) = text.split_once('\n') {
        let pids: Vec<i32> = pids.split(' ').filter_map(|p| p.parse().ok()).collect();
        judged(orlop::container::ps::filter(table, &pids));
    }
}

pub fn command_line(data: &[u8]) {
    let mut args = vec![OsString::from("orlop")];
    args.extend(data.split(|b| *b == b'\n').map(|a| OsString::from_vec(a.to_vec())));
    let sealed = cli::enters_container(&args);
    let (lean, whole) = (cli::parse(args.clone(), true), cli::parse(args, false));
    let shown =
        |cli: &Result<cli::Cli, clap::Error>| cli.as_ref().map_or(String::new(), |c| format!("{c:?}"));
    assert_eq!(shown(&lean), shown(&whole), "of a command line without the other verbs");
    let verb = whole.ok().map(|cli| cli.verb);
    if matches!(verb, Some(cli::Verb::Run(_) | cli::Verb::Create(_) | cli::Verb::Exec(_))) {
        assert!(sealed, "what enters a container is sealed first");
    }
}

pub fn notify(data: &[u8]) {
    let message = String::from_utf8_lossy(data);
    let passed = allowed(&message);
    for line in passed.lines() {
        assert!(
            !line.starts_with("MAINPID") && !line.starts_with("NOTIFYACCESS") && !line.starts_with("FD"),
            "{line:?}"
        );
        assert!(message.contains(line));
    }
}
