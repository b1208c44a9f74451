//! Linux: `SO_BINDTODEVICE`.

use std::io;
use std::num::NonZeroU32;

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

/// With `TCP_NOTSENT_LOWAT` a frame of a better lane waits behind one chunk in the kernel, not
/// behind megabytes of send buffer.
pub(super) fn tune(socket: &SockRef<'_>, unsent_max: u32) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(unsent_max)
}
