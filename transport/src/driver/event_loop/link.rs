//! The link itself: hot-plug brings it back under another index or with another address, and sockets
//! that listen on the old one hear nobody.

use std::net::SocketAddr;
use std::time::Duration;

use mio::Interest;

use super::super::endpoint::listen;
use super::{Entry, EventLoop};
use crate::event::Event;
use crate::proto::Time;

/// Between two looks while a peer is missing.
const LOOK_MISSING: Duration = Duration::from_millis(200);
/// Between two looks while nobody is connected. With a peer that answers there is nothing to see.
const LOOK_ALONE: Duration = Duration::from_millis(1_000);

impl EventLoop {
    /// When to look at the link next.
    pub(super) fn next_look(&self) -> Option<Time> {
        let mut alone = true;
        for entry in self.entries.iter().flatten() {
            if let Entry::Pair(tracked) = entry {
                alone = false;
                if tracked.redial.is_some() {
                    return Some(self.looked.after(LOOK_MISSING));
                }
            }
        }
        alone.then(|| self.looked.after(LOOK_ALONE))
    }

    /// Looks at the link, and moves the listening socket to it if it has changed.
    pub(super) fn look_at_link(&mut self, now: Time) {
        if now.since(self.looked) < LOOK_MISSING {
            return;
        }
        self.looked = now;
        let old = self.shared.link();
        let link = match old.refresh() {
            Ok(link) => link,
            Err(error) => return tracing::debug!(%error, "the link is not usable just now"),
        };
        let same = link.index() == old.index() && link.addresses() == old.addresses();
        if same && self.listener.is_some() {
            return;
        }
        let addr = link.socket_addr(self.shared.local.port);
        match self.listen_anew(&link, addr) {
            Ok(()) => {
                tracing::info!(interface = link.name(), index = link.index(), %addr, "link changed");
                self.shared.set_link(link.clone());
                self.emit(Event::LinkChanged { link });
            }
            Err(error) => tracing::warn!(%error, "cannot listen on the link that came back"),
        }
    }

    fn listen_anew(
        &mut self,
        link: &exo_netconfig::Link,
        addr: SocketAddr,
    ) -> Result<(), crate::OpenError> {
        // The old one holds the port; it is on an interface that is not there any more.
        if let Some(mut listener) = self.listener.take() {
            let _ = self.poll.registry().deregister(&mut listener);
        }
        let mut listener = listen(link, addr)?;
        let watched =
            self.poll.registry().register(&mut listener, Self::LISTENER, Interest::READABLE);
        watched.map_err(|source| crate::OpenError::Io {
            doing: "watch the listening socket",
            interface: link.name().into(),
            addr,
            source,
        })?;
        self.listener = Some(listener);
        Ok(())
    }
}
