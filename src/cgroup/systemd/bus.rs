//! A connection to systemd over D-Bus: calls, and the end of a job.
//!
//! `rustbus` makes and reads the messages. Its own connection is not used: it waits without a deadline while it
//! authenticates, and for ever when the other side hangs up meanwhile; both happen on a busy machine.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustbus::message_builder::{MarshalledMessage, MessageBuilder, MessageType};
use rustbus::params::{Array, Base, Container, Param};
use rustbus::signature::Type;
use rustbus::wire::errors::UnmarshalError;
use rustbus::wire::{marshal, unmarshal};

use super::property::{Property, Value};
use crate::error::{Error, Kind, Result};
use crate::sys::process::Deadline;
use crate::sys::{Errno, cred, fs, socket};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const DBUS: &str = "org.freedesktop.DBus";
/// D-Bus's own limit of a message.
const LARGEST: usize = 128 << 20;

type Args = Vec<Param<'static, 'static>>;

pub struct Bus {
    stream: UnixStream,
    serial: u32,
    received: Vec<u8>,
    /// Through a bus, or straight to systemd?
    is_direct: bool,
    /// What became of jobs that ended while we waited for something else.
    ended: HashMap<String, String>,
    /// The other side has hung up.
    is_gone: bool,
}

/// What the other side answers: the error's name beside ours.
pub struct Refusal {
    pub name: String,
    pub error: Error,
}

/// Our own name for a connection that has ended.
const GONE: &str = "gone";

impl Refusal {
    /// Nobody has refused anything: systemd executes itself anew, or the bus's daemon is overloaded. What was asked for
    /// may have been done all the same.
    pub fn is_passing(&self) -> bool {
        const PASSING: [&str; 6] =
            ["Disconnected", "LimitsExceeded", "NameHasNoOwner", "NoReply", "ServiceUnknown", "TimedOut"];
        let Some(name) = self.name.strip_prefix("org.freedesktop.DBus.Error.") else {
            return self.name == GONE;
        };
        // Without its owner on the bus, the name is for a program that only fails.
        PASSING.contains(&name) || name.starts_with("Spawn.")
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { name: String::new(), error }
    }
}

impl Bus {
    /// The system's bus or the user's; systemd's own socket where there is no bus.
    pub fn connect(user: bool, deadline: Deadline) -> std::result::Result<Self, Refusal> {
        let (bus, private) = if user { user_sockets() } else { system_sockets() };
        let mut first: Option<Refusal> = None;
        for (path, is_direct) in bus.into_iter().map(|p| (p, false)).chain(private.map(|p| (p, true))) {
            match Self::open(&path, is_direct, deadline) {
                Ok(bus) => return Ok(bus),
                Err(r) => first.get_or_insert(r),
            };
        }
        let r = first.unwrap_or_else(|| {
            Error::new(Kind::Host, "no D-Bus socket of the user's systemd is known").into()
        });
        let hint = match user {
            false => "systemd is not running here, use --cgroup-manager cgroupfs",
            true => {
                "no systemd of this user can be reached: log in with a session (loginctl enable-linger) and set XDG_RUNTIME_DIR or DBUS_SESSION_BUS_ADDRESS, or use --cgroup-manager cgroupfs"
            }
        };
        Err(Refusal { error: r.error.within("unable to connect to systemd").hint(hint), ..r })
    }

    fn open(path: &Path, is_direct: bool, deadline: Deadline) -> std::result::Result<Self, Refusal> {
        let failed = |errno| Error::sys("connect to", path.display().to_string(), errno);
        let left = left(deadline).ok_or_else(|| failed(Errno::ETIMEDOUT))?;
        let stream = socket::connect_stream_within(path, left).map_err(|e| match e {
            // Its queue of connections was full all the time.
            Errno::EAGAIN => failed(Errno::ETIMEDOUT),
            e => failed(e),
        })?;
        let mut bus = Self {
            stream: stream.into(),
            serial: 0,
            received: Vec::new(),
            is_direct,
            ended: HashMap::new(),
            is_gone: false,
        };
        bus.authenticate(deadline).map_err(|e| bus.refused(e))?;
        if !is_direct {
            bus.call_bus("Hello", Vec::new(), deadline)?;
            let rule = format!("type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'");
            bus.call_bus("AddMatch", vec![text(&rule)], deadline)?;
        }
        Ok(bus)
    }

    /// Our own error, and whether the other side is still there.
    fn refused(&self, error: Error) -> Refusal {
        Refusal { name: if self.is_gone { GONE.into() } else { String::new() }, error }
    }

    /// EXTERNAL, without saying who we are: the kernel says it, also of a user namespace whose ids mean others there.
    ///
    /// With BEGIN before the answer, as libsystemd has it: sent after it, BEGIN and the first message can be read at once
    /// by systemd's own socket, which then waits for more before it looks at the message.
    fn authenticate(&mut self, deadline: Deadline) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", deadline)?;
        loop {
            let line = self.line(deadline)?;
            match line.split(' ').next() {
                Some("DATA") => {}
                Some("OK") => return Ok(()),
                _ => {
                    let text = format!("authentication at D-Bus failed: {line:?}");
                    return Err(Error::new(Kind::Denied, text));
                }
            }
        }
    }

    fn line(&mut self, deadline: Deadline) -> Result<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.received[..end]).into_owned();
                self.received.drain(..end + 2);
                return Ok(line);
            }
            if self.received.len() > 4096 {
                return Err(Error::new(Kind::Host, "authentication at D-Bus: a line without an end"));
            }
            self.receive(deadline)?;
        }
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Deadline) -> Result<()> {
        while !bytes.is_empty() {
            let left = left(deadline).ok_or_else(late)?;
            let sent = self.stream.set_write_timeout(Some(left)).and_then(|()| self.stream.write(bytes));
            match sent {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if is_again(&e) => {}
                Err(e) => {
                    self.is_gone = true;
                    return Err(Error::new(Kind::Host, format!("send to D-Bus: {e}")));
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, deadline: Deadline) -> Result<()> {
        let mut buf = [0; 16 << 10];
        loop {
            let left = left(deadline).ok_or_else(late)?;
            match self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut buf)) {
                Ok(0) => {
                    self.is_gone = true;
                    return Err(Error::new(Kind::Host, "D-Bus closed the connection"));
                }
                Ok(n) => {
                    self.received.extend_from_slice(&buf[..n]);
                    return Ok(());
                }
                Err(e) if is_again(&e) => {}
                Err(e) => {
                    self.is_gone = true;
                    return Err(Error::new(Kind::Host, format!("receive from D-Bus: {e}")));
                }
            }
        }
    }

    /// The next message, whole.
    fn message(&mut self, deadline: Deadline) -> Result<MarshalledMessage> {
        loop {
            match parse(&self.received) {
                Ok((used, message)) => {
                    self.received.drain(..used);
                    return Ok(message);
                }
                Err(UnmarshalError::NotEnoughBytes | UnmarshalError::NotEnoughBytesForCollection)
                    if self.received.len() < LARGEST => {}
                Err(e) => return Err(Error::new(Kind::Host, format!("malformed message from D-Bus: {e}"))),
            }
            self.receive(deadline)?;
        }
    }

    fn call_bus(&mut self, method: &str, args: Args, deadline: Deadline) -> std::result::Result<(), Refusal> {
        let call =
            MessageBuilder::new().call(method).on("/org/freedesktop/DBus").with_interface(DBUS).at(DBUS);
        self.call(call.build(), method, args, deadline).map(drop)
    }

    /// A method of systemd's manager.
    pub fn manager(
        &mut self,
        method: &str,
        args: Args,
        deadline: Deadline,
    ) -> std::result::Result<Args, Refusal> {
        self.systemd(MANAGER, method, args, deadline)
    }

    fn systemd(
        &mut self,
        interface: &str,
        method: &str,
        args: Args,
        deadline: Deadline,
    ) -> std::result::Result<Args, Refusal> {
        let call = MessageBuilder::new().call(method).on(OBJECT).with_interface(interface).at(SYSTEMD);
        let mut call = call.build();
        if self.is_direct {
            call.dynheader.destination = None;
        }
        self.call(call, method, args, deadline)
    }

    /// A property of the manager, when it is text.
    pub fn manager_property(
        &mut self,
        name: &str,
        deadline: Deadline,
    ) -> std::result::Result<String, Refusal> {
        let args = vec![text(MANAGER), text(name)];
        let answer = self.systemd("org.freedesktop.DBus.Properties", "Get", args, deadline)?;
        match answer.into_iter().next() {
            Some(Param::Container(Container::Variant(v))) => match v.value {
                Param::Base(Base::String(s)) => Ok(s),
                _ => Err(unexpected(name).into()),
            },
            _ => Err(unexpected(name).into()),
        }
    }

    fn call(
        &mut self,
        mut call: MarshalledMessage,
        method: &str,
        args: Args,
        deadline: Deadline,
    ) -> std::result::Result<Args, Refusal> {
        self.serial += 1;
        let serial = self.serial;
        let bad = |e: &dyn std::fmt::Display| Error::bug(format!("D-Bus message {method}: {e}"));
        call.body.push_old_params(&args).map_err(|e| bad(&e))?;
        let mut bytes = Vec::new();
        marshal::marshal(&call, serial, &mut bytes).map_err(|e| bad(&e))?;
        bytes.extend_from_slice(call.get_buf());
        let context = |e: Error| e.within(format!("call systemd's {method}"));
        self.send(&bytes, deadline).map_err(|e| self.refused(context(e)))?;
        loop {
            let m = self.message(deadline).map_err(|e| self.refused(context(e)))?;
            if m.dynheader.response_serial != Some(serial) {
                self.note(m);
                continue;
            }
            let name = m.dynheader.error_name.clone();
            let is_error = m.typ == MessageType::Error;
            let said = m.unmarshall_all().map_err(|e| context(unexpected(&e.to_string())))?.params;
            return if is_error { Err(refusal(method, name, &said)) } else { Ok(said) };
        }
    }

    /// Keeps what a JobRemoved says; other signals are not for us.
    fn note(&mut self, m: MarshalledMessage) {
        if m.typ != MessageType::Signal || m.dynheader.member.as_deref() != Some("JobRemoved") {
            return;
        }
        let Ok(m) = m.unmarshall_all() else { return };
        if let [_, Param::Base(Base::ObjectPath(job)), _, Param::Base(Base::String(result))] = &m.params[..] {
            self.ended.insert(job.clone(), result.clone());
        }
    }

    /// Waits for the end of a job: `done`, or why not. `None`: it ended, and nobody told us how, because systemd executed
    /// itself anew meanwhile.
    pub fn wait_for_job(
        &mut self,
        job: &str,
        deadline: Deadline,
    ) -> std::result::Result<Option<String>, Refusal> {
        /// Mostly a job has ended long before.
        const ASK: Duration = Duration::from_secs(1);
        let soon = || Deadline::after(deadline.left().map_or(ASK, |left| left.min(ASK)));
        let mut pause = soon();
        loop {
            if let Some(result) = self.ended.remove(job) {
                return Ok(Some(result));
            }
            match self.message(pause) {
                // Others' jobs end too.
                Ok(m) => self.note(m),
                Err(e) if e.kind() != Kind::Timeout || deadline.passed() => return Err(self.refused(e)),
                Err(_) if !self.knows_job(job, deadline)? => return Ok(self.ended.remove(job)),
                Err(_) => pause = soon(),
            }
        }
    }

    /// What is told of a job's end comes before this answer.
    fn knows_job(&mut self, job: &str, deadline: Deadline) -> std::result::Result<bool, Refusal> {
        let id = job.rsplit('/').next().and_then(|id| id.parse().ok()).ok_or_else(|| unexpected(job))?;
        match self.manager("GetJob", vec![Param::Base(Base::Uint32(id))], deadline) {
            Ok(_) => Ok(true),
            Err(r) if r.name == "org.freedesktop.systemd1.NoSuchJob" => Ok(false),
            Err(r) => Err(r),
        }
    }
}

/// A whole message at the start of `bytes`, and its length.
fn parse(bytes: &[u8]) -> std::result::Result<(usize, MarshalledMessage), UnmarshalError> {
    let (a, header) = unmarshal::unmarshal_header(bytes, 0)?;
    let (b, fields) = unmarshal::unmarshal_dynamic_header(&header, bytes, a)?;
    let (c, message) = unmarshal::unmarshal_next_message(&header, fields, bytes, a + b)?;
    Ok((a + b + c, message))
}

fn left(deadline: Deadline) -> Option<Duration> {
    deadline
        .left()
        .unwrap_or(Duration::from_secs(30))
        .checked_sub(Duration::from_millis(1))
        .filter(|d| !d.is_zero())
}

fn late() -> Error {
    Error::new(Kind::Timeout, "systemd did not answer in time")
        .hint("systemd or the D-Bus daemon hangs or is overloaded: see systemctl status, journalctl -u dbus")
}

fn is_again(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(e.kind(), Interrupted | TimedOut | WouldBlock)
}

fn unexpected(what: &str) -> Error {
    Error::new(Kind::Host, format!("systemd's answer is not understood: {what}"))
}

fn refusal(method: &str, name: Option<String>, said: &[Param<'_, '_>]) -> Refusal {
    let text = match said.first() {
        Some(Param::Base(Base::String(s))) => s.clone(),
        _ => String::new(),
    };
    let name = name.unwrap_or_default();
    let kind = match name.as_str() {
        "org.freedesktop.DBus.Error.AccessDenied" => Kind::Denied,
        "org.freedesktop.systemd1.UnitExists" => Kind::Exists,
        "org.freedesktop.systemd1.NoSuchUnit" => Kind::NotFound,
        _ => Kind::Host,
    };
    let error = Error::new(kind, format!("systemd refused {method}: {text} ({name})"));
    Refusal { name, error }
}

/// The path of a job that a call has started.
pub fn job(answer: &[Param<'_, '_>]) -> Result<String> {
    match answer {
        [Param::Base(Base::ObjectPath(job))] => Ok(job.clone()),
        _ => Err(unexpected("a job was expected")),
    }
}

pub fn text(s: &str) -> Param<'static, 'static> {
    Param::Base(Base::String(s.to_owned()))
}

fn array(element: Type, values: Vec<Param<'static, 'static>>) -> Param<'static, 'static> {
    Param::Container(Container::Array(Array { element_sig: element, values }))
}

fn parsed(signature: &str) -> Result<Type> {
    let first = Type::parse_description(signature).ok().and_then(|all| all.into_iter().next());
    first.ok_or_else(|| Error::bug(format!("signature {signature}")))
}

fn value(v: &Value) -> Result<Param<'static, 'static>> {
    let base = |b| Param::Base(b);
    Ok(match v {
        Value::Bool(b) => base(Base::Boolean(*b)),
        Value::I32(n) => base(Base::Int32(*n)),
        Value::U32(n) => base(Base::Uint32(*n)),
        Value::U64(n) => base(Base::Uint64(*n)),
        Value::Text(s) => text(s),
        Value::Texts(all) => array(parsed("s")?, all.iter().map(|s| text(s)).collect()),
        Value::Bytes(all) => array(parsed("y")?, all.iter().map(|b| base(Base::Byte(*b))).collect()),
        Value::Pids(all) => pids(all)?,
        Value::Pairs(all) => {
            let pair =
                |(a, b): &(String, String)| Param::Container(Container::Struct(vec![text(a), text(b)]));
            array(parsed("(ss)")?, all.iter().map(pair).collect())
        }
    })
}

/// `au`.
pub fn pids(all: &[u32]) -> Result<Param<'static, 'static>> {
    Ok(array(parsed("u")?, all.iter().map(|n| Param::Base(Base::Uint32(*n))).collect()))
}

/// `a(sv)`.
pub fn properties(all: &[Property]) -> Result<Param<'static, 'static>> {
    let one = |p: &Property| {
        let variant = Container::make_variant(value(&p.value)?);
        Ok(Param::Container(Container::Struct(vec![text(&p.name), Param::Container(variant)])))
    };
    Ok(array(parsed("(sv)")?, all.iter().map(one).collect::<Result<_>>()?))
}

/// `a(sa(sv))`, always empty: other units to be made beside.
pub fn no_more_units() -> Result<Param<'static, 'static>> {
    Ok(array(parsed("(sa(sv))")?, Vec::new()))
}

pub fn flag(b: bool) -> Param<'static, 'static> {
    Param::Base(Base::Boolean(b))
}

fn system_sockets() -> (Vec<PathBuf>, Option<PathBuf>) {
    let bus = address("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|| "/run/dbus/system_bus_socket".into());
    (vec![bus], Some("/run/systemd/private".into()))
}

/// The session's bus, and the one that every user with a running systemd has.
fn user_sockets() -> (Vec<PathBuf>, Option<PathBuf>) {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty()).map(PathBuf::from);
    let runtime = runtime.unwrap_or_else(|| format!("/run/user/{}", cred::geteuid()).into());
    let session = address("DBUS_SESSION_BUS_ADDRESS");
    let usual = runtime.join("bus");
    let mut bus: Vec<PathBuf> = session.into_iter().collect();
    if !bus.contains(&usual) {
        bus.push(usual);
    }
    (bus, Some(runtime.join("systemd/private")))
}

/// The first socket file that an address of D-Bus's form names: `unix:path=/run/user/1000/bus,guid=…;…`.
fn address(variable: &str) -> Option<PathBuf> {
    socket_of(&std::env::var(variable).ok()?)
}

fn socket_of(address: &str) -> Option<PathBuf> {
    let unix = address.split(';').find_map(|a| a.strip_prefix("unix:"))?;
    let path = unix.split(',').find_map(|kv| kv.strip_prefix("path="))?;
    // Escaped as in a URL.
    let mut parts = path.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    use std::os::unix::ffi::OsStringExt;
    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// Is the system's systemd another's: have we neither its root's id, nor the user namespace that it is in?
pub fn is_users() -> bool {
    if cred::geteuid() != 0 {
        return true;
    }
    // In a user namespace of a user's the host's root is nobody.
    fs::open_dir("/run/systemd/system").and_then(fs::fstat).is_ok_and(|s| s.uid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, want) in [
            ("unix:path=/run/user/1000/bus", Some("/run/user/1000/bus")),
            ("unix:path=/run/a%20b,guid=12", Some("/run/a b")),
            ("tcp:host=x;unix:path=/b", Some("/b")),
            ("unix:abstract=/tmp/x", None),
            ("unix:path=/a%2", None),
            ("unix:path=/a%zz", None),
            ("", None),
        ] {
            assert_eq!(socket_of(text), want.map(PathBuf::from), "{text}");
        }
    }

    /// A message that comes in pieces, and two in one piece.
    #[test]
    fn messages_in_pieces() {
        let mut m = MessageBuilder::new().signal(MANAGER, "JobRemoved", OBJECT).build();
        let job = Param::Base(Base::ObjectPath("/job/1".into()));
        let args = [Param::Base(Base::Uint32(1)), job, text("a.scope"), text("done")];
        m.body.push_old_params(&args).unwrap();
        let mut bytes = Vec::new();
        marshal::marshal(&m, 7, &mut bytes).unwrap();
        bytes.extend_from_slice(m.get_buf());
        let whole = bytes.len();
        for cut in 0..whole {
            let e = parse(&bytes[..cut]).unwrap_err();
            let more =
                matches!(e, UnmarshalError::NotEnoughBytes | UnmarshalError::NotEnoughBytesForCollection);
            assert!(more, "{cut}: {e}");
        }
        bytes.extend_from_slice(&bytes.clone());
        let (used, message) = parse(&bytes).unwrap();
        assert_eq!(used, whole);
        assert_eq!(message.unmarshall_all().unwrap().params.len(), 4);
    }
}
