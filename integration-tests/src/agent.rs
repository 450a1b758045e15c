//! A seccomp agent: takes the listeners of filters that notify, and answers for the calls that they catch.

use crate::terminal::receive_descriptor;
use serde_json::Value;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the caller of a caught call shall see.
#[derive(Clone, Copy)]
pub enum Reply {
    Value(i64),
    Errno(i32),
    /// As if it had not been caught.
    Continue,
}

/// Serves in a thread of its own until it is dropped.
pub struct Agent {
    pub path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    states: Mutex<Vec<Value>>,
    calls: Mutex<Vec<i64>>,
}

impl Agent {
    /// Listens at `path`, takes connections after `delay`, and answers by the call's number.
    pub fn serve(path: &Path, delay: Duration, policy: impl Fn(i64) -> Reply + Send + 'static) -> Agent {
        let listener = UnixListener::bind(path).expect("a socket");
        listener.set_nonblocking(true).expect("nonblocking");
        let shared = Arc::new(Shared::default());
        let ours = shared.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(delay);
            ours.work(&listener, &policy);
        });
        Agent { path: path.to_path_buf(), shared, thread: Some(thread) }
    }

    /// What came along with each of so many listeners, in the order of their coming.
    pub fn told(&self, count: usize) -> Vec<Value> {
        let states = || self.shared.states.lock().expect("no panic while locked").clone();
        crate::until("the agent is told", || states().len() >= count);
        assert_eq!(states().len(), count);
        states()
    }

    /// The numbers of the calls that were caught.
    pub fn calls(&self) -> Vec<i64> {
        self.shared.calls.lock().expect("no panic while locked").clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(outcome.is_ok() || std::thread::panicking(), "the agent has panicked");
        }
    }
}

impl Shared {
    fn work(&self, socket: &UnixListener, policy: &dyn Fn(i64) -> Reply) {
        let mut listeners: Vec<OwnedFd> = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            if let Ok((stream, _)) = socket.accept() {
                stream.set_nonblocking(false).expect("blocking");
                let (fd, text) = receive_descriptor(&stream);
                let state = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
                self.states.lock().expect("no panic while locked").push(state);
                listeners.push(fd);
            }
            listeners.retain(|fd| self.answer(fd, policy));
            let all = std::iter::once(socket.as_raw_fd()).chain(listeners.iter().map(AsRawFd::as_raw_fd));
            let mut all: Vec<_> =
                all.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
            // SAFETY: as many pollfds as it says. For a moment only, to see that it is over.
            unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, 5) };
        }
    }

    /// All that wait. False when the last filtered process is gone.
    fn answer(&self, listener: &OwnedFd, policy: &dyn Fn(i64) -> Reply) -> bool {
        loop {
            let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd.
            if unsafe { libc::poll(&raw mut poll, 1, 0) } <= 0 {
                return true;
            }
            if poll.revents & libc::POLLIN == 0 {
                return false;
            }
            // SAFETY: all zeroes is what the kernel wants to find.
            let mut caught: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: one seccomp_notif is written.
            if unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut caught) } != 0 {
                // Its caller was killed meanwhile.
                continue;
            }
            let number = i64::from(caught.data.nr);
            self.calls.lock().expect("no panic while locked").push(number);
            let (val, error, flags) = match policy(number) {
                Reply::Value(value) => (value, 0, 0),
                Reply::Errno(errno) => (0, -errno, 0),
                Reply::Continue => (0, 0, 1),
            };
            let answer = libc::seccomp_notif_resp { id: caught.id, val, error, flags };
            // SAFETY: one seccomp_notif_resp is read.
            unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) };
        }
    }
}

/// SECCOMP_IOCTL_NOTIF_RECV and _SEND; linux/seccomp.h.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
