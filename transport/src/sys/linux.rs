//! Linux: `SO_BINDTODEVICE`, `timerfd`.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use exo_netconfig::LinkKind;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::socket::setsockopt;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use socket2::SockRef;

use crate::limits::RECEIVE_WINDOW_BYTES;
use crate::proto::Time;

sockopt_impl!(
    /// How far the window that the peer is told of may grow.
    WindowClamp,
    Both,
    libc::IPPROTO_TCP,
    libc::TCP_WINDOW_CLAMP,
    u32
);

/// Where a socket is kept.
pub(super) enum Bound {
    Here,
    Elsewhere(String),
}

pub(super) fn pin(
    socket: &SockRef<'_>,
    _ipv6: bool,
    interface: &str,
    _index: NonZeroU32,
) -> io::Result<()> {
    socket.bind_device(Some(interface.as_bytes()))
}

pub(super) fn bound_to(
    socket: &SockRef<'_>,
    _ipv6: bool,
    interface: &str,
    _index: NonZeroU32,
) -> io::Result<Option<Bound>> {
    Ok(socket.device()?.map(|found| {
        let found = found.strip_suffix(&[0]).unwrap_or(&found);
        if found == interface.as_bytes() {
            Bound::Here
        } else {
            Bound::Elsewhere(String::from_utf8_lossy(found).into_owned())
        }
    }))
}

/// With `TCP_NOTSENT_LOWAT` a frame of a better lane waits behind two chunks in the kernel, not
/// behind megabytes of send buffer, and with `TCP_WINDOW_CLAMP` behind two megabytes where the
/// receiver is behind, not behind all that the system would let a receive buffer grow to (6 MiB, on
/// some systems 32). On a cable, which carries nobody else's packets and loses none,
/// CUBIC is asked for where the system's choice is another: BBR paces by its own estimate and gave a
/// quarter of the throughput (docs/ARCHITECTURE.md). A kernel without CUBIC, or without that clamp,
/// keeps its choice.
pub(super) fn tune(socket: &SockRef<'_>, unsent_max: u32, kind: LinkKind) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(unsent_max)?;
    if let Err(error) = setsockopt(&**socket, WindowClamp, &RECEIVE_WINDOW_BYTES) {
        tracing::debug!(%error, "the receive window grows as the system sees fit");
    }
    if kind == LinkKind::Thunderbolt
        && let Err(error) = socket.set_tcp_congestion(b"cubic")
    {
        tracing::debug!(%error, "the system's congestion control stays");
    }
    Ok(())
}

/// A timer that outlives the sleep it was set for.
///
/// The time-out of a sleep is set before it and taken back after it. Between messages that is the
/// first of all the machine's timers, so the processor's clock was set anew twice a message, which
/// takes a virtual machine 8 µs each time. This one is set when there is none that is early enough,
/// and left alone: now and then it wakes somebody who has nothing to do any more.
pub(crate) struct Alarm {
    timer: TimerFd,
    set: Option<Time>,
}

impl Alarm {
    /// An alarm that will be an event of this queue.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let fd = timer.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        Ok(Self { timer, set: None })
    }

    /// How long the queue may be waited for so that the wait ends at `at`, or before: `None` is until
    /// there is an event, and the alarm is one.
    pub(crate) fn timeout(&mut self, now: Time, at: Time) -> Option<Duration> {
        let left = at.since(now);
        if left.is_zero() {
            return Some(left);
        }
        if self.set.is_some_and(|set| now < set && set <= at) {
            return None;
        }
        // What it had to tell is forgotten by setting it.
        match self.timer.set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty()) {
            Ok(()) => {
                self.set = Some(at);
                None
            }
            Err(error) => {
                tracing::debug!(%error, "no alarm");
                self.set = None;
                Some(left)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;

    use super::*;

    #[test]
    fn the_receive_window_is_bounded() -> io::Result<()> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let dialled = std::net::TcpStream::connect(listener.local_addr()?)?;
        let (accepted, _) = listener.accept()?;
        for socket in [&dialled, &accepted] {
            tune(&SockRef::from(socket), 256 << 10, LinkKind::Thunderbolt)?;
            assert_eq!(getsockopt(socket, WindowClamp)?, RECEIVE_WINDOW_BYTES);
        }
        Ok(())
    }
}
