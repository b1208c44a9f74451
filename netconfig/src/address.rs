//! Which addresses the two ends of a link get: what is right stays, then what the peer has decides,
//! then the guide's pair, then others, until one collides with nothing at either end.
//!
//! A check's advice and setup's plan both choose here: whoever follows the one on this machine and
//! the other on the peer must not end with one address on both.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

use crate::{
    peer::{self, EndReport},
    snapshot::{Address, Snapshot},
    text::{Text, plan as say},
};

/// The guide's network first; then others that nobody hands out by default.
const NETWORKS: [Ipv4Addr; 6] = [
    Ipv4Addr::new(192, 168, 2, 0),
    Ipv4Addr::new(192, 168, 99, 0),
    Ipv4Addr::new(10, 99, 0, 0),
    Ipv4Addr::new(172, 31, 99, 0),
    Ipv4Addr::new(10, 199, 7, 0),
    Ipv4Addr::new(192, 168, 199, 0),
];

/// Of every network that is chosen, and of a peer's of which no more is known.
pub(crate) const PREFIX_LEN: u8 = 24;

/// The addresses of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// This machine's.
    pub own: Ipv4Net,
    /// The peer's.
    pub peer: Ipv4Addr,
}

/// What is known of the two ends of a link.
pub(crate) struct Ends<'a> {
    /// This machine.
    pub(crate) snapshot: &'a Snapshot,
    /// The link.
    pub(crate) name: &'a str,
    /// The addresses that it has, or is to have: the first that is right is kept.
    pub(crate) own: Vec<Ipv4Net>,
    /// Devices that give their addresses up.
    pub(crate) freed: Vec<&'a str>,
    /// The peer's address, as a person gave it.
    pub(crate) peer: Option<IpAddr>,
    /// What the peer says of itself.
    pub(crate) said: Option<&'a EndReport>,
}

impl Ends<'_> {
    /// The networks of this machine's other links and, if the peer answered, of the peer's.
    pub(crate) fn taken(&self) -> Vec<(Text, Ipv4Net)> {
        let (snapshot, name) = (self.snapshot, self.name);
        let subject = snapshot.interface(name);
        let belongs = |other: &str| {
            let is_member = subject.is_some_and(|s| s.members.iter().flatten().any(|m| m == other));
            is_member || subject.is_some_and(|s| s.master.as_deref() == Some(other))
        };
        let is_freed = |device: &str| self.freed.contains(&device);
        let mut taken = Vec::new();
        for other in snapshot.interfaces.items() {
            let counts = other.name != name && !belongs(&other.name) && !is_freed(&other.name);
            if other.is_loopback() || !counts {
                continue;
            }
            // A link that is down keeps its network for when it is up again.
            taken.extend(other.ipv4().map(|net| (Text::verbatim(&other.name), net)));
        }
        // An address that is configured comes up with its cable.
        for service in snapshot.services.items() {
            let is_other = service
                .device
                .as_deref()
                .is_some_and(|device| device != name && !belongs(device) && !is_freed(device));
            let config = service.config.value().filter(|_| is_other && service.enabled);
            if let Some((address, mask)) = config.and_then(|c| c.address.zip(c.mask))
                && let Ok(net) = Ipv4Net::with_netmask(address, mask)
            {
                taken.push((Text::verbatim(&service.name), net));
            }
        }
        // A VPN may route a network that it has no address in.
        for route in snapshot.routes.items() {
            if let (IpNet::V4(net), Some(interface)) = (route.destination, &route.interface)
                && (8..32).contains(&net.prefix_len())
                && interface != name
                && !belongs(interface)
                && !is_freed(interface)
            {
                taken.push((Text::verbatim(interface), net));
            }
        }
        if let Some(report) = self.said {
            let others = report.other_networks.iter().filter_map(|net| match net {
                IpNet::V4(net) => Some((say::peers_other_links(net), *net)),
                IpNet::V6(_) => None,
            });
            taken.extend(others);
        }
        taken.retain(|(_, net)| !net.addr().is_link_local() && net.prefix_len() > 0);
        taken
    }

    /// The pair; `None` if every network that is known here is taken.
    pub(crate) fn choose(&self) -> Option<Pair> {
        let taken = self.taken();
        let free = |net: Ipv4Net| collision(&taken, net).is_none();
        let peer = self.peer_net();
        let fits = |net: &&Ipv4Net| {
            is_usable(**net)
                && free(**net)
                && peer.is_none_or(|p| net.contains(&p.addr()) && p.addr() != net.addr())
        };
        if let Some(kept) = self.own.iter().find(fits) {
            let own = narrowed(*kept, self.said_net());
            return Some(Pair { own, peer: peer.map_or_else(|| neighbour(own), |p| p.addr()) });
        }
        if let Some(peer) = peer
            && is_usable(peer)
            && free(peer)
        {
            return Some(Pair { own: with_address(peer, neighbour(peer)), peer: peer.addr() });
        }
        let network = NETWORKS
            .iter()
            .map(|network| Ipv4Net::new_assert(*network, PREFIX_LEN))
            .find(|network| free(*network) && peer.is_none_or(|p| !network.contains(&p.addr())))?;
        let host = |n: u32| Ipv4Addr::from(u32::from(network.network()) + n);
        let (own, peer) = if self.is_second() { (host(2), host(1)) } else { (host(1), host(2)) };
        Some(Pair { own: with_address(network, own), peer })
    }

    /// The peer's address on the link with its network: as it says itself, else as given.
    pub(crate) fn peer_net(&self) -> Option<Ipv4Net> {
        self.said_net().or_else(|| Ipv4Net::new(self.peer_v4()?, PREFIX_LEN).ok())
    }

    /// The same as the peer itself says it.
    fn said_net(&self) -> Option<Ipv4Net> {
        let given = self.peer_v4();
        let mut said =
            self.said.iter().flat_map(|report| &report.addresses).filter_map(|net| match net {
                IpNet::V4(net) if is_usable(*net) => Some(*net),
                _ => None,
            });
        said.find(|net| given.is_none_or(|given| given == net.addr()))
    }

    fn peer_v4(&self) -> Option<Ipv4Addr> {
        match self.peer {
            Some(IpAddr::V4(peer)) => Some(peer),
            _ => None,
        }
    }

    /// Two machines that set themselves up without having spoken must not take the same address.
    /// Both ends of a cable see the UUIDs of both ends: the greater takes the second address. Where
    /// they are not seen, or there are several peers, this machine takes the first.
    fn is_second(&self) -> bool {
        if self.said.is_some() && self.peer_v4().is_some() {
            // The peer is reachable where it is: it has chosen first.
            return false;
        }
        let cables = peer::cables(self.snapshot, self.name);
        match cables.as_slice() {
            [peer::Cable { own_domain: Some(own), far_domain: Some(far), .. }] => own > far,
            _ => false,
        }
    }
}

/// Linux: which addresses go and come so that a link has its own of a pair.
pub(crate) struct Moves {
    /// Those that go, in this order.
    pub(crate) drops: Vec<Ipv4Net>,
    /// The new one comes.
    pub(crate) adds: bool,
}

impl Moves {
    /// From all `addresses` of the link, of which somebody chose `own`, to `wanted`.
    pub(crate) fn of(
        addresses: &[Address],
        own: &[Ipv4Net],
        wanted: Ipv4Net,
        taken: impl FnOnce() -> Vec<(Text, Ipv4Net)>,
    ) -> Self {
        let is_leased = |a: &Address| a.dynamic == Some(true) && a.net == IpNet::V4(wanted);
        let leased = addresses.iter().any(is_leased);
        if !own.contains(&wanted) || leased {
            // Whatever else is there is what was found wrong, and would be chosen to send from.
            return Self { drops: own.iter().rev().copied().collect(), adds: true };
        }
        let taken = taken();
        let collides = |net: &Ipv4Net| collision(&taken, *net).is_some();
        Self { drops: own.iter().rev().copied().filter(collides).collect(), adds: false }
    }
}

/// What of `taken` the network overlaps with.
pub(crate) fn collision(taken: &[(Text, Ipv4Net)], net: Ipv4Net) -> Option<&Text> {
    let overlaps =
        |other: &Ipv4Net| net.contains(&other.network()) || other.contains(&net.network());
    taken.iter().find(|(_, other)| overlaps(other)).map(|(whose, _)| whose)
}

/// Of two masks the longer, if the address fits it, so that two machines that mend at the same time
/// do not change places.
fn narrowed(own: Ipv4Net, said: Option<Ipv4Net>) -> Ipv4Net {
    let narrow = said.filter(|said| said.prefix_len() > own.prefix_len());
    narrow
        .filter(|said| said.contains(&own.addr()))
        .map(|said| with_address(said, own.addr()))
        .filter(|net| is_usable(*net))
        .unwrap_or(own)
}

/// An address that a host can have, in a network with room for two.
pub(crate) fn is_usable(net: Ipv4Net) -> bool {
    let ip = net.addr();
    net.prefix_len() <= 30
        && !is_nobody(&net.into(), ip.into())
        && !ip.is_link_local()
        && !ip.is_loopback()
        && !ip.is_multicast()
        && !ip.is_broadcast()
        // Neither "this network" nor what is reserved for ever.
        && !matches!(ip.octets()[0], 0 | 240..)
}

/// The first and the last address of a network are no machine's.
pub(crate) fn is_nobody(net: &IpNet, ip: IpAddr) -> bool {
    let has_them = net.addr().is_ipv4() && net.prefix_len() <= 30;
    has_them && (ip == net.network() || ip == net.broadcast())
}

fn with_address(net: Ipv4Net, ip: Ipv4Addr) -> Ipv4Net {
    Ipv4Net::new(ip, net.prefix_len()).unwrap_or(net)
}

/// Host 1 of the network, or host 2 if that is the address itself.
pub(crate) fn neighbour(net: Ipv4Net) -> Ipv4Addr {
    let first = u32::from(net.network()) + 1;
    Ipv4Addr::from(if u32::from(net.addr()) == first { first + 1 } else { first })
}
