//! macOS: `IP_BOUND_IF` and `IPV6_BOUND_IF`.
//!
//! `TCP_NOTSENT_LOWAT` exists there too, but no crate of ours sets it, and its effect has not been
//! measured: until it has been, nothing is tuned beyond `TCP_NODELAY`.

use std::io;
use std::num::NonZeroU32;

use exo_netconfig::LinkKind;
use socket2::SockRef;

/// Where a socket is kept.
pub(super) enum Bound {
    Here,
    Elsewhere(String),
}

pub(super) fn pin(
    socket: &SockRef<'_>,
    ipv6: bool,
    _interface: &str,
    index: NonZeroU32,
) -> io::Result<()> {
    if ipv6 {
        socket.bind_device_by_index_v6(Some(index))
    } else {
        socket.bind_device_by_index_v4(Some(index))
    }
}

pub(super) fn bound_to(
    socket: &SockRef<'_>,
    ipv6: bool,
    _interface: &str,
    index: NonZeroU32,
) -> io::Result<Option<Bound>> {
    let found = if ipv6 { socket.device_index_v6()? } else { socket.device_index_v4()? };
    Ok(found.map(|found| {
        if found == index { Bound::Here } else { Bound::Elsewhere(format!("interface {found}")) }
    }))
}

pub(super) fn tune(_socket: &SockRef<'_>, _unsent_max: u32, _kind: LinkKind) -> io::Result<()> {
    Ok(())
}
