//! Changes of a JSON document that leave it one: what a parser refuses at once teaches nothing about what follows it.

use serde_json::{Map, Value, json};

use crate::bytes::Chance;

/// Texts that mean something somewhere, or are on the edge of it.
const TEXTS: [&str; 44] = [
    "",
    "/",
    "/proc",
    "/dev",
    "/dev/null",
    "/sys/fs/cgroup",
    "..",
    "../..",
    "/proc/self/fd/7",
    "a",
    "a\0b",
    "a\nb",
    "ä",
    "*",
    "-1",
    "0",
    "0-3",
    "0-",
    "4294967295",
    "bind",
    "rbind",
    "tmpfs",
    "proc",
    "cgroup",
    "cgroup2",
    "ro",
    "rro",
    "idmap",
    "ridmap",
    "size=1%",
    "user",
    "pid",
    "network",
    "time",
    "rwm",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_NOTIFY",
    "CAP_SYS_ADMIN",
    "RLIMIT_NOFILE",
    "private",
    "SCHED_DEADLINE",
    "kernel.shmmax",
    "net.ipv4.ip_forward",
    "a.slice:b:c",
];

const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "-1",
    "2",
    "7",
    "511",
    "65536",
    "2147483647",
    "-2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1e400",
    "0.5",
];

/// One or a few changes; none of what is no document.
pub fn mutate(text: &[u8], seed: u64) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(text).ok()?;
    let mut chance = Chance::new(seed);
    for _ in 0..=chance.below(3) {
        let all = count(&value);
        let donor = pick(&mut value, chance.below(all)).clone();
        change(pick(&mut value, chance.below(all)), donor, &mut chance);
    }
    serde_json::to_vec(&value).ok()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(a) => a.iter().map(count).sum(),
        Value::Object(o) => o.values().map(count).sum(),
        _ => 0,
    }
}

/// The n-th value of the document, itself the first.
fn pick(value: &mut Value, n: usize) -> &mut Value {
    let mut left = n;
    fn walk<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
        if *left == 0 {
            return Some(value);
        }
        *left -= 1;
        match value {
            Value::Array(a) => a.iter_mut().find_map(|v| walk(v, left)),
            Value::Object(o) => o.values_mut().find_map(|v| walk(v, left)),
            _ => None,
        }
    }
    walk(value, &mut left).expect("n is below the count")
}

fn change(value: &mut Value, donor: Value, chance: &mut Chance) {
    if let (Value::String(s), 0..3) = (&*value, chance.below(6)) {
        let mut bytes = s.clone().into_bytes();
        chance.mutate(&mut bytes, &TEXTS.map(|t| t.as_bytes().to_vec()));
        *value = String::from_utf8_lossy(&bytes).into_owned().into();
        return;
    }
    match (chance.below(8), value) {
        (0, v) => *v = TEXTS[chance.below(TEXTS.len())].into(),
        (1, v) => *v = number(chance),
        (2, v) => *v = donor,
        (3, v) => *v = Value::Null,
        (4, Value::Array(a)) if !a.is_empty() => {
            let at = chance.below(a.len());
            if chance.below(2) == 0 {
                a.remove(at)
            } else {
                let v = a[at].clone();
                a.push(v);
                Value::Null
            };
        }
        (5, Value::Array(a)) => a.push(donor),
        (4, Value::Object(o)) if !o.is_empty() => {
            let key = key(o, chance);
            o.remove(&key);
        }
        (5, Value::Object(o)) if !o.is_empty() => {
            let key = key(o, chance);
            o.insert(key, donor);
        }
        (6, Value::Object(o)) => {
            o.insert(TEXTS[chance.below(TEXTS.len())].into(), donor);
        }
        (7, v) => *v = json!([]),
        (_, Value::Number(n)) => {
            if let Some(i) = n.as_i64() {
                *n = i.wrapping_add(chance.below(5) as i64 - 2).into();
            }
        }
        (_, v) => *v = number(chance),
    }
}

fn key(o: &Map<String, Value>, chance: &mut Chance) -> String {
    o.keys().nth(chance.below(o.len())).cloned().unwrap_or_default()
}

fn number(chance: &mut Chance) -> Value {
    serde_json::from_str(NUMBERS[chance.below(NUMBERS.len())]).unwrap_or(Value::Null)
}
