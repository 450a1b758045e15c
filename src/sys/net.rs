//! Network devices: loopback up in every new network namespace, and the few words of rtnetlink(7) that it takes to move
//! a device into one.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket as s;

use super::{Errno, Result, cvt, retry};

/// SIOCSIFFLAGS IFF_UP on `lo`: netdevice(7).
pub fn loopback_up() -> Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let sock = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is a plain C struct for which all zeroes is a valid value.
    let mut req: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in req.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    req.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: a struct ifreq with a NUL-terminated name that lives across the call.
    cvt(unsafe { libc::ioctl(sock.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const req) }.into()).map(|_| ())
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
/// What somebody chose about an address: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE. The others are the kernel's.
const CHOSEN_FLAGS: u32 = 0x02 | 0x10 | 0x100 | 0x200;
const IFA_F_PERMANENT: u32 = 0x80;
const RT_SCOPE_UNIVERSE: u8 = 0;

const IFF_UP: u32 = 1;

/// A device as the namespace knows it in which it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub up: bool,
}

/// An address of a device, without what ties it to its name or its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    /// Type and value of each attribute that it is made anew with.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Meant to last, and to be reached from elsewhere.
    pub fn is_permanent_and_global(&self) -> bool {
        self.flags & IFA_F_PERMANENT != 0 && self.scope == RT_SCOPE_UNIVERSE
    }
}

/// A message's type and body.
type Answer = (u16, Vec<u8>);

/// A socket of rtnetlink(7): it speaks of the network namespace that it was opened in.
pub struct Netlink(OwnedFd);

impl Netlink {
    pub fn open() -> Result<Self> {
        let (family, kind) = (s::AddressFamily::Netlink, s::SockType::Raw);
        s::socket(family, kind, s::SockFlag::SOCK_CLOEXEC, s::SockProtocol::NetlinkRoute).map(Self)
    }

    /// ENODEV if there is none of that name.
    pub fn link(&self, name: &str) -> Result<Link> {
        let mut body = ifinfo(0, 0, 0);
        attribute(&mut body, IFLA_IFNAME, &zero_ended(name));
        let answers = self.ask(RTM_GETLINK, NLM_F_ACK, &body)?;
        let answer = answers.iter().find(|(kind, _)| *kind == RTM_NEWLINK).ok_or(Errno::ENODEV)?;
        let field = |at: usize| word(&answer.1, at).ok_or(Errno::EBADMSG);
        Ok(Link { index: field(4)?, up: field(8)? & IFF_UP != 0 })
    }

    /// All addresses of a device.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let answers = self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; 8])?;
        let of_it =
            answers.iter().filter(|(kind, body)| *kind == RTM_NEWADDR && word(body, 4) == Some(index));
        of_it.map(|(_, body)| address(body).ok_or(Errno::EBADMSG)).collect()
    }

    pub fn add_address(&self, index: u32, a: &Address) -> Result<()> {
        let mut body = vec![a.family, a.prefix, 0, a.scope];
        body.extend(index.to_ne_bytes());
        for (kind, value) in &a.attributes {
            attribute(&mut body, *kind, value);
        }
        attribute(&mut body, IFA_FLAGS, &(a.flags & CHOSEN_FLAGS).to_ne_bytes());
        self.ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &body).map(drop)
    }

    pub fn set_up(&self, index: u32) -> Result<()> {
        self.ask(RTM_NEWLINK, NLM_F_ACK, &ifinfo(index, IFF_UP, IFF_UP)).map(drop)
    }

    /// With `%d` in it, the first number that is free.
    pub fn rename(&self, index: u32, name: &str) -> Result<()> {
        let mut body = ifinfo(index, 0, 0);
        attribute(&mut body, IFLA_IFNAME, &zero_ended(name));
        self.ask(RTM_NEWLINK, NLM_F_ACK, &body).map(drop)
    }

    pub fn name(&self, index: u32) -> Result<String> {
        let answers = self.ask(RTM_GETLINK, NLM_F_ACK, &ifinfo(index, 0, 0))?;
        let (_, body) = answers.iter().find(|(kind, _)| *kind == RTM_NEWLINK).ok_or(Errno::ENODEV)?;
        let all = attributes(body.get(16..).unwrap_or_default()).ok_or(Errno::EBADMSG)?;
        let name = all.iter().find(|(kind, _)| *kind == IFLA_IFNAME).ok_or(Errno::EBADMSG)?.1;
        Ok(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
    }

    /// Into another namespace, under another name, in one step: neither here nor there is a name in the way that the
    /// device does not end up with. It is down then, and without addresses.
    pub fn move_to(&self, index: u32, name: &str, namespace: impl AsFd) -> Result<()> {
        let mut body = ifinfo(index, 0, 0);
        attribute(&mut body, IFLA_IFNAME, &zero_ended(name));
        attribute(&mut body, IFLA_NET_NS_FD, &namespace.as_fd().as_raw_fd().to_ne_bytes());
        self.ask(RTM_NEWLINK, NLM_F_ACK, &body).map(drop)
    }

    /// Sends one request and gives all answers to it, by type.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Answer>> {
        // A dump during which something changed is told to be so, and asked for again.
        for _ in 0..16 {
            if let Some(answers) = self.ask_once(kind, flags, body)? {
                return Ok(answers);
            }
        }
        Err(Errno::EAGAIN)
    }

    fn ask_once(&self, kind: u16, flags: u16, body: &[u8]) -> Result<Option<Vec<Answer>>> {
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend((16 + body.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        // Sequence and sender: one question at a time, and the kernel knows whom it answers.
        message.extend([0; 8]);
        message.extend(body);
        let fd = self.0.as_raw_fd();
        retry(|| s::send(fd, &message, s::MsgFlags::empty()))?;
        let (mut answers, mut whole) = (Vec::new(), true);
        let mut buf = vec![0; 64 << 10];
        loop {
            let n = retry(|| s::recv(fd, &mut buf, s::MsgFlags::MSG_TRUNC))?;
            let mut rest = buf.get(..n).ok_or(Errno::EMSGSIZE)?;
            while !rest.is_empty() {
                let (kind, flags, body, after) = split(rest).ok_or(Errno::EBADMSG)?;
                whole &= flags & NLM_F_DUMP_INTR == 0;
                match kind {
                    NLMSG_DONE => return Ok(whole.then_some(answers)),
                    NLMSG_ERROR => {
                        return match word(body, 0).ok_or(Errno::EBADMSG)? as i32 {
                            0 => Ok(Some(answers)),
                            e => Err(Errno::from_raw(-e)),
                        };
                    }
                    kind => answers.push((kind, body.to_vec())),
                }
                rest = after;
            }
        }
    }
}

/// `struct ifinfomsg`.
fn ifinfo(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [0, index, flags, change].iter().flat_map(|w| w.to_ne_bytes()).collect()
}

fn zero_ended(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend((4 + value.len() as u16).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The first message: its type, flags, body, and what comes after it.
fn split(bytes: &[u8]) -> Option<(u16, u16, &[u8], &[u8])> {
    let length = word(bytes, 0)? as usize;
    let body = bytes.get(16..length)?;
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((half(bytes, 4)?, half(bytes, 6)?, body, after))
}

/// `struct ifaddrmsg` and its attributes.
fn address(body: &[u8]) -> Option<Address> {
    let (family, prefix, flags, scope) = (*body.first()?, *body.get(1)?, *body.get(2)?, *body.get(3)?);
    let mut all = Address { family, prefix, scope, flags: flags.into(), attributes: Vec::new() };
    for (kind, value) in attributes(body.get(8..)?)? {
        match kind {
            IFA_FLAGS => all.flags = word(value, 0)?,
            IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST | IFA_RT_PRIORITY => {
                all.attributes.push((kind, value.to_vec()));
            }
            _ => {}
        }
    }
    Some(all)
}

/// `struct rtattr`, one after the other: type and value of each.
fn attributes(mut rest: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(half(rest, 0)?);
        // The highest bits are flags.
        all.push((half(rest, 2)? & 0x3fff, rest.get(4..length)?));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_are_cut_short_are_no_messages() {
        let mut body = vec![2, 24, 0x80, 0, 5, 0, 0, 0];
        attribute(&mut body, IFA_LOCAL, &[10, 0, 0, 1]);
        attribute(&mut body, 3, b"eth0\0");
        attribute(&mut body, IFA_FLAGS, &0x280u32.to_ne_bytes());
        let whole = address(&body).unwrap();
        assert_eq!((whole.prefix, whole.flags, whole.attributes.len()), (24, 0x280, 1));
        assert!(whole.is_permanent_and_global());
        for n in 0..body.len() {
            let _ = address(&body[..n]);
        }
        // A length that would not advance, and one beyond the end.
        for length in [0u16, 3, 4, 400] {
            let mut bad = vec![2, 24, 0x80, 0, 5, 0, 0, 0];
            bad.extend(length.to_ne_bytes());
            bad.extend(2u16.to_ne_bytes());
            assert_eq!(address(&bad).is_some(), length == 4, "{length}");
            assert!(split(&bad[8..]).is_none());
        }
        let mut message = 20u32.to_ne_bytes().to_vec();
        message.extend([16, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7]);
        assert_eq!(split(&message).map(|(k, f, b, rest)| (k, f, b.len(), rest.len())), Some((16, 2, 4, 0)));
        assert!(split(&message[..19]).is_none());
    }

    #[test]
    fn loopback_is_a_link() {
        let netlink = Netlink::open().unwrap();
        let lo = netlink.link("lo").unwrap();
        assert_eq!((lo.index, lo.up), (1, true));
        assert!(netlink.addresses(1).unwrap().iter().any(|a| !a.is_permanent_and_global()));
        assert_eq!(netlink.link("no-such-link"), Err(Errno::ENODEV));
    }
}
