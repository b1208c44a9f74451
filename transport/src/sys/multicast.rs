//! A UDP socket for multicast DNS that lives on one link and nowhere else.
//!
//! Contract: the socket is pinned to the link's interface before it is bound and before it joins
//! anything, and the pin is read back. So neither a packet nor a membership report ever leaves on
//! another interface, and what arrives has arrived on this link.
//!
//! IPv4 is spoken where the link has an IPv4 address, otherwise IPv6: never both, since one packet
//! carries the addresses of both families.
//!
//! # Portability
//!
//! The pin is the platform's own, as for every socket of this crate. The group is joined and sent
//! to by interface index, so it works on `lo` as well, although that has no multicast flag.
#![expect(clippy::disallowed_types, reason = "sys owns the sockets")]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    num::NonZeroU32,
    os::fd::AsRawFd,
    time::Duration,
};

use exo_netconfig::Link;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use thiserror::Error;

use super::{PinError, platform};

/// The port of multicast DNS (RFC 6762 §5).
pub const MDNS_PORT: u16 = 5353;
/// The IPv4 group of multicast DNS.
const MDNS_GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The IPv6 group of multicast DNS, on one link.
const MDNS_GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// What RFC 6762 §11 asks of every packet: nothing that was routed can still have it.
const HOPS: u32 = 255;
/// A receive timeout of zero would mean none at all.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Why there is no multicast on a link.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MulticastError {
    /// The system refused a step.
    #[error("{interface}: cannot {step}: {source}")]
    Refused {
        /// The link's interface.
        interface: String,
        /// What was to be done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The socket is not on the link.
    #[error(transparent)]
    Pin(#[from] PinError),
}

impl MulticastError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Refused { interface, source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "a program holds UDP port {MDNS_PORT} without sharing it: stop it (see `lsof \
                     -i UDP:{MDNS_PORT}`), or use --no-discovery and --peer HOST:PORT"
                ),
                io::ErrorKind::PermissionDenied => format!(
                    "let this program use the local network on {interface}, or use --no-discovery \
                     and --peer HOST:PORT"
                ),
                _ => format!(
                    "{interface} may not carry multicast (tunnels often do not): use \
                     --no-discovery and --peer HOST:PORT"
                ),
            },
            Self::Pin(_) => {
                "look at the interface with `tbnet show`, or use --no-discovery and --peer \
                 HOST:PORT"
                    .into()
            }
        }
    }
}

/// A UDP socket on the mDNS port and group of one link.
#[derive(Debug)]
pub struct MulticastSocket {
    interface: String,
    group: SocketAddr,
    socket: UdpSocket,
}

impl MulticastSocket {
    /// Opens, pins, binds and joins, in this order. Packets go out with 255 hops and come back to
    /// this machine's other sockets too, so that two nodes on one machine hear each other.
    ///
    /// # Errors
    ///
    /// [`MulticastError`], which names the interface and the step.
    pub fn open(link: &Link) -> Result<Self, MulticastError> {
        let refused = |step| {
            move |source| MulticastError::Refused { interface: link.name().into(), step, source }
        };
        let source = link.addresses().iter().find_map(|net| match net.addr() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        });
        let domain = if source.is_some() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))
            .map_err(refused("open a UDP socket"))?;
        pin(&socket, link, source.is_none())?;
        let share = |socket: &Socket| {
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)
        };
        share(&socket).map_err(refused("share the mDNS port"))?;
        let group = match source {
            Some(source) => join_v4(&socket, link, source),
            None => join_v6(&socket, link),
        }?;
        Ok(Self { interface: link.name().into(), group, socket: socket.into() })
    }

    /// Sends one packet to the group.
    ///
    /// # Errors
    ///
    /// [`MulticastError::Refused`], for example while the interface is down.
    pub fn send(&self, packet: &[u8]) -> Result<(), MulticastError> {
        // A datagram goes whole or not at all.
        match self.socket.send_to(packet, self.group) {
            Ok(_) => Ok(()),
            Err(source) => Err(self.refused("send a discovery packet", source)),
        }
    }

    /// Waits for one packet: its length and its sender, or `None` if none came in time. A packet
    /// longer than `buffer` is cut to it.
    ///
    /// # Errors
    ///
    /// [`MulticastError::Refused`].
    pub fn recv(
        &self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<Option<(usize, SocketAddr)>, MulticastError> {
        let received = self
            .socket
            .set_read_timeout(Some(timeout.max(TIMEOUT_MIN)))
            .and_then(|()| self.socket.recv_from(buffer));
        match received {
            Ok(packet) => Ok(Some(packet)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(self.refused("receive discovery packets", error)),
            },
        }
    }

    fn refused(&self, step: &'static str, source: io::Error) -> MulticastError {
        MulticastError::Refused { interface: self.interface.clone(), step, source }
    }
}

/// Pins an unbound socket to the link's interface, and asks the kernel whether it is there.
fn pin(socket: &Socket, link: &Link, ipv6: bool) -> Result<(), PinError> {
    let socket = SockRef::from(socket);
    let refused = |error| super::refused(link, &error);
    platform::pin(&socket, ipv6, link.name(), link.index()).map_err(refused)?;
    let elsewhere = |found| PinError::Elsewhere { interface: link.name().into(), found };
    match platform::bound_to(&socket, ipv6, link.name(), link.index()).map_err(refused)? {
        Some(platform::Bound::Here) => Ok(()),
        Some(platform::Bound::Elsewhere(found)) => Err(elsewhere(found)),
        None => Err(elsewhere("no interface in particular".into())),
    }
}

fn join_v4(socket: &Socket, link: &Link, source: Ipv4Addr) -> Result<SocketAddr, MulticastError> {
    let refused = |step| {
        move |source| MulticastError::Refused { interface: link.name().into(), step, source }
    };
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, MDNS_PORT));
    socket.bind(&any.into()).map_err(refused("bind the mDNS port"))?;
    // Without this, Linux also delivers groups that other sockets joined.
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v4(false).map_err(refused("keep to the mDNS group"))?;
    socket
        .join_multicast_v4_n(&MDNS_GROUP_V4, &InterfaceIndexOrAddress::Index(link.index().get()))
        .map_err(refused("join the mDNS group"))?;
    set_multicast_interface(socket, link.index(), source)
        .and_then(|()| socket.set_multicast_ttl_v4(HOPS))
        .and_then(|()| socket.set_multicast_loop_v4(true))
        .map_err(refused("prepare sending to the mDNS group"))?;
    Ok((MDNS_GROUP_V4, MDNS_PORT).into())
}

fn join_v6(socket: &Socket, link: &Link) -> Result<SocketAddr, MulticastError> {
    let refused = |step| {
        move |source| MulticastError::Refused { interface: link.name().into(), step, source }
    };
    let index = link.index().get();
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, MDNS_PORT));
    socket
        .set_only_v6(true)
        .and_then(|()| socket.bind(&any.into()))
        .map_err(refused("bind the mDNS port"))?;
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v6(false).map_err(refused("keep to the mDNS group"))?;
    socket.join_multicast_v6(&MDNS_GROUP_V6, index).map_err(refused("join the mDNS group"))?;
    socket
        .set_multicast_if_v6(index)
        .and_then(|()| socket.set_multicast_hops_v6(HOPS))
        .and_then(|()| socket.set_multicast_loop_v6(true))
        .map_err(refused("prepare sending to the mDNS group"))?;
    Ok(SocketAddrV6::new(MDNS_GROUP_V6, MDNS_PORT, 0, index).into())
}

/// `IP_MULTICAST_IF` by index and with the source address that packets shall bear. By address
/// alone, as socket2 offers it, the system would look for the interface itself; by index alone,
/// Linux finds no source address on `lo`.
#[expect(unsafe_code, reason = "no crate of ours offers this form of IP_MULTICAST_IF")]
fn set_multicast_interface(socket: &Socket, index: NonZeroU32, source: Ipv4Addr) -> io::Result<()> {
    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
        imr_ifindex: libc::c_int::try_from(index.get()).map_err(io::Error::other)?,
    };
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the pointer and the
    // length describe `request`, which outlives the call and is only read; `ip_mreqn` is the
    // structure that `IP_MULTICAST_IF` takes on Linux and macOS alike.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MULTICAST_IF,
            (&raw const request).cast(),
            size_of_val(&request) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exo_netconfig::InterfaceChoice;

    /// Tests share the machine's loopback with each other and with whatever else speaks mDNS on
    /// it, so they look for their own packets among all others.
    fn hears(socket: &MulticastSocket, wanted: &[u8]) -> Option<SocketAddr> {
        let mut buffer = [0; 2048];
        for _ in 0..50 {
            match socket.recv(&mut buffer, Duration::from_millis(100)).unwrap() {
                Some((length, from)) if &buffer[..length] == wanted => return Some(from),
                _ => {}
            }
        }
        None
    }

    fn loopback() -> Link {
        let name = if cfg!(target_os = "macos") { "lo0" } else { "lo" };
        Link::open(&InterfaceChoice::Named(name.into())).unwrap()
    }

    #[test]
    fn two_sockets_of_one_machine_hear_each_other_on_loopback() {
        let link = loopback();
        let (one, two) =
            (MulticastSocket::open(&link).unwrap(), MulticastSocket::open(&link).unwrap());
        one.send(b"from one").unwrap();
        for socket in [&one, &two] {
            let from = hears(socket, b"from one").expect("the packet comes back");
            assert_eq!(from, SocketAddr::from((Ipv4Addr::LOCALHOST, MDNS_PORT)));
        }
        two.send(b"from two").unwrap();
        assert!(hears(&one, b"from two").is_some());
    }

    #[test]
    fn it_is_where_it_was_pinned_and_is_shared_by_nobody_else() {
        let link = loopback();
        let open = MulticastSocket::open(&link).unwrap();
        let socket = SockRef::from(&open.socket);
        let bound = platform::bound_to(&socket, false, link.name(), link.index()).unwrap();
        assert!(matches!(bound, Some(platform::Bound::Here)));
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 255);
        let elsewhere = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, MDNS_PORT));
        let error = elsewhere.bind(&any.into()).expect_err("a pinned port is taken all the same");
        let error = MulticastError::Refused {
            interface: "lo".into(),
            step: "bind the mDNS port",
            source: error,
        };
        assert!(error.hint().contains("lsof -i UDP:5353"), "{error}: {}", error.hint());
    }

    #[test]
    fn waiting_in_vain_is_no_error() {
        let socket = MulticastSocket::open(&loopback()).unwrap();
        // Others may speak meanwhile: what counts is that it comes back.
        socket.recv(&mut [0; 64], Duration::ZERO).unwrap();
    }
}
