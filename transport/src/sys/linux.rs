//! Linux: `SO_BINDTODEVICE`.

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
/// behind megabytes of send buffer. On a cable, which carries nobody else's packets and loses none,
/// CUBIC is asked for where the system's choice is another: BBR paces by its own estimate and gave a
/// quarter of the throughput (docs/ARCHITECTURE.md). A kernel without CUBIC keeps its choice.
pub(super) fn tune(socket: &SockRef<'_>, unsent_max: u32, kind: LinkKind) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(unsent_max)?;
    if kind == LinkKind::Thunderbolt
        && let Err(error) = socket.set_tcp_congestion(b"cubic")
    {
        tracing::debug!(%error, "the system's congestion control stays");
    }
    Ok(())
}
