//! A validated link: the only key that opens a transport.
//!
//! A [`Link`] can be had only from a snapshot (or from the system, through one), and only for an
//! interface that exists, is up, has a carrier and has an address. Its [`LinkKind`] is
//! [`LinkKind::Thunderbolt`] by driver or port evidence alone; whatever else a person names is
//! [`LinkKind::ByHand`], `lo` and a veth called `thunderbolt0` included, and wants a cluster key.
//!
//! `error` holds what can be wrong and what to do about it, [`events`] what becomes of a link.

mod error;
pub mod events;

use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    num::NonZeroU32,
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::error::LinkError;
pub use crate::evidence::Evidence;
use crate::{
    evidence,
    snapshot::{Interface, Platform, Reading, Snapshot},
    system,
    text::link as say,
};

/// What sort of link it is. It decides how far the other end may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// Shown by driver or port evidence to be a Thunderbolt cable.
    Thunderbolt,
    /// Any interface that a person named.
    ByHand,
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thunderbolt => "thunderbolt",
            Self::ByHand => "by-hand",
        })
    }
}

/// Which interface is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceChoice {
    /// The one validated Thunderbolt link, and nothing else.
    Auto,
    /// The interface of this name, whatever it is.
    Named(String),
}

impl FromStr for InterfaceChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" => Self::Auto,
            name => Self::Named(name.to_owned()),
        })
    }
}

impl fmt::Display for InterfaceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Named(name) => name,
        })
    }
}

/// A validated link. It has no public constructor but [`Link::open`], [`Link::from_snapshot`] and
/// [`Link::refresh`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    choice: InterfaceChoice,
    name: String,
    index: NonZeroU32,
    kind: LinkKind,
    evidence: Evidence,
    mtu: u32,
    /// Never empty.
    addresses: Vec<IpNet>,
}

impl Link {
    /// Asks the system (its quick sources only) and validates the chosen interface.
    ///
    /// # Errors
    /// See [`LinkError`]: every variant has a hint.
    pub fn open(choice: &InterfaceChoice) -> Result<Self, LinkError> {
        Self::from_snapshot(&system::quick(), choice)
    }

    /// Validates the chosen interface against a snapshot. Asks nothing of the system.
    ///
    /// # Errors
    /// See [`LinkError`]: every variant has a hint.
    pub fn from_snapshot(snapshot: &Snapshot, choice: &InterfaceChoice) -> Result<Self, LinkError> {
        let interfaces = match &snapshot.interfaces {
            Reading::Known { value, .. } => value,
            Reading::Unknown { source, why } => {
                let asked = choice.to_string();
                return Err(LinkError::unanswered(&asked, source.clone(), why.clone()));
            }
            Reading::NotApplicable => {
                return Err(LinkError::NotKnown {
                    interface: choice.to_string(),
                    what: say::the_interfaces(),
                });
            }
        };
        match choice {
            InterfaceChoice::Auto => Self::auto(snapshot, interfaces),
            InterfaceChoice::Named(name) => {
                let interface = interfaces.iter().find(|i| i.name == *name).ok_or_else(|| {
                    LinkError::UnknownInterface {
                        interface: name.clone(),
                        existing: interfaces.iter().map(|i| i.name.clone()).collect(),
                    }
                })?;
                let evidence = evidence::of(snapshot, interface)
                    .map_err(|u| LinkError::unanswered(name, u.source, u.why))?
                    .unwrap_or(Evidence::ChosenByHand);
                Self::validate(choice, snapshot.platform, interface, evidence)
            }
        }
    }

    /// The same choice again, as the system is now: a new index and new addresses after hot-plug.
    ///
    /// # Errors
    /// As [`Link::open`], and [`LinkError::KindChanged`] if a Thunderbolt link has lost its
    /// evidence: trust given to a cable must not pass to something else of the same name.
    pub fn refresh(&self) -> Result<Self, LinkError> {
        self.refreshed(&system::quick())
    }

    fn refreshed(&self, snapshot: &Snapshot) -> Result<Self, LinkError> {
        let choice = self.renumbered(snapshot).unwrap_or_else(|| self.choice.clone());
        let now = Self::from_snapshot(snapshot, &choice)?;
        let receptacle = self.evidence.receptacle();
        if receptacle.is_some() && now.evidence.receptacle() != receptacle {
            // Its name is another port's now: whoever is at that cable was not chosen.
            let what = say::its_port();
            return Err(LinkError::NotKnown { interface: now.name, what });
        }
        if self.kind == LinkKind::Thunderbolt && now.kind != LinkKind::Thunderbolt {
            return Err(LinkError::KindChanged {
                interface: now.name,
                was: self.kind,
                now: now.kind,
            });
        }
        Ok(now)
    }

    /// The port that a person named by its device, if that device is another now: macOS may number
    /// them anew after a replug, and the receptacle stays what it is.
    fn renumbered(&self, snapshot: &Snapshot) -> Option<InterfaceChoice> {
        let InterfaceChoice::Named(name) = &self.choice else { return None };
        let device = evidence::device_at(snapshot, self.evidence.receptacle()?)?;
        (device != name).then(|| InterfaceChoice::Named(device.to_owned()))
    }

    fn auto(snapshot: &Snapshot, interfaces: &[Interface]) -> Result<Self, LinkError> {
        let mut usable = Vec::new();
        let mut unusable = Vec::new();
        let mut by_hand = Vec::new();
        for interface in interfaces {
            // A member of a bridge carries no address of its own: the bridge is the candidate.
            let candidate = match evidence::of(snapshot, interface) {
                Ok(evidence) => evidence.filter(|_| interface.master.is_none()),
                Err(undecided) => {
                    return Err(LinkError::unanswered("auto", undecided.source, undecided.why));
                }
            };
            match candidate {
                Some(evidence) => {
                    let choice = InterfaceChoice::Auto;
                    match Self::validate(&choice, snapshot.platform, interface, evidence) {
                        Ok(link) => usable.push(link),
                        Err(error) => unusable.push(error),
                    }
                }
                None if bindable(interface).next().is_some() => {
                    by_hand.push(interface.name.clone());
                }
                None => {}
            }
        }
        match (usable.pop(), usable.is_empty()) {
            (Some(link), true) => Ok(link),
            (Some(link), false) => {
                usable.push(link);
                Err(LinkError::SeveralThunderbolt {
                    interfaces: usable.into_iter().map(|l| l.name).collect(),
                })
            }
            (None, _) if unusable.len() == 1 => Err(unusable.remove(0)),
            (None, _) => {
                Err(LinkError::NoThunderbolt { platform: snapshot.platform, unusable, by_hand })
            }
        }
    }

    fn validate(
        choice: &InterfaceChoice,
        platform: Platform,
        interface: &Interface,
        evidence: Evidence,
    ) -> Result<Self, LinkError> {
        let name = &interface.name;
        let kind = match evidence {
            Evidence::ChosenByHand => LinkKind::ByHand,
            _ => LinkKind::Thunderbolt,
        };
        let not_known = |what| LinkError::NotKnown { interface: name.clone(), what };
        match interface.up {
            Some(true) => {}
            Some(false) => return Err(LinkError::Down { interface: name.clone(), platform }),
            None => return Err(not_known(say::whether_up())),
        }
        match interface.carrier {
            Some(true) => {}
            Some(false) => return Err(LinkError::NoCarrier { interface: name.clone(), kind }),
            // Tunnels have no carrier to speak of; a cable always says.
            None if kind == LinkKind::ByHand => {}
            None => return Err(not_known(say::whether_carrier())),
        }
        if interface.addresses.is_none() {
            return Err(not_known(say::which_addresses()));
        }
        let mut addresses: Vec<IpNet> = bindable(interface).collect();
        addresses.sort_by_key(preference);
        if addresses.is_empty() {
            return Err(LinkError::NoAddress {
                interface: name.clone(),
                master: interface.master.clone(),
                platform,
            });
        }
        Ok(Self {
            choice: choice.clone(),
            name: name.clone(),
            index: interface.index.ok_or_else(|| not_known(say::its_index()))?,
            kind,
            evidence,
            mtu: interface.mtu.ok_or_else(|| not_known(say::its_mtu()))?,
            addresses,
        })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's index of the interface: what a socket is pinned to. Hot-plug changes it.
    pub fn index(&self) -> NonZeroU32 {
        self.index
    }

    /// What sort of link it is.
    pub fn kind(&self) -> LinkKind {
        self.kind
    }

    /// Why it is called that.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Largest packet, in bytes.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Its addresses with their networks, never empty: IPv4 first (self-assigned last among them),
    /// then global IPv6, then link-local IPv6.
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// The address to listen on by default: the first of [`Link::addresses`].
    pub fn address(&self) -> IpAddr {
        self.addresses[0].addr()
    }

    /// Whether `ip` is inside one of the link's own networks.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.contains(&ip))
    }

    /// The link's own address with `port`, with the scope id where IPv6 link-local needs it.
    pub fn socket_addr(&self, port: u16) -> SocketAddr {
        self.peer_addr(self.address(), port)
    }

    /// A peer's address with `port`, with the scope id where IPv6 link-local needs it.
    pub fn peer_addr(&self, ip: IpAddr, port: u16) -> SocketAddr {
        match ip {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                SocketAddrV6::new(v6, port, 0, self.index.get()).into()
            }
            ip => SocketAddr::new(ip, port),
        }
    }
}

/// The addresses that a socket can be bound to now.
fn bindable(interface: &Interface) -> impl Iterator<Item = IpNet> + '_ {
    interface.addresses.iter().flatten().filter(|a| !a.tentative).map(|a| a.net)
}

fn preference(net: &IpNet) -> u8 {
    match net.addr() {
        IpAddr::V4(ip) if !ip.is_link_local() => 0,
        IpAddr::V4(_) => 1,
        IpAddr::V6(ip) if !ip.is_unicast_link_local() => 2,
        IpAddr::V6(_) => 3,
    }
}

#[cfg(test)]
mod tests;
