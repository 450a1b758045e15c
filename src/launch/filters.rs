//! Compiled filters, kept below the state root for the next container with the same profile.
//!
//! A file holds the whole of what its program was made from, and is believed only if that is what is asked for, to the
//! last byte: a name is a hash that might be another's, too. It must be a file of ours that nobody else could write, in
//! a directory of ours that nobody else can enter, and a program by its structure. What is not is passed over, and
//! replaced. That costs less than a compilation, and nothing where no filter is asked for.

use std::hash::{DefaultHasher, Hasher};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use oci_spec::runtime::LinuxSeccomp;

use crate::plan::seccomp;
use crate::sys::fs::{self, OFlag, Resolve};
use crate::sys::{Errno, Result, cred};

/// In the state root, where it cannot be a container's: no id has this letter.
pub const DIR: &str = "@filters";
/// More are not kept; then the oldest go.
const MOST: usize = 64;
const LEFT: usize = 48;
/// Profiles that take longer to read than to compile, if there are any, are not kept.
const LARGEST: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"orlopbpf";
/// Magic, two lengths, a checksum.
const HEAD: usize = 8 + 4 + 4 + 8;

/// What a program depends on: the compiler, the numbers that it knows, the profile without who listens.
pub fn key(profile: &LinuxSeccomp) -> Vec<u8> {
    let mut key = format!(
        "orlop {} {} {} libseccomp {}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("ORLOP_COMMIT").unwrap_or_default(),
        std::env::consts::ARCH,
        seccomp::version(),
    )
    .into_bytes();
    let (action, errno) = (profile.default_action(), profile.default_errno_ret());
    let rules = (action, errno, profile.architectures(), profile.syscalls());
    // A key that says less is nobody's.
    match serde_json::to_writer(&mut key, &rules) {
        Ok(()) if key.len() <= LARGEST => key,
        _ => Vec::new(),
    }
}

/// The program that was kept for the key. `None`: there is none, or none that can be trusted.
pub fn find(root: impl AsFd, key: &[u8]) -> Option<Vec<u8>> {
    if key.is_empty() {
        return None;
    }
    let dir = open_dir(root).ok()?;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = fs::openat2(&dir, name(key), flags, 0, Resolve::BENEATH).ok()?;
    let stat = fs::fstat(&file).ok()?;
    let size = usize::try_from(stat.size).ok()?;
    if !stat.is_file() || !is_ours(&stat) || stat.has_other_names || size > HEAD + LARGEST + (64 << 10) {
        return None;
    }
    let bytes = fs::read_all(&file, size).ok()?;
    parse(&bytes, key).map(<[u8]>::to_vec)
}

/// Keeps it. Whatever fails of this costs the next container a compilation.
pub fn keep(root: impl AsFd, key: &[u8], program: &[u8]) -> Result<()> {
    if key.is_empty() {
        return Ok(());
    }
    let root = root.as_fd();
    let dir = match open_dir(root) {
        Err(Errno::ENOENT) => {
            match fs::mkdirat(root, DIR, 0o700) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e),
            }
            open_dir(root)?
        }
        r => r?,
    };
    make_room(&dir)?;
    fs::replace_file_at(&dir, &name(key), &bytes(key, program), 0o600)
}

/// It must be ours alone; EPERM if it is not.
fn open_dir(root: impl AsFd) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let dir = fs::openat(root, DIR, flags, 0)?;
    if is_ours(&fs::fstat(&dir)?) { Ok(dir) } else { Err(Errno::EPERM) }
}

fn is_ours(stat: &fs::Stat) -> bool {
    stat.uid == cred::geteuid() && stat.mode & 0o077 == 0
}

/// Removes the oldest when there are many, also what a killed process left behind.
fn make_room(dir: &OwnedFd) -> Result<()> {
    let names = fs::list_at(dir, ".")?;
    if names.len() < MOST {
        return Ok(());
    }
    let mut aged: Vec<_> = names
        .into_iter()
        .map(|name| (fs::lstatat(dir, &name).map_or(Duration::ZERO, |s| s.modified), name))
        .collect();
    aged.sort();
    for (_, name) in aged.iter().take(aged.len().saturating_sub(LEFT)) {
        match fs::unlinkat(dir, name) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn name(key: &[u8]) -> String {
    format!("{:016x}", hash(&[key]))
}

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.iter().for_each(|p| hasher.write(p));
    hasher.finish()
}

pub fn bytes(key: &[u8], program: &[u8]) -> Vec<u8> {
    // What is too long for its length is not whole when it is read.
    let length = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX).to_ne_bytes();
    let sum = hash(&[key, program]).to_ne_bytes();
    [MAGIC.as_slice(), &length(key), &length(program), &sum, key, program].concat()
}

/// The program of a file, if it is whole, made from this key, and a program.
pub fn parse<'a>(bytes: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (key_length, rest) = rest.split_first_chunk::<4>()?;
    let (program_length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let (its_key, program) = rest.split_at_checked(u32::from_ne_bytes(*key_length) as usize)?;
    let whole = program.len() == u32::from_ne_bytes(*program_length) as usize
        && u64::from_ne_bytes(*sum) == hash(&[its_key, program]);
    (whole && its_key == key && seccomp::is_program(program)).then_some(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::AT_FDCWD;

    fn profile(errno: u32) -> LinuxSeccomp {
        serde_json::from_value(serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}]}))
        .unwrap()
    }

    /// A directory of the test's own.
    struct Root(String, OwnedFd);

    impl Root {
        fn new(name: &str) -> Self {
            let path = format!("/tmp/orlop-filters-{name}-{}", std::process::id());
            fs::mkdirat(AT_FDCWD, &path, 0o700).unwrap();
            let dir = fs::open_dir(&path).unwrap();
            Self(path, dir)
        }

        fn files(&self) -> Vec<String> {
            let names = fs::list_at(&self.1, DIR).unwrap();
            names.into_iter().map(|n| n.to_string_lossy().into_owned()).collect()
        }

        fn path(&self, name: &str) -> String {
            format!("{}/{DIR}/{name}", self.0)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            for name in fs::list_at(&self.1, DIR).unwrap_or_default() {
                let _ = fs::unlinkat(fs::open_dir(format!("{}/{DIR}", self.0)).unwrap(), name);
            }
            let _ = fs::rmdirat(&self.1, DIR);
            let _ = fs::rmdirat(AT_FDCWD, &self.0);
        }
    }

    fn put(path: &str, bytes: &[u8]) {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        fs::write_all(fs::openat(AT_FDCWD, path, flags, 0o600).unwrap(), bytes).unwrap();
    }

    fn compiled(profile: &LinuxSeccomp) -> Vec<u8> {
        seccomp::compile(profile).unwrap().program
    }

    #[test]
    fn what_is_kept_is_found_and_nothing_else() {
        let root = Root::new("kept");
        let (one, two) = (profile(1), profile(2));
        assert_eq!(find(&root.1, &key(&one)), None);
        keep(&root.1, &key(&one), &compiled(&one)).unwrap();
        assert_eq!(find(&root.1, &key(&one)), Some(compiled(&one)));
        assert_eq!(find(&root.1, &key(&two)), None);
        keep(&root.1, &key(&two), &compiled(&two)).unwrap();
        keep(&root.1, &key(&two), &compiled(&two)).unwrap();
        assert_eq!(root.files().len(), 2);
        assert_ne!(compiled(&one), compiled(&two));
        // Another's file under its name.
        fs::renameat(
            &root.1,
            format!("{DIR}/{}", name(&key(&two))),
            &root.1,
            format!("{DIR}/{}", name(&key(&one))),
        )
        .unwrap();
        assert_eq!(find(&root.1, &key(&one)), None);
        keep(&root.1, &key(&one), &compiled(&one)).unwrap();
        assert_eq!(find(&root.1, &key(&one)), Some(compiled(&one)));
    }

    #[test]
    fn a_damaged_file_is_passed_over_and_replaced() {
        let root = Root::new("damaged");
        let p = profile(1);
        let (key, program) = (key(&p), compiled(&p));
        keep(&root.1, &key, &program).unwrap();
        let path = root.path(&name(&key));
        let good = bytes(&key, &program);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            put(&path, &bad);
            assert_eq!(find(&root.1, &key), None, "byte {at}");
        }
        for end in [0, 1, HEAD - 1, HEAD, good.len() - 8, good.len() - 1] {
            put(&path, &good[..end]);
            assert_eq!(find(&root.1, &key), None, "{end} bytes");
        }
        put(&path, &[good.clone(), vec![0]].concat());
        assert_eq!(find(&root.1, &key), None);
        // Whole, but no program: a jump behind its end, an opcode that we never write, none at all.
        let end = [6, 0, 0, 0, 0, 0, 0xff, 0x7f];
        for code in
            [&[5, 0, 0, 0, 1, 0, 0, 0][..], &[0x0c, 0, 0, 0, 0, 0, 0, 0], &[0x20, 0, 0, 0, 64, 0, 0, 0]]
        {
            put(&path, &bytes(&key, &[code, &end].concat()));
            assert_eq!(find(&root.1, &key), None, "{code:?}");
        }
        put(&path, &bytes(&key, &[]));
        assert_eq!(find(&root.1, &key), None);
        put(&path, &bytes(&key, &end));
        assert_eq!(find(&root.1, &key).as_deref(), Some(&end[..]));
        keep(&root.1, &key, &program).unwrap();
        assert_eq!(find(&root.1, &key), Some(program));
    }

    #[test]
    fn what_others_could_have_written_is_not_believed() {
        let root = Root::new("foreign");
        let p = profile(1);
        let (key, program) = (key(&p), compiled(&p));
        keep(&root.1, &key, &program).unwrap();
        let path = root.path(&name(&key));
        let file = || fs::open(&path, OFlag::O_RDONLY).unwrap();
        let dir = || fs::open(root.path("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY).unwrap();
        assert!(find(&root.1, &key).is_some());
        for mode in [0o620, 0o602, 0o640, 0o604] {
            fs::fchmod(file(), mode).unwrap();
            assert_eq!(find(&root.1, &key), None, "{mode:o}");
        }
        fs::fchmod(file(), 0o600).unwrap();
        for mode in [0o770, 0o701, 0o750] {
            fs::fchmod(dir(), mode).unwrap();
            assert_eq!(find(&root.1, &key), None, "{mode:o}");
            assert_eq!(keep(&root.1, &key, &program), Err(Errno::EPERM));
        }
        fs::fchmod(dir(), 0o700).unwrap();
        if cred::geteuid() == 0 {
            fs::chown_fd(file(), Some(1), None).unwrap();
            assert_eq!(find(&root.1, &key), None);
            fs::chown_fd(file(), Some(0), None).unwrap();
            fs::chown_fd(dir(), Some(1), None).unwrap();
            assert_eq!(find(&root.1, &key), None);
            fs::chown_fd(dir(), Some(0), None).unwrap();
        }
        assert!(find(&root.1, &key).is_some());
        // A link to a good one.
        fs::renameat(AT_FDCWD, &path, AT_FDCWD, root.path("aside")).unwrap();
        fs::symlinkat("aside", dir(), name(&key)).unwrap();
        assert_eq!(find(&root.1, &key), None);
        keep(&root.1, &key, &program).unwrap();
        assert!(find(&root.1, &key).is_some());
    }

    #[test]
    fn there_are_never_many() {
        let root = Root::new("many");
        for errno in 0..200 {
            let p = profile(errno);
            keep(&root.1, &key(&p), &compiled(&p)).unwrap();
            assert!(root.files().len() <= MOST);
        }
        assert!(root.files().len() >= LEFT);
        assert!(find(&root.1, &key(&profile(199))).is_some(), "the newest stays");
    }

    #[test]
    fn many_at_once() {
        let root = Root::new("race");
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    for round in 0..100 {
                        let p = profile(round % 3);
                        // Threads have one pid, so they disturb each other where processes would not.
                        let _ = keep(&root.1, &key(&p), &compiled(&p));
                        if let Some(found) = find(&root.1, &key(&p)) {
                            assert_eq!(found, compiled(&p));
                        }
                    }
                });
            }
        });
    }

    /// `cargo test --release --lib launch::filters -- --ignored --nocapture`
    #[test]
    #[ignore = "prints times"]
    fn times() {
        let root = Root::new("times");
        let p: LinuxSeccomp =
            serde_json::from_str(include_str!("../plan/seccomp/podman-seccomp-amd64.json")).unwrap();
        keep(&root.1, &key(&p), &compiled(&p)).unwrap();
        let median = |f: &dyn Fn()| {
            let mut t: Vec<_> = (0..200)
                .map(|_| {
                    let start = std::time::Instant::now();
                    f();
                    start.elapsed()
                })
                .collect();
            t.sort();
            t[100]
        };
        println!("compile {:?}", median(&|| drop(std::hint::black_box(compiled(&p)))));
        println!("key {:?}", median(&|| drop(std::hint::black_box(key(&p)))));
        println!(
            "key and find {:?}",
            median(&|| drop(std::hint::black_box(find(&root.1, &key(&p)).unwrap())))
        );
    }
}
