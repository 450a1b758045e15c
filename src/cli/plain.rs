//! The command lines that clients write, read without clap, which needs longer to be told of our flags than most verbs take.
//! What is not plain is clap's to read, or to refuse: another form of a flag, a flag that is not known here, one too many
//! or too few. Where both read a line, they come to the same.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Cli, Global, Verb};

/// Where the value of a flag or a word goes.
pub enum Slot<'a> {
    /// A flag without a value.
    Set(&'a mut bool),
    Text(&'a mut String),
    Given(&'a mut Option<String>),
    Path(&'a mut PathBuf),
    File(&'a mut Option<PathBuf>),
    Number(&'a mut u32),
    /// May come again.
    Each(&'a mut Vec<String>),
}

/// A level of the command line, as far as a plain one can say it.
pub trait Plain: Sized {
    /// What it is when nothing is said: clap's defaults.
    fn silent() -> Self;
    /// By the long name, or by the letter.
    fn flag(&mut self, name: &str) -> Option<Slot<'_>>;
    /// The word number `n` that is no flag, of which one there must be.
    fn word(&mut self, n: usize) -> Option<Slot<'_>>;
    /// From this word on all belongs to somebody else's command line.
    const THEIRS: usize = usize::MAX;
}

impl Slot<'_> {
    /// Tells one flag from another, whatever name it was called by.
    fn at(&self) -> usize {
        match self {
            Self::Set(v) => std::ptr::from_ref::<bool>(v).addr(),
            Self::Text(v) => std::ptr::from_ref::<String>(v).addr(),
            Self::Given(v) => std::ptr::from_ref::<Option<String>>(v).addr(),
            Self::Path(v) => std::ptr::from_ref::<PathBuf>(v).addr(),
            Self::File(v) => std::ptr::from_ref::<Option<PathBuf>>(v).addr(),
            Self::Number(v) => std::ptr::from_ref::<u32>(v).addr(),
            Self::Each(_) => 0,
        }
    }

    fn put(self, text: &str) -> Option<()> {
        match self {
            Self::Set(_) => return None,
            Self::Text(v) => text.clone_into(v),
            Self::Given(v) => *v = Some(text.to_owned()),
            Self::Path(v) => *v = text.into(),
            Self::File(v) => *v = Some(text.into()),
            Self::Number(v) => *v = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())??,
            Self::Each(v) => v.push(text.to_owned()),
        }
        Some(())
    }
}

/// A value or a word that is taken as it stands.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-')
}

/// Flags, and their values, up to the next word.
fn flags<'a>(
    words: &mut std::slice::Iter<'a, &'a str>,
    into: &mut impl Plain,
    seen: &mut Vec<usize>,
) -> Option<Option<&'a str>> {
    while let Some(word) = words.next() {
        if is_plain(word) {
            return Some(Some(word));
        }
        let (name, value) = match word.strip_prefix("--") {
            Some(long) => long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value))),
            None => (word.strip_prefix('-')?, None),
        };
        // Of one dash and more letters there are several readings.
        if (name.len() == 1) == word.starts_with("--") {
            return None;
        }
        let slot = into.flag(name)?;
        let at = slot.at();
        if at != 0 && seen.contains(&at) {
            return None;
        }
        seen.push(at);
        match slot {
            Slot::Set(_) if value.is_some() => return None,
            Slot::Set(v) => *v = true,
            slot => slot.put(value.or_else(|| words.next().copied()).filter(|v| is_plain(v))?)?,
        }
    }
    Some(None)
}

fn verb<'a, V: Plain>(mut words: std::slice::Iter<'a, &'a str>) -> Option<V> {
    let mut verb = V::silent();
    let mut seen = Vec::new();
    let mut n = 0;
    while n < V::THEIRS
        && let Some(word) = flags(&mut words, &mut verb, &mut seen)?
    {
        verb.word(n)?.put(word)?;
        n += 1;
    }
    for (i, word) in words.enumerate() {
        // What clap makes of these is its own affair.
        if *word == "--" || (i == 0 && !is_plain(word)) {
            return None;
        }
        verb.word(n)?.put(word)?;
        n += 1;
    }
    (n > 0).then_some(verb)
}

/// `None`: not plain.
pub fn read(args: &[OsString]) -> Option<Cli> {
    let words = args.iter().skip(1).map(|a| a.to_str()).collect::<Option<Vec<&str>>>()?;
    let mut words = words.iter();
    let mut global = Global::silent();
    let verb = match flags(&mut words, &mut global, &mut Vec::new())?? {
        "create" => Verb::Create(verb(words)?),
        "delete" => Verb::Delete(verb(words)?),
        "exec" => Verb::Exec(verb(words)?),
        "kill" => Verb::Kill(verb(words)?),
        "run" => Verb::Run(verb(words)?),
        "start" => Verb::Start(verb(words)?),
        "state" => Verb::State(verb(words)?),
        _ => return None,
    };
    Some(Cli { global, verb })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn what_clients_write_is_read_as_clap_reads_it() {
        for line in [
            "orlop state c1",
            "orlop --root /run/x --log /l --log-format json state c1",
            "orlop --root=/run/x --systemd-cgroup --debug --rootless=true delete --force c1",
            "orlop --log-level info --cgroup-manager disabled --trace /t delete c1 -f",
            "orlop --root run state run",
            "orlop kill c1",
            "orlop kill --all c1 KILL",
            "orlop kill c1 9",
            "orlop start c1",
            "orlop create --bundle /b --pid-file /p --console-socket /s c1",
            "orlop create -b /b --pidfd-socket=/s --no-pivot --no-new-keyring --preserve-fds 3 c1",
            "orlop run -d --keep --no-subreaper --bundle=/b=c c1",
            "orlop run c1 --detach",
            "orlop exec c1 true",
            "orlop exec -t -e A=1 --env=B=2 -u 1:2 --cwd / --cap CAP_X -d --pid-file /p c1 sh -c exit",
            "orlop exec --process /p --detach c1",
            "orlop exec --no-new-privs --preserve-fds=2 --console-socket /s --pidfd-socket /t c1 a --b -c --d=e -",
        ] {
            let plain = read(&args(line)).unwrap_or_else(|| panic!("not plain: {line}"));
            let whole = super::super::parse(args(line), false).unwrap();
            assert_eq!(format!("{plain:?}"), format!("{whole:?}"), "{line}");
        }
    }

    #[test]
    fn the_rest_is_for_clap() {
        for line in [
            "orlop",
            "orlop --version",
            "orlop -root /x state c1",
            "orlop --root  state c1",
            "orlop --root /x --root /y state c1",
            "orlop --debug=true state c1",
            "orlop --nothing state c1",
            "orlop state",
            "orlop state c1 c2",
            "orlop state -- c1",
            "orlop state --help",
            "orlop list",
            "orlop kill c1 -9",
            "orlop create --b /b c1",
            "orlop create -bundle /b c1",
            "orlop create -b /b --bundle /c c1",
            "orlop create -b=/b c1",
            "orlop create --preserve-fds 4294967296 c1",
            "orlop create --detach c1",
            "orlop run -dk c1",
            "orlop run --pid-file",
            "orlop exec c1 -t sh",
            "orlop exec c1 sh -- x",
            "orlop exec -g 5 c1 sh",
        ] {
            assert!(read(&args(line)).is_none(), "{line}");
        }
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"c\xff".to_vec());
        assert!(read(&["orlop".into(), "state".into(), odd]).is_none());
    }

    /// Every flag that is known here, by each of its names, in a line that clap reads.
    #[test]
    fn every_flag_means_the_same_to_both() {
        let whole = Cli::command();
        let mut known = 0;
        let levels = ["create", "delete", "exec", "kill", "run", "start", "state"]
            .map(|name| (name, whole.find_subcommand(name).unwrap()));
        for (verb, level) in [("state", &whole)].into_iter().chain(levels) {
            for arg in level.get_arguments() {
                let value = if arg.get_action().takes_values() { " 7" } else { "" };
                let long = arg.get_long().map(|l| format!("--{l}"));
                let short = arg.get_short().map(|s| format!("-{s}"));
                for name in long.into_iter().chain(short) {
                    let line = match std::ptr::eq(level, &whole) {
                        true => format!("orlop {name}{value} {verb} c1"),
                        false => format!("orlop {verb} {name}{value} c1"),
                    };
                    if let Some(plain) = read(&args(&line)) {
                        let whole = super::super::parse(args(&line), false).unwrap();
                        assert_eq!(format!("{plain:?}"), format!("{whole:?}"), "{line}");
                        known += 1;
                    }
                }
            }
        }
        assert!(known > 40, "{known}");
    }
}
