//! ICMP echo over one interface: how long a packet takes to a peer and back.
//!
//! The socket is a datagram socket, which needs no root on macOS, nor on Linux where
//! `net.ipv4.ping_group_range` allows it; root falls back to a raw one. It is kept on the interface:
//! what does not come back over it does not come back.

use std::{
    fmt,
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::command;
use crate::{
    Link, shell,
    snapshot::Unknown,
    text::{Lang, Text, link as say},
};

/// Bytes of an echo beside its header, at least: they hold its number.
pub const PAYLOAD_MIN: usize = 16;
/// And at most.
pub const PAYLOAD_MAX: usize = 65_000;

const HEADER: usize = 8;

/// Why there is no echo.
#[derive(Debug)]
#[non_exhaustive]
pub enum EchoError {
    /// The system gives us no such socket.
    Permission(io::Error),
    /// The socket cannot be kept on the interface.
    Pin {
        /// The interface.
        interface: String,
        /// The system's words.
        source: io::Error,
    },
    /// An echo cannot be sent, or its answer not be read.
    Io {
        /// The peer.
        peer: IpAddr,
        /// The interface.
        interface: String,
        /// The system's words.
        source: io::Error,
    },
}

impl EchoError {
    /// What is wrong.
    pub fn text(&self) -> Text {
        match self {
            Self::Permission(source) => say::echo_permission(source),
            Self::Pin { interface, source } => say::echo_pin(interface, source),
            Self::Io { peer, interface, source } => say::echo_io(peer, interface, source),
        }
    }

    /// What to do next.
    pub fn advice(&self) -> Text {
        match self {
            Self::Permission(_) if cfg!(target_os = "linux") => say::echo_permission_do_linux(),
            Self::Permission(_) => say::echo_permission_do_mac(),
            Self::Pin { interface, .. } => say::echo_pin_do(interface),
            Self::Io { peer, .. } => say::echo_io_do(peer),
        }
    }
}

impl fmt::Display for EchoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

// Without a source: the words hold the system's already.
impl std::error::Error for EchoError {}

/// The system's own program, which macOS lets through whoever else it keeps off the local network.
const SYSTEM_PING: &str = "/sbin/ping";
const SYSTEM_PING6: &str = "/sbin/ping6";
/// How often it asks.
const SYSTEM_ECHOES: u32 = 3;

/// Whether the system's own `ping` reaches `peer` over `link`: `false` only if it says that there is
/// no way, for a machine may leave an echo unanswered; `None` if nothing can be said. It waits
/// `limit` for each of a few answers.
pub fn by_system(link: &Link, peer: IpAddr, limit: Duration) -> Option<bool> {
    // Its options are Apple's; and Linux keeps no program off a network by itself.
    if cfg!(target_os = "linux") {
        return None;
    }
    let (program, args) = system_ping(link, peer, limit);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match command::run(program, &args, limit * (SYSTEM_ECHOES + 2) + Duration::from_secs(2)) {
        Ok(_) => Some(true),
        Err(Unknown::Failed { detail }) => says_no_way(&detail).then_some(false),
        Err(_) => None,
    }
}

/// `ping: sendto: No route to host`, `ping: sendto: Host is down`.
fn says_no_way(said: &str) -> bool {
    ["No route to host", "Host is down"].iter().any(|words| said.contains(words))
}

/// `-b` (Apple's) keeps it on the interface, `-o` ends it with the first answer, `-W` is in
/// milliseconds; `ping6` has none of them, and takes the interface from the address.
fn system_ping(link: &Link, peer: IpAddr, limit: Duration) -> (&'static str, Vec<String>) {
    let count = SYSTEM_ECHOES.to_string();
    match peer {
        IpAddr::V4(peer) => {
            let (wait, peer) = (limit.as_millis().to_string(), peer.to_string());
            let args = ["-n", "-o", "-c", &count, "-W", &wait, "-b", link.name(), &peer];
            (SYSTEM_PING, args.map(str::to_owned).to_vec())
        }
        IpAddr::V6(_) => {
            let peer = shell::scoped(peer, link.name());
            (SYSTEM_PING6, ["-n", "-c", &count, &peer].map(str::to_owned).to_vec())
        }
    }
}

/// A way to echo to one peer.
pub struct Echo {
    socket: Socket,
    interface: String,
    target: SocketAddr,
    raw: bool,
    id: u16,
    sequence: u16,
    /// Told apart from other programs' echoes, and from those of an earlier run.
    nonce: u64,
    payload: usize,
}

impl Echo {
    /// Opens a socket to `peer` that is kept on `link`. Each echo carries `payload` bytes, brought
    /// within [`PAYLOAD_MIN`] and [`PAYLOAD_MAX`].
    ///
    /// # Errors
    /// [`EchoError`].
    pub fn open(link: &Link, peer: IpAddr, payload: usize) -> Result<Self, EchoError> {
        let (domain, protocol) = match peer {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => (socket, false),
            Err(_) => match Socket::new(domain, Type::RAW, Some(protocol)) {
                Ok(socket) => (socket, true),
                Err(error) => return Err(EchoError::Permission(error)),
            },
        };
        pin(&socket, link, peer.is_ipv6())
            .map_err(|source| EchoError::Pin { interface: link.name().to_owned(), source })?;
        let target = link.peer_addr(peer, 0);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nonce = since.unwrap_or_default().as_nanos() as u64 ^ u64::from(std::process::id());
        let echo = Self {
            socket,
            interface: link.name().to_owned(),
            target,
            raw,
            id: std::process::id() as u16,
            sequence: 0,
            nonce,
            payload: payload.clamp(PAYLOAD_MIN, PAYLOAD_MAX),
        };
        echo.socket.connect(&target.into()).map_err(|source| echo.io(source))?;
        Ok(echo)
    }

    /// As [`Echo::open`], with a packet that is as large as the link's MTU, and its bytes. The kernel
    /// does not take such a packet apart, and on a link without routers nobody else does.
    ///
    /// `None` if an echo cannot be so small or so large.
    pub fn of_largest_packet(link: &Link, peer: IpAddr) -> Option<(Result<Self, EchoError>, u32)> {
        let header = HEADER + if peer.is_ipv6() { 40 } else { 20 };
        let bytes = link.mtu();
        let payload = usize::try_from(bytes).ok()?.checked_sub(header)?;
        let can_be = (PAYLOAD_MIN..=PAYLOAD_MAX).contains(&payload);
        can_be.then(|| (Self::open(link, peer, payload), bytes))
    }

    fn io(&self, source: io::Error) -> EchoError {
        EchoError::Io { peer: self.target.ip(), interface: self.interface.clone(), source }
    }

    /// Sends one echo and waits at most `limit` for its answer; `None` if none came.
    ///
    /// # Errors
    /// If it cannot be sent. A peer that the system says cannot be reached is no answer.
    pub fn once(&mut self, limit: Duration) -> Result<Option<Duration>, EchoError> {
        self.sequence = self.sequence.wrapping_add(1);
        let packet = self.request();
        let sent = Instant::now();
        let deadline = sent + limit;
        let unreachable = |error: &io::Error| {
            use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
            matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
        };
        match self.socket.send(&packet) {
            Err(error) if !unreachable(&error) => return Err(self.io(error)),
            _ => {}
        }
        let mut answer = vec![0; packet.len() + 64];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = left.max(Duration::from_micros(100));
            self.socket.set_read_timeout(Some(timeout)).map_err(|e| self.io(e))?;
            match self.socket.read(&mut answer) {
                Ok(len) if self.is_answer(&answer[..len]) => return Ok(Some(sent.elapsed())),
                // Another's echo, or our own request on `lo`.
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {}
                    io::ErrorKind::Interrupted => {}
                    _ if unreachable(&error) => {}
                    _ => return Err(self.io(error)),
                },
            }
        }
    }

    /// RFC 792, RFC 4443: type, code, checksum, identifier, sequence, data.
    fn request(&self) -> Vec<u8> {
        let is_v6 = self.target.is_ipv6();
        let mut packet = vec![if is_v6 { 128 } else { 8 }, 0, 0, 0];
        packet.extend(self.id.to_be_bytes());
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.nonce.to_be_bytes());
        packet.extend(u64::from(self.sequence).to_be_bytes());
        packet.resize(HEADER + self.payload, 0x5a);
        if !is_v6 {
            // For IPv6 the kernel sums: it knows the pseudo-header.
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    fn is_answer(&self, bytes: &[u8]) -> bool {
        let is_v6 = self.target.is_ipv6();
        // Raw sockets, and macOS' datagram sockets, hand over the IPv4 header too.
        let skip = match bytes.first() {
            Some(first) if !is_v6 && first >> 4 == 4 => usize::from(first & 0xf) * 4,
            _ => 0,
        };
        let Some(bytes) = bytes.get(skip..) else { return false };
        let reply = if is_v6 { 129 } else { 0 };
        let id_fits = |id: &[u8]| !self.raw || id == self.id.to_be_bytes();
        let mine: Vec<u8> =
            [self.nonce.to_be_bytes(), u64::from(self.sequence).to_be_bytes()].concat();
        bytes.len() == HEADER + self.payload
            && bytes[0] == reply
            && id_fits(&bytes[4..6])
            && bytes[HEADER..].starts_with(&mine)
    }
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let mut sum: u32 = packet
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(target_os = "linux")]
fn pin(socket: &Socket, link: &Link, _is_v6: bool) -> io::Result<()> {
    socket.bind_device(Some(link.name().as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn pin(socket: &Socket, link: &Link, is_v6: bool) -> io::Result<()> {
    if is_v6 {
        socket.bind_device_by_index_v6(Some(link.index()))
    } else {
        socket.bind_device_by_index_v4(Some(link.index()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        // Its own example: 0001 f203 f4f5 f6f7 sums to ddf2.
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&data), !0xddf2);
        assert_eq!(checksum(&[0xff]), !0xff00);
    }

    #[test]
    fn the_systems_own_ping_is_kept_on_the_link_as_well() {
        let link = Link::open(&crate::InterfaceChoice::Named("lo".into())).expect("lo is up");
        let line = |peer: &str| {
            let (program, args) =
                system_ping(&link, peer.parse().unwrap(), Duration::from_millis(500));
            format!("{program} {}", args.join(" "))
        };
        assert_eq!(line("192.168.2.2"), "/sbin/ping -n -o -c 3 -W 500 -b lo 192.168.2.2");
        assert_eq!(line("fe80::2"), "/sbin/ping6 -n -c 3 fe80::2%lo");
        assert!(says_no_way("ping: sendto: No route to host"));
        // A firewall may drop echoes: that nothing came back is no proof.
        assert!(!says_no_way("no words") && !says_no_way("ping: bad interface name"));
    }

    #[test]
    fn an_echo_over_lo_comes_back() {
        let link = Link::open(&crate::InterfaceChoice::Named("lo".into())).expect("lo is up");
        for (peer, payload) in [("127.0.0.1", 0), ("127.0.0.1", 1400)] {
            let mut echo = match Echo::open(&link, peer.parse().unwrap(), payload) {
                Ok(echo) => echo,
                Err(error) => {
                    eprintln!("skipped: needs ICMP sockets ({error})");
                    return;
                }
            };
            for _ in 0..3 {
                assert!(echo.once(Duration::from_secs(10)).unwrap().is_some(), "{peer} {payload}");
            }
        }
    }
}
