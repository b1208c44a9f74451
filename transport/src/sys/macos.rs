//! macOS: `IP_BOUND_IF` and `IPV6_BOUND_IF`.
//!
//! `TCP_NOTSENT_LOWAT` exists there too, but no crate of ours sets it, and its effect has not been
//! measured: until it has been, nothing is tuned beyond `TCP_NODELAY`.

use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use exo_netconfig::LinkKind;
use mio::{Registry, Token};
use socket2::SockRef;

use crate::proto::Time;

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

/// Nothing beside the queue's own time-out.
pub(crate) struct Alarm;

impl Alarm {
    /// Needs no event.
    #[expect(clippy::unnecessary_wraps, reason = "where it is an event, that can fail")]
    pub(crate) fn new(_registry: &Registry, _token: Token) -> io::Result<Self> {
        Ok(Self)
    }

    /// How long the queue may be waited for so that the wait ends at `at`.
    #[expect(clippy::unused_self, reason = "where it is an event, it is set")]
    pub(crate) fn timeout(&mut self, now: Time, at: Time) -> Option<Duration> {
        Some(at.since(now))
    }
}
