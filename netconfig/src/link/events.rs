//! What becomes of a link, as a stream: down, up, renumbered, another address.
//!
//! [`LinkEvents`] waits for the system to say that something changed, looks at the chosen interface
//! again, and tells the differences. The differences themselves are pure ([`differences`]).

use std::{
    io,
    time::{Duration, Instant},
};

use ipnet::IpNet;

use super::{Link, LinkError};
use crate::system::notify::Changes;

/// Without a word from the system the link is looked at this often: a notification that never came
/// must not hide a link that is gone for ever.
const LOOK_EVERY: Duration = Duration::from_secs(if cfg!(target_os = "linux") { 60 } else { 10 });

/// Something that happened to a link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// It cannot be used any more, and why.
    Down {
        /// Why.
        error: LinkError,
    },
    /// It can be used again.
    Up {
        /// As it is now.
        link: Link,
    },
    /// It is another interface of the kernel's now, or of another name: sockets kept on the old one
    /// are dead.
    Renumbered {
        /// As it was.
        was: Link,
        /// As it is now.
        link: Link,
    },
    /// Its addresses changed. The first one decides where a node listens.
    AddressChanged {
        /// What it had.
        was: Vec<IpNet>,
        /// As it is now.
        link: Link,
    },
    /// Its largest packet changed.
    MtuChanged {
        /// What it was, in bytes.
        was: u32,
        /// As it is now.
        link: Link,
    },
}

/// What happened between two looks.
pub fn differences(
    before: &Result<Link, LinkError>,
    now: &Result<Link, LinkError>,
) -> Vec<LinkEvent> {
    let (was, link) = match (before, now) {
        (Ok(was), Ok(link)) => (was, link),
        (Err(_), Ok(link)) => return vec![LinkEvent::Up { link: link.clone() }],
        (Ok(_), Err(error)) => return vec![LinkEvent::Down { error: error.clone() }],
        // Down for another reason is still down, but the reason is worth knowing.
        (Err(was), Err(error)) if was != error => {
            return vec![LinkEvent::Down { error: error.clone() }];
        }
        (Err(_), Err(_)) => return Vec::new(),
    };
    let mut events = Vec::new();
    if was.index() != link.index() || was.name() != link.name() {
        events.push(LinkEvent::Renumbered { was: was.clone(), link: link.clone() });
    }
    if was.addresses() != link.addresses() {
        let was = was.addresses().to_vec();
        events.push(LinkEvent::AddressChanged { was, link: link.clone() });
    }
    if was.mtu() != link.mtu() {
        events.push(LinkEvent::MtuChanged { was: was.mtu(), link: link.clone() });
    }
    events
}

/// The events of one link.
pub struct LinkEvents {
    changes: Changes,
    link: Link,
    now: Result<Link, LinkError>,
    waiting: std::collections::VecDeque<LinkEvent>,
    looked: Instant,
}

impl LinkEvents {
    /// Follows the link from what it is now.
    ///
    /// # Errors
    /// If the system does not tell of its changes.
    pub fn of(link: &Link) -> io::Result<Self> {
        let changes = Changes::subscribe()?;
        let waiting = std::collections::VecDeque::new();
        let mut events = Self {
            changes,
            link: link.clone(),
            now: Ok(link.clone()),
            waiting,
            looked: Instant::now(),
        };
        // What happened between the caller's look and the subscription.
        events.look();
        Ok(events)
    }

    /// The link as it was last seen.
    pub fn now(&self) -> &Result<Link, LinkError> {
        &self.now
    }

    /// The next event, waiting for it at most `limit`; `None` if there was none.
    ///
    /// # Errors
    /// If the system's notifications break off.
    pub fn next(&mut self, limit: Duration) -> io::Result<Option<LinkEvent>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            let due = self.looked + LOOK_EVERY;
            let changed = self.changes.wait(deadline.min(due).saturating_duration_since(now))?;
            if changed || Instant::now() >= due {
                self.look();
            }
        }
    }

    fn look(&mut self) {
        let now = self.link.refresh();
        self.looked = Instant::now();
        self.waiting.extend(differences(&self.now, &now));
        self.now = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InterfaceChoice, snapshot::*};

    fn look(change: impl Fn(&mut Interface)) -> Result<Link, LinkError> {
        let mut snapshot = Snapshot::empty(Platform::Linux);
        let mut interface = Interface {
            name: "eth0".into(),
            index: std::num::NonZeroU32::new(3),
            up: Some(true),
            carrier: Some(true),
            mtu: Some(1500),
            addresses: Some(vec![Address::new("192.168.2.1/24".parse().unwrap())]),
            ..Interface::default()
        };
        change(&mut interface);
        snapshot.interfaces = Reading::known(vec![interface], Source::new("a test"));
        Link::from_snapshot(&snapshot, &InterfaceChoice::Named("eth0".into()))
    }

    #[test]
    fn each_difference_is_one_event() {
        let before = look(|_| ());
        let kinds = |now: &Result<Link, LinkError>| {
            let events = differences(&before, now);
            let kind = |event: &LinkEvent| match event {
                LinkEvent::Down { .. } => "down",
                LinkEvent::Up { .. } => "up",
                LinkEvent::Renumbered { .. } => "renumbered",
                LinkEvent::AddressChanged { .. } => "address",
                LinkEvent::MtuChanged { .. } => "mtu",
            };
            events.iter().map(kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&before), [""; 0]);
        assert_eq!(kinds(&look(|i| i.carrier = Some(false))), ["down"]);
        assert_eq!(kinds(&look(|i| i.index = std::num::NonZeroU32::new(9))), ["renumbered"]);
        let replugged = look(|i| {
            i.index = std::num::NonZeroU32::new(9);
            i.mtu = Some(9000);
            i.addresses = Some(vec![Address::new("10.0.0.1/30".parse().unwrap())]);
        });
        assert_eq!(kinds(&replugged), ["renumbered", "address", "mtu"]);
    }

    #[test]
    fn down_is_told_once_for_each_reason() {
        let (up, pulled) = (look(|_| ()), look(|i| i.carrier = Some(false)));
        let off = look(|i| i.up = Some(false));
        assert_eq!(differences(&pulled, &pulled), []);
        assert_eq!(differences(&pulled, &off).len(), 1);
        let link = up.clone().unwrap();
        assert_eq!(differences(&off, &up), [LinkEvent::Up { link }]);
    }
}
