//! Quantities as Go's libraries write them, which runc's flags take: sizes (`512m`, `1.5GiB`) and durations (`1m30s`).

use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// Bytes: go-units' RAMInBytes. A number, perhaps with a fraction, and a unit of 1024: `k` to `p`, with `b` or `iB`.
pub fn size(text: &str) -> Result<i64> {
    let bad = |what: &str| Error::new(Kind::Usage, format!("invalid {what}: '{text}'"));
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(|| bad("size"))?;
    let (number, unit) = text.split_at(end + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    // Not `inf` or `1e5`, which Rust reads too.
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(bad("size"));
    }
    let number: f64 = number.parse().map_err(|_| bad("size"))?;
    let unit = unit.to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(bad("suffix")),
    };
    let bytes = number * 1024f64.powi(power);
    if bytes >= i64::MAX as f64 { Err(bad("size")) } else { Ok(bytes as i64) }
}

/// Go's time.ParseDuration: one or more numbers with a unit each, such as `300ms`, `1.5h`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration> {
    let bad = || {
        Error::new(Kind::Usage, format!("invalid duration {text:?}")).hint("for example 500ms, 5s or 1m30s")
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(bad());
    }
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        nanos += number
            * match unit {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(bad()),
            };
        rest = after;
    }
    if nanos >= i64::MAX as f64 { Err(bad()) } else { Ok(Duration::from_nanos(nanos as u64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docker/go-units size_test.go.
    #[test]
    fn sizes() {
        for (text, want) in [
            ("32", Some(32)),
            ("32b", Some(32)),
            ("32B", Some(32)),
            ("32k", Some(32 << 10)),
            ("32Kb", Some(32 << 10)),
            ("32KiB", Some(32 << 10)),
            ("32 k", Some(32 << 10)),
            ("1.5m", Some(3 << 19)),
            ("64M", Some(64 << 20)),
            ("2gb", Some(2 << 30)),
            ("3T", Some(3 << 40)),
            ("1p", Some(1 << 50)),
            ("0", Some(0)),
            ("", None),
            ("hello", None),
            ("-32", None),
            ("32ib", None),
            ("32mm", None),
            ("32 mib b", None),
            ("32bb", None),
            ("1e5", None),
            (".", None),
            ("99999p", None),
            ("k32", None),
        ] {
            assert_eq!(size(text).ok(), want, "{text:?}");
        }
    }

    /// Go's time/time_test.go.
    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", Some(0)),
            ("5s", Some(5000)),
            ("+5s", Some(5000)),
            ("1478s", Some(1_478_000)),
            ("5.6s", Some(5600)),
            (".5s", Some(500)),
            ("5.s", Some(5000)),
            ("300ms", Some(300)),
            ("1m30s", Some(90_000)),
            ("1h1m1s", Some(3_661_000)),
            ("12000us", Some(12)),
            ("12000µs", Some(12)),
            ("", None),
            ("3", None),
            ("-5s", None),
            ("s", None),
            (".", None),
            ("5.5.5s", None),
            ("5x", None),
            ("+", None),
        ] {
            assert_eq!(duration(text).ok().map(|d| d.as_millis()), millis, "{text:?}");
        }
    }
}
