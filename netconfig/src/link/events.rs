//! What becomes of a link, as a stream: down, up, renumbered, another address.
//!
//! [`LinkEvents`] waits for the system to say that something changed, looks at the chosen interface
//! again, and tells the differences. The differences themselves are pure ([`differences`]).

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use ipnet::IpNet;

use super::{Link, LinkError};
use crate::system::notify::Changes;

/// A link that is well is looked at this often without a word from the system: a notification that
/// never came must not hide for ever that it is gone. On a Mac a look runs commands, and nobody has
/// confirmed yet that its routing socket speaks of every change.
const LOOK_WELL: Duration = Duration::from_secs(if cfg!(target_os = "linux") { 60 } else { 10 });
/// One that cannot be used: somebody waits for it.
const LOOK_DOWN: Duration = Duration::from_secs(if cfg!(target_os = "linux") { 1 } else { 5 });
/// On a system that does not tell of its changes.
const LOOK_UNTOLD: Duration = Duration::from_secs(if cfg!(target_os = "linux") { 1 } else { 5 });

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
    /// `None` if the system does not tell of its changes: then it is looked at now and then.
    changes: Option<Changes>,
    link: Link,
    now: Result<Link, LinkError>,
    /// At most the few that one look brings: there is no other before they are told.
    waiting: VecDeque<LinkEvent>,
    looked: Instant,
}

impl LinkEvents {
    /// Follows the link from what `link` says it is.
    pub fn of(link: &Link) -> Self {
        let changes = Changes::subscribe().inspect_err(untold).ok();
        let mut events = Self {
            changes,
            link: link.clone(),
            now: Ok(link.clone()),
            waiting: VecDeque::new(),
            looked: Instant::now(),
        };
        // What happened between the caller's look and the subscription.
        events.look();
        events
    }

    /// The link as it was last seen.
    pub fn now(&self) -> &Result<Link, LinkError> {
        &self.now
    }

    /// The next event, waiting for it at most `limit`; `None` if there was none.
    pub fn next(&mut self, limit: Duration) -> Option<LinkEvent> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let now = Instant::now();
            if now >= deadline {
                return None;
            }
            let due = self.looked + self.look_every();
            let changed = self.wait(deadline.min(due).saturating_duration_since(now));
            if changed || Instant::now() >= due {
                self.look();
            }
        }
    }

    fn look_every(&self) -> Duration {
        match (&self.changes, &self.now) {
            (None, _) => LOOK_UNTOLD,
            (Some(_), Ok(_)) => LOOK_WELL,
            (Some(_), Err(_)) => LOOK_DOWN,
        }
    }

    fn wait(&mut self, limit: Duration) -> bool {
        let Some(changes) = &mut self.changes else {
            std::thread::sleep(limit);
            return false;
        };
        match changes.wait(limit) {
            Ok(changed) => changed,
            Err(error) => {
                untold(&error);
                self.changes = None;
                // What it may have had to say.
                true
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

fn untold(error: &io::Error) {
    tracing::warn!(%error, "the system does not tell of its changes: the link is looked at instead");
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
