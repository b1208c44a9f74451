//! The link itself: hot-plug brings it back under another index or with another address, and sockets
//! that listen on the old one hear nobody.
//!
//! Asking the system may take a while (a Mac is asked by commands), so a thread of its own does it
//! and calls the driver with the answer: the peers that are well must not wait for it.

use std::net::SocketAddr;
use std::time::Duration;

use crossbeam::channel::{Receiver, TryRecvError, bounded};
use exo_netconfig::{Link, LinkError};
use mio::Interest;

use super::super::endpoint::listen;
use super::{Entry, EventLoop};
use crate::event::Event;
use crate::proto::Time;

/// Between two looks while a peer is missing.
const LOOK_MISSING: Duration = Duration::from_millis(200);
/// Between two looks while nobody is connected, or nobody can be. With a peer that answers there is
/// nothing to see.
const LOOK_ALONE: Duration = Duration::from_millis(1_000);

/// When the link was last asked for, and the answer that is still to come.
#[derive(Default)]
pub(super) struct Look {
    asked: Time,
    answer: Option<Receiver<Result<Link, LinkError>>>,
}

impl EventLoop {
    /// When to look at the link next. While an answer is to come, that is what the driver waits for.
    pub(super) fn next_look(&self) -> Option<Time> {
        if self.look.answer.is_some() {
            return None;
        }
        let mut alone = true;
        for entry in self.entries.iter().flatten() {
            if let Entry::Pair(tracked) = entry {
                alone = false;
                if tracked.redial.is_some() {
                    return Some(self.look.asked.after(LOOK_MISSING));
                }
            }
        }
        (alone || self.listener.is_none()).then(|| self.look.asked.after(LOOK_ALONE))
    }

    /// Begins to look at the link.
    pub(super) fn look_at_link(&mut self, now: Time) {
        self.look.asked = now;
        let (sender, answer) = bounded(1);
        let shared = self.shared.clone();
        let looking = std::thread::Builder::new().name("exo-link".into()).spawn(move || {
            let _ = sender.send(shared.link().refresh());
            shared.wake();
        });
        match looking {
            Ok(_) => self.look.answer = Some(answer),
            Err(error) => tracing::warn!(%error, "cannot start a thread to look at the link"),
        }
    }

    /// Takes the answer, if it has come.
    pub(super) fn handle_look(&mut self) {
        let answer = match self.look.answer.as_ref().map(Receiver::try_recv) {
            Some(Ok(answer)) => answer,
            Some(Err(TryRecvError::Disconnected)) => return self.look.answer = None,
            Some(Err(TryRecvError::Empty)) | None => return,
        };
        self.look.answer = None;
        match answer {
            Ok(link) => self.follow(link),
            Err(error) => tracing::debug!(%error, "the link is not usable just now"),
        }
    }

    /// Moves the listening socket to the link as it is now, if that has changed.
    fn follow(&mut self, link: Link) {
        let old = self.shared.link();
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

    fn listen_anew(&mut self, link: &Link, addr: SocketAddr) -> Result<(), crate::OpenError> {
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
