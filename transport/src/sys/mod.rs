//! What each platform must supply: keeping a socket on one interface, and reading back that it is.
//!
//! A platform's file has three functions: `pin`, which keeps a socket on an interface before it
//! connects or listens; `bound_to`, which asks the kernel where a socket is kept; and `tune`, which
//! sets what TCP needs for this protocol. Its `Alarm` wakes a thread that waits for sockets in time.
//! `multicast` is the one socket that is not TCP: discovery's. `turns` is what a thread may ask of the
//! scheduler.
//!
//! # Portability
//!
//! Linux and macOS. On others the crate does not build, which is better than sockets that go
//! wherever routing sends them.
#![allow(clippy::disallowed_types)] // sys/ and driver/ own the sockets

use std::io;
use std::net::SocketAddr;

use exo_netconfig::{Link, LinkKind};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use thiserror::Error;

mod multicast;
mod turns;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as platform;

pub(crate) use platform::Alarm;

pub(crate) use turns::take_long_turns;

pub use multicast::{MDNS_PORT, MulticastError, MulticastSocket};

/// A socket is not, or cannot be, kept on the link.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum PinError {
    /// The system refused.
    #[error("cannot keep a socket on {interface}: {words}; hint: is {interface} still there?")]
    Refused {
        /// The interface.
        interface: String,
        /// The system's words.
        words: String,
    },
    /// It is on another interface.
    #[error("a socket that must be on {interface} is on {found}: closed")]
    Elsewhere {
        /// The interface it must be on.
        interface: String,
        /// Where the kernel says it is.
        found: String,
    },
    /// Its address is none of the link's.
    #[error(
        "a socket on {interface} has the address {address}, which is none of the link's: closed"
    )]
    ForeignAddress {
        /// The interface.
        interface: String,
        /// The address.
        address: SocketAddr,
    },
}

fn refused(link: &Link, error: &io::Error) -> PinError {
    PinError::Refused { interface: link.name().into(), words: error.to_string() }
}

/// A TCP socket for `addr` that will only ever use the link.
pub(crate) fn pinned_socket(link: &Link, addr: SocketAddr) -> Result<Socket, PinError> {
    let open = || {
        let domain = Domain::for_address(addr);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        platform::pin(&SockRef::from(&socket), addr.is_ipv6(), link.name(), link.index())?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    open().map_err(|error| refused(link, &error))
}

/// Makes sure that a connected or accepted socket is on the link, by asking the kernel, and that
/// its address is the link's.
pub(crate) fn check_pinned(socket: &SockRef<'_>, link: &Link) -> Result<(), PinError> {
    let local = socket.local_addr().map_err(|error| refused(link, &error))?;
    let local = local.as_socket().ok_or_else(|| PinError::Elsewhere {
        interface: link.name().into(),
        found: "no network at all".into(),
    })?;
    let bound = |socket| platform::bound_to(socket, local.is_ipv6(), link.name(), link.index());
    let mut found = bound(socket).map_err(|error| refused(link, &error))?;
    if found.is_none() {
        // Some systems do not hand the listener's pin on to what it accepts.
        platform::pin(socket, local.is_ipv6(), link.name(), link.index())
            .map_err(|error| refused(link, &error))?;
        found = bound(socket).map_err(|error| refused(link, &error))?;
    }
    match found {
        Some(platform::Bound::Here) => {}
        Some(platform::Bound::Elsewhere(found)) => {
            return Err(PinError::Elsewhere { interface: link.name().into(), found });
        }
        None => {
            return Err(PinError::Elsewhere {
                interface: link.name().into(),
                found: "no interface in particular".into(),
            });
        }
    }
    if !link.contains(local.ip()) {
        let interface = link.name().into();
        return Err(PinError::ForeignAddress { interface, address: local });
    }
    Ok(())
}

/// Sets what every connection of ours wants of TCP. `unsent_max` bytes may wait in the kernel.
pub(crate) fn tune(socket: &SockRef<'_>, unsent_max: u32, kind: LinkKind) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    platform::tune(socket, unsent_max, kind)
}
