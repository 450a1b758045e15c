//! `org.systemd.property.NAME` annotations: properties of the unit that a configuration may set.
//!
//! Only those of a list. Many others make systemd, which is root, run a program, start, stop or conflict with other
//! units, or reboot: whoever may set annotations would own the host (CVE-2024-3154).

use std::collections::BTreeMap;

use super::property::{Property, Value};
use crate::error::{Error, Result};
use crate::spec::annotations::{SYSTEMD_PROPERTY_PREFIX, systemd_property};

#[derive(Clone, Copy)]
enum Type {
    Bool,
    I32,
    U32,
    U64,
    Text,
    Texts,
}

/// How and when it is stopped, how it is shown and ordered, and what it may use.
const ALLOWED: [(&str, Type); 40] = [
    ("After", Type::Texts),
    ("Before", Type::Texts),
    ("BlockIOAccounting", Type::Bool),
    ("BlockIOWeight", Type::U64),
    ("CollectMode", Type::Text),
    ("CPUAccounting", Type::Bool),
    ("CPUQuotaPerSecUSec", Type::U64),
    ("CPUQuotaPeriodUSec", Type::U64),
    ("CPUShares", Type::U64),
    ("CPUWeight", Type::U64),
    ("DefaultDependencies", Type::Bool),
    ("Description", Type::Text),
    ("FinalKillSignal", Type::I32),
    ("IOAccounting", Type::Bool),
    ("IOWeight", Type::U64),
    ("IPAccounting", Type::Bool),
    ("KillMode", Type::Text),
    ("KillSignal", Type::I32),
    ("ManagedOOMMemoryPressure", Type::Text),
    ("ManagedOOMMemoryPressureLimit", Type::U32),
    ("ManagedOOMPreference", Type::Text),
    ("ManagedOOMSwap", Type::Text),
    ("MemoryAccounting", Type::Bool),
    ("MemoryHigh", Type::U64),
    ("MemoryLimit", Type::U64),
    ("MemoryLow", Type::U64),
    ("MemoryMax", Type::U64),
    ("MemoryMin", Type::U64),
    ("MemorySwapMax", Type::U64),
    ("MemoryZSwapMax", Type::U64),
    ("OOMPolicy", Type::Text),
    ("RestartKillSignal", Type::I32),
    ("RuntimeMaxUSec", Type::U64),
    ("SendSIGHUP", Type::Bool),
    ("SendSIGKILL", Type::Bool),
    ("StartupCPUWeight", Type::U64),
    ("StartupIOWeight", Type::U64),
    ("TasksAccounting", Type::Bool),
    ("TasksMax", Type::U64),
    ("TimeoutStopUSec", Type::U64),
];

/// The properties that the annotations set, in the order of their names.
pub fn properties(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let mut all = Vec::new();
    for (key, text) in annotations {
        let bad = |why: &str| {
            let at = format!("/annotations/{}", key.replace('~', "~0").replace('/', "~1"));
            Error::spec(at, format!("annotation {key}={text:?}: {why}"))
        };
        let name = match systemd_property(key) {
            None => continue,
            Some(Err(why)) => return Err(bad(&format!("name incorrect: {why}"))),
            Some(Ok(name)) => name,
        };
        // A time in seconds is a property in microseconds: …Sec after a small letter, as in runc.
        let seconds = name.strip_suffix("Sec").filter(|n| n.ends_with(|c: char| c.is_ascii_lowercase()));
        let known = seconds.map_or_else(|| name.to_owned(), |n| format!("{n}USec"));
        let Some((_, kind)) = ALLOWED.iter().find(|(n, _)| *n == known) else {
            let hint =
                format!("{SYSTEMD_PROPERTY_PREFIX}* may set what limits, orders, shows and stops a unit");
            return Err(bad("this property may not be set by an annotation").hint(hint));
        };
        let value = Parser::whole(text).map_err(|why| bad(&format!("value parse error: {why}")))?;
        let value = value.typed(*kind, seconds.is_some()).ok_or_else(|| bad("value of a wrong type"))?;
        all.push(Property { name: known, value });
    }
    Ok(all)
}

/// What the text says, before it is known what it should be.
#[derive(Debug, PartialEq)]
enum Said {
    Bool(bool),
    Whole(i128),
    Real(f64),
    Text(String),
    Texts(Vec<String>),
}

impl Said {
    fn typed(self, kind: Type, seconds: bool) -> Option<Value> {
        const MICRO: i128 = 1_000_000;
        let said = match self {
            Self::Whole(n) if seconds => Self::Whole(n.checked_mul(MICRO)?),
            Self::Real(s) if seconds && (0.0..1e12).contains(&s) => Self::Whole((s * 1e6) as i128),
            other => other,
        };
        Some(match (kind, said) {
            (Type::Bool, Self::Bool(b)) => Value::Bool(b),
            (Type::I32, Self::Whole(n)) => Value::I32(n.try_into().ok()?),
            (Type::U32, Self::Whole(n)) => Value::U32(n.try_into().ok()?),
            (Type::U64, Self::Whole(n)) => Value::U64(n.try_into().ok()?),
            (Type::Text, Self::Text(s)) => Value::Text(s),
            (Type::Texts, Self::Texts(all)) => Value::Texts(all),
            _ => return None,
        })
    }
}

/// The part of GVariant's text form that these properties need: true, false, numbers, quoted strings, lists of
/// strings, each with or without its type before it (`uint64 5`, `@t 5`, `@as []`).
struct Parser<'a>(&'a str);

type Parsed<T> = std::result::Result<T, &'static str>;

impl Parser<'_> {
    /// More than any value needs, so that no text can keep us busy.
    const LONGEST: usize = 4096;

    fn whole(text: &str) -> Parsed<Said> {
        if text.len() > Self::LONGEST {
            return Err("too long");
        }
        let mut p = Parser(text.trim());
        let said = p.value()?;
        if p.0.trim().is_empty() { Ok(said) } else { Err("something follows the value") }
    }

    fn value(&mut self) -> Parsed<Said> {
        self.0 = self.0.trim_start();
        match self.0.chars().next() {
            None => Err("empty"),
            Some('\'' | '"') => self.text().map(Said::Text),
            Some('[') => self.texts().map(Said::Texts),
            Some('@') => {
                let typed = self.0.strip_prefix('@').unwrap_or_default();
                let (kind, rest) = typed.split_once(' ').ok_or("a type without a value")?;
                self.0 = rest;
                self.of_kind(kind)
            }
            Some(_) => self.word(),
        }
    }

    fn word(&mut self) -> Parsed<Said> {
        let end = self.0.find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c));
        let (word, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        let kind = match word {
            "true" => return Ok(Said::Bool(true)),
            "false" => return Ok(Said::Bool(false)),
            "boolean" => "b",
            "byte" => "y",
            "int16" => "n",
            "uint16" => "q",
            "int32" => "i",
            "uint32" => "u",
            "int64" => "x",
            "uint64" => "t",
            "double" => "d",
            "string" => "s",
            _ => return whole_number(word).or_else(|_| real_number(word)),
        };
        self.of_kind(kind)
    }

    /// A value that says its type: it must be of it.
    fn of_kind(&mut self, kind: &str) -> Parsed<Said> {
        let said = self.value()?;
        let range = match kind {
            "y" => 0..=u8::MAX.into(),
            "n" => i16::MIN.into()..=i16::MAX.into(),
            "q" => 0..=u16::MAX.into(),
            "i" => i32::MIN.into()..=i32::MAX.into(),
            "u" => 0..=u32::MAX.into(),
            "x" => i64::MIN.into()..=i64::MAX.into(),
            "t" => 0..=u64::MAX.into(),
            _ => 0..=0,
        };
        match (kind, said) {
            ("b", s @ Said::Bool(_)) | ("s", s @ Said::Text(_)) | ("as", s @ Said::Texts(_)) => Ok(s),
            ("d", Said::Whole(n)) => Ok(Said::Real(n as f64)),
            ("d", s @ Said::Real(_)) => Ok(s),
            ("y" | "n" | "q" | "i" | "u" | "x" | "t", Said::Whole(n)) if range.contains(&n) => {
                Ok(Said::Whole(n))
            }
            _ => Err("the value is not of its type"),
        }
    }

    fn text(&mut self) -> Parsed<String> {
        let mut chars = self.0.chars();
        let quote = chars.next();
        let mut out = String::new();
        while let Some(c) = chars.next() {
            match c {
                c if Some(c) == quote => {
                    self.0 = chars.as_str();
                    return Ok(out);
                }
                '\\' => out.push(match chars.next() {
                    Some(c @ ('\\' | '\'' | '"')) => c,
                    Some('n') => '\n',
                    Some('t') => '\t',
                    _ => return Err("unknown escape"),
                }),
                '\0' => return Err("a NUL"),
                c => out.push(c),
            }
        }
        Err("a quote that does not end")
    }

    fn texts(&mut self) -> Parsed<Vec<String>> {
        let mut all = Vec::new();
        self.0 = self.0.strip_prefix('[').unwrap_or_default().trim_start();
        while !self.0.starts_with(']') {
            if !self.0.starts_with(['\'', '"']) {
                return Err("a list of something else than strings");
            }
            all.push(self.text()?);
            self.0 = self.0.trim_start();
            match self.0.strip_prefix(',') {
                Some(rest) => self.0 = rest.trim_start(),
                None if self.0.starts_with(']') => {}
                None => return Err("a list that does not end"),
            }
        }
        self.0 = self.0.strip_prefix(']').unwrap_or_default();
        Ok(all)
    }
}

fn whole_number(word: &str) -> Parsed<Said> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let (radix, digits) = match digits.strip_prefix("0x") {
        Some(hex) => (16, hex),
        None => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|b| (b as char).is_digit(radix)) {
        return Err("not a value");
    }
    i128::from_str_radix(digits, radix).map(|n| Said::Whole(sign * n)).map_err(|_| "not a value")
}

fn real_number(word: &str) -> Parsed<Said> {
    let plain = word.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    word.parse().ok().filter(|_| plain).map(Said::Real).ok_or("not a value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, text: &str) -> std::result::Result<(String, Value), String> {
        let key = format!("{SYSTEMD_PROPERTY_PREFIX}{name}");
        let all = properties(&BTreeMap::from([(key, text.to_owned()), ("other".into(), "x".into())]));
        all.map(|mut all| all.remove(0)).map(|p| (p.name, p.value)).map_err(|e| e.to_string())
    }

    #[test]
    fn allowed_and_typed() {
        for (name, text, want_name, want) in [
            ("TimeoutStopUSec", "uint64 123456789", "TimeoutStopUSec", Value::U64(123_456_789)),
            ("TimeoutStopSec", "5", "TimeoutStopUSec", Value::U64(5_000_000)),
            ("TimeoutStopSec", "1.5", "TimeoutStopUSec", Value::U64(1_500_000)),
            ("TimeoutStopSec", "@t 2", "TimeoutStopUSec", Value::U64(2_000_000)),
            ("CollectMode", "'inactive-or-failed'", "CollectMode", Value::Text("inactive-or-failed".into())),
            ("Description", r#""it's \"x\"""#, "Description", Value::Text("it's \"x\"".into())),
            ("DefaultDependencies", "true", "DefaultDependencies", Value::Bool(true)),
            ("SendSIGHUP", "boolean false", "SendSIGHUP", Value::Bool(false)),
            ("KillSignal", "int32 9", "KillSignal", Value::I32(9)),
            ("MemoryHigh", "0x10", "MemoryHigh", Value::U64(16)),
            (
                "After",
                "['a.service', \"b.service\"]",
                "After",
                Value::Texts(vec!["a.service".into(), "b.service".into()]),
            ),
            ("After", "@as []", "After", Value::Texts(vec![])),
        ] {
            assert_eq!(one(name, text), Ok((want_name.to_owned(), want)), "{name}={text}");
        }
    }

    #[test]
    fn refused() {
        for name in [
            "ExecStart",
            "ExecStartPre",
            "ExecStop",
            "ExecStopPost",
            "ExecReload",
            "ExecStartPreEx",
            "FailureAction",
            "SuccessAction",
            "JobTimeoutAction",
            "StartLimitAction",
            "Wants",
            "Requires",
            "Conflicts",
            "OnFailure",
            "BindsTo",
            "Slice",
            "PIDs",
            "Delegate",
            "DeviceAllow",
            "DevicePolicy",
            "BPFProgram",
            "execstart",
            "User",
            "Environment",
            "RebootArgument",
            "Controller",
            "xx",
            "a b",
            "Foo\0",
        ] {
            assert!(one(name, "'x'").is_err(), "{name}");
        }
        for text in [
            "",
            " ",
            "'",
            "\"",
            "'a",
            "[",
            "[']",
            "['a'",
            "['a' 'b']",
            "[1]",
            "@",
            "@t",
            "@t ",
            "@ 5",
            "uint64",
            "uint64 -1",
            "uint64 18446744073709551616",
            "byte 256",
            "int32 'x'",
            "-1",
            "5 5",
            "5x",
            "0x",
            "nan",
            "inf",
            "1e400",
            "true",
            "'\\x'",
            "{}",
            "(1)",
            "<5>",
            "--5",
            "++5",
            "é",
            "'é",
            "@té 5",
            "uint64 uint64 uint64",
            "1e5",
            "1.5",
        ] {
            assert!(one("MemoryMax", text).is_err(), "{text:?}");
        }
        assert!(one("TimeoutStopSec", "170141183460469231731687303715884105727").is_err());
        assert!(one("MemoryMax", &"uint64 ".repeat(5000)).is_err());
        assert!(one("Description", &format!("'{}'", "x".repeat(5000))).is_err());
    }
}
