//! One test: its name, its token, its directories; what is done before and after it.

use crate::bundle::Bundle;
use crate::call::{Call, Output};
use crate::ledger::{DIFFERENCES, SKIPS, Skip, missing, note, record};
use crate::time::FORESEEN;
use crate::{leaks, runtime};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Once};

/// `ITEST_WITHOUT=clone3:EPERM`: no call of the runtime is to find that system call. See missing.toml.
static MISSING: LazyLock<Option<(String, String)>> = LazyLock::new(|| {
    let (calls, errno) =
        std::env::var("ITEST_WITHOUT").ok()?.split_once(':').map(|(c, e)| (c.into(), e.into()))?;
    Some((calls, errno))
});

/// What a test works with.
pub struct Case {
    /// Part of every name that the test gives: ids, cgroups, directories.
    pub token: String,
    /// The test's own temporary directory, open to every user.
    pub dir: PathBuf,
    /// The state root that `--root` names.
    pub root: PathBuf,
    counter: Cell<u32>,
    prefix: RefCell<Vec<String>>,
    last_acts: RefCell<Vec<Vec<String>>>,
}

/// Runs a test. Its name is that of the function around the closure.
#[track_caller]
pub fn check<F: FnOnce(&Case)>(body: F) {
    let name = std::any::type_name::<F>().trim_end_matches("::{{closure}}").trim_start_matches("rooms::");
    become_subreaper();
    FORESEEN.set(known_difference(name).is_some());
    let case = Case::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&case)));
    let outcome = case.close(outcome);
    let verdict = catch_unwind(AssertUnwindSafe(|| judge(name, outcome)));
    note(if verdict.is_ok() { "passed" } else { "failed" }, name, "");
    verdict.unwrap_or_else(|error| resume_unwind(error));
}

fn judge(name: &str, outcome: Result<(), Box<dyn Any + Send>>) {
    let skip = outcome.as_ref().err().and_then(|e| e.downcast_ref::<Skip>());
    let any = std::env::var("ORLOP_SKIPS").is_ok_and(|v| v == "any");
    let foreseen = any || SKIPS.contains_key(name);
    if let Some(Skip(reason)) = skip {
        record("skip", name, reason);
        assert!(foreseen, "this skip is not in skips.toml: {reason}");
        return;
    }
    match (outcome, known_difference(name)) {
        (Err(_), Some(why)) => record("diff", name, why),
        (Err(error), None) => resume_unwind(error),
        (Ok(()), Some(why)) if why.starts_with("sometimes: ") => record("diff", name, why),
        (Ok(()), Some(why)) => panic!("passes, although differences.toml says: {why}"),
        (Ok(()), None) => assert!(any || !foreseen, "ran to its end, although skips.toml lists it"),
    }
}

/// Why this test cannot pass with this runtime, or so.
fn known_difference(name: &str) -> Option<&'static String> {
    let without = MISSING.as_ref().and_then(|(calls, errno)| missing(&format!("{calls}:{errno}"), name));
    without.or(DIFFERENCES.get(name).filter(|_| runtime::is_reference()))
}

/// Orphans shall come to us, as they come to conmon and to containerd's shim.
fn become_subreaper() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: changes only who inherits our orphans.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    });
}

impl Case {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Of fixed width, so that no token is the beginning of another.
        let token = format!("it{}n{:04}z", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = PathBuf::from(format!("/tmp/{token}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("a temporary directory");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("its mode");
        let root = dir.join("root");
        Case {
            token,
            dir,
            root,
            counter: Cell::new(0),
            prefix: RefCell::default(),
            last_acts: RefCell::default(),
        }
    }

    fn count(&self) -> u32 {
        self.counter.set(self.counter.get() + 1);
        self.counter.get()
    }

    /// A fresh container id.
    pub fn id(&self) -> String {
        format!("{}-{}", self.token, self.count())
    }

    /// A fresh bundle.
    pub fn bundle(&self) -> Bundle<'_> {
        Bundle::new(self, self.dir.join(format!("bundle-{}", self.count())))
    }

    /// A fresh path in the case's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}-{}", self.count()))
    }

    /// A fresh directory, open to every user.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("a directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        path
    }

    /// A call as clients make it: with our state root and a JSON log.
    pub fn call<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Call {
        let log = self.path("log");
        self.bare(["--root"])
            .args([&self.root])
            .args(["--log"])
            .args([&log])
            .args(["--log-format", "json"])
            .args(args)
            .log(log)
    }

    /// A call with exactly these arguments.
    pub fn bare<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Call {
        let call =
            Call::new(runtime::binary(), &self.path("call")).args(args).under(self.prefix.borrow().iter());
        match &*MISSING {
            Some((calls, errno)) => call.without(calls, errno),
            None => call,
        }
    }

    /// From now on every call of the runtime goes through this other program.
    pub fn call_under(&self, words: &[&str]) {
        *self.prefix.borrow_mut() = words.iter().map(|w| w.to_string()).collect();
    }

    /// And through this one, the innermost.
    pub fn call_under_too(&self, words: &[&str]) {
        self.prefix.borrow_mut().extend(words.iter().map(|w| w.to_string()));
    }

    /// Calls one verb and waits for its end.
    pub fn rt(&self, args: &[&str]) -> Output {
        self.call(args).run()
    }

    /// A call of any other program.
    pub fn program(&self, program: &str, args: &[&str]) -> Output {
        Call::new(program.into(), &self.path("call")).args(args).run()
    }

    /// Asserts that no process, mount, cgroup, state or file with our token is left.
    #[track_caller]
    pub fn nothing_left(&self) {
        let found = leaks::lasting(&self.token, &self.root, &self.dir);
        assert!(found.is_empty(), "left behind: {found:#?}");
    }

    /// A command that undoes something of the test's own, after its containers are gone and before the leak check.
    pub fn at_end(&self, words: &[&str]) {
        self.last_acts.borrow_mut().push(words.iter().map(|w| w.to_string()).collect());
    }

    /// The case's cgroups in every hierarchy.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        leaks::cgroups(&self.token)
    }

    /// Removes the case's cgroups, which must be empty, or about to be.
    #[track_caller]
    pub fn remove_cgroups(&self) {
        crate::until("the removal of the cgroups", || {
            self.cgroups().into_iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
            self.cgroups().is_empty()
        });
    }

    /// Deletes the containers that are left, then looks for leaks and removes them. A test's own failure goes first.
    fn close(&self, outcome: Result<(), Box<dyn Any + Send>>) -> Result<(), Box<dyn Any + Send>> {
        let tidy = catch_unwind(AssertUnwindSafe(|| {
            for state in leaks::states(&self.root) {
                let id = state.file_name().expect("a name").to_string_lossy();
                self.rt(&["delete", "--force", &id]).ok();
            }
            for words in self.last_acts.take().into_iter().rev() {
                Call::new(words[0].clone().into(), &self.path("call")).args(&words[1..]).run();
            }
            self.nothing_left();
        }));
        leaks::sweep(&self.token, &self.dir);
        outcome.and(tidy)
    }
}
