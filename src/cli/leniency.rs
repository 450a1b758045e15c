//! What runc's flag parser takes and clap does not: long flags with a single dash, as go-runc still writes them
//! (`restore … -no-subreaper`).

use std::ffi::{OsStr, OsString};

use clap::{ArgAction, Command};

/// Doubles the dash of known long flags, up to where the flags end: after that everything belongs to a container.
pub fn normalise(args: Vec<OsString>, root: &Command) -> Vec<OsString> {
    let mut out = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    out.extend(args.next());
    let mut level = root;
    let mut in_verb = false;
    while let Some(arg) = args.next() {
        let Some((name, has_value)) = flag_name(&arg) else {
            let verb = if in_verb { None } else { root.find_subcommand(&arg) };
            out.push(arg);
            match verb {
                Some(v) => (level, in_verb) = (v, true),
                // runc's parser ends the flags at the first word, but for verbs that take no command to run it
                // costs nothing to go on.
                None if passes_words_on(level) => break,
                None => {}
            }
            continue;
        };
        let found = find(level, &name);
        let single = !arg.as_encoded_bytes().starts_with(b"--") && name.len() > 1;
        let takes_value = found.is_some_and(|a| a.get_action().takes_values());
        if single && found.is_some_and(|a| a.get_long() == Some(&name)) {
            let mut doubled = OsString::from("-");
            doubled.push(&arg);
            out.extend(unvalued(doubled, takes_value, has_value));
        } else {
            let end = arg == "--";
            out.extend(unvalued(arg, takes_value, has_value));
            if end {
                break;
            }
        }
        if takes_value && !has_value {
            out.extend(args.next());
        }
    }
    out.extend(args);
    out
}

/// Verbs whose words after the id are a command line of somebody else's.
fn passes_words_on(level: &Command) -> bool {
    matches!(level.get_name(), "exec" | "ps")
}

/// `--flag=true` of a flag that takes no value is the flag, `--flag=false` is none: Go's parser has it so.
fn unvalued(arg: OsString, takes_value: bool, has_value: bool) -> Option<OsString> {
    match arg.to_str() {
        Some(text) if has_value && !takes_value => match text.split_once('=') {
            Some((flag, "true" | "1" | "t" | "T" | "TRUE" | "True")) => Some(flag.into()),
            Some((_, "false" | "0" | "f" | "F" | "FALSE" | "False")) => None,
            _ => Some(arg),
        },
        _ => Some(arg),
    }
}

fn find<'a>(level: &'a Command, name: &str) -> Option<&'a clap::Arg> {
    level.get_arguments().find(|a| {
        a.get_long() == Some(name) || (name.len() == 1 && a.get_short().is_some_and(|s| name.starts_with(s)))
    })
}

/// The name of a flag and whether a value hangs on it.
fn flag_name(arg: &OsStr) -> Option<(String, bool)> {
    let text = arg.to_str()?;
    let name = text.strip_prefix("--").or_else(|| text.strip_prefix('-'))?;
    if name.is_empty() {
        return (text == "--").then(|| (String::new(), false));
    }
    match name.split_once('=') {
        Some((name, _)) => Some((name.to_owned(), true)),
        None => Some((name.to_owned(), false)),
    }
}

/// A flag that says nothing to us any more.
pub const IGNORED: ArgAction = ArgAction::SetTrue;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn after(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        let out = normalise(args, &super::super::Cli::command());
        out.iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn single_dashes_of_long_flags_are_doubled() {
        for (from, to) in [
            (
                "orlop -root /x run -no-subreaper -bundle /b c1",
                "orlop --root /x run --no-subreaper --bundle /b c1",
            ),
            ("orlop --root=/x run -b /b -d c1", "orlop --root=/x run -b /b -d c1"),
            ("orlop -root=/x state c1", "orlop --root=/x state c1"),
            ("orlop --systemd-cgroup=true state c1", "orlop --systemd-cgroup state c1"),
            ("orlop ps c1 -format", "orlop ps c1 -format"),
            ("orlop --root run state c1", "orlop --root run state c1"),
        ] {
            assert_eq!(after(from), to);
        }
    }
}
