//! Which addresses the two ends get: what is right stays, then what the peer has decides, then the
//! guide's pair, then others, until one collides with nothing at either end.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

use super::{PlanError, Wish};
use crate::{
    peer,
    snapshot::{Snapshot, ThunderboltPort},
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

const PREFIX_LEN: u8 = 24;

/// The addresses of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// This machine's.
    pub own: Ipv4Net,
    /// The peer's.
    pub peer: Ipv4Addr,
}

/// The networks of this machine's other links and, if the peer answered, of the peer's.
/// Devices in `freed` give theirs up.
pub(super) fn taken(
    snapshot: &Snapshot,
    wish: &Wish,
    name: &str,
    freed: &[&str],
) -> Vec<(Text, Ipv4Net)> {
    let subject = snapshot.interface(name);
    let belongs = |other: &str| {
        let is_member = subject.is_some_and(|s| s.members.iter().flatten().any(|m| m == other));
        is_member || subject.is_some_and(|s| s.master.as_deref() == Some(other))
    };
    let is_freed = |device: &str| freed.contains(&device);
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
    if let Some(report) = &wish.answered {
        let others = report.other_networks.iter().filter_map(|net| match net {
            IpNet::V4(net) => Some((say::peers_other_links(net), *net)),
            IpNet::V6(_) => None,
        });
        taken.extend(others);
    }
    taken.retain(|(_, net)| !net.addr().is_link_local() && net.prefix_len() > 0);
    taken
}

/// What of `taken` the network overlaps with.
pub(super) fn collision(taken: &[(Text, Ipv4Net)], net: Ipv4Net) -> Option<&Text> {
    let overlaps =
        |other: &Ipv4Net| net.contains(&other.network()) || other.contains(&net.network());
    taken.iter().find(|(_, other)| overlaps(other)).map(|(whose, _)| whose)
}

/// Chooses the pair for the link `name`, which has the addresses `own`; devices in `freed` give
/// theirs up.
pub(super) fn choose(
    snapshot: &Snapshot,
    wish: &Wish,
    name: &str,
    own: &[Ipv4Net],
    freed: &[&str],
) -> Result<Pair, PlanError> {
    let taken = taken(snapshot, wish, name, freed);
    let free = |net: Ipv4Net| collision(&taken, net).is_none();
    let peer = peer_net(wish);
    if let Some(address) = wish.address {
        return by_hand(address, peer, &taken);
    }
    let fits = |net: &&Ipv4Net| {
        is_usable(**net)
            && free(**net)
            && peer.is_none_or(|p| net.contains(&p.addr()) && p.addr() != net.addr())
    };
    if let Some(kept) = own.iter().find(fits) {
        let kept = &narrowed(*kept, said_net(wish));
        return Ok(Pair { own: *kept, peer: peer.map_or_else(|| neighbour(*kept), |p| p.addr()) });
    }
    if let Some(peer) = peer
        && is_usable(peer)
        && free(peer)
    {
        return Ok(Pair { own: with_address(peer, neighbour(peer)), peer: peer.addr() });
    }
    let second = is_second(snapshot, wish, name);
    let network = NETWORKS
        .iter()
        .map(|network| Ipv4Net::new_assert(*network, PREFIX_LEN))
        .find(|network| free(*network) && peer.is_none_or(|p| !network.contains(&p.addr())))
        .ok_or(PlanError::NoFreeNetwork)?;
    let host = |n: u32| Ipv4Addr::from(u32::from(network.network()) + n);
    let (own, peer) = if second { (host(2), host(1)) } else { (host(1), host(2)) };
    Ok(Pair { own: with_address(network, own), peer })
}

fn by_hand(
    address: Ipv4Net,
    peer: Option<Ipv4Net>,
    taken: &[(Text, Ipv4Net)],
) -> Result<Pair, PlanError> {
    let refuse = |with: Text| PlanError::Collides { address, with };
    if !is_usable(address) {
        return Err(refuse(say::collides_no_host()));
    }
    if let Some(other) = collision(taken, address) {
        return Err(refuse(say::collides_overlap(other)));
    }
    match peer {
        Some(peer) if peer.addr() == address.addr() => Err(refuse(say::collides_peer())),
        Some(peer) if address.contains(&peer.addr()) => {
            Ok(Pair { own: address, peer: peer.addr() })
        }
        _ => Ok(Pair { own: address, peer: neighbour(address) }),
    }
}

/// The peer's address on the link with its network: as it says itself, else as given.
fn peer_net(wish: &Wish) -> Option<Ipv4Net> {
    said_net(wish).or_else(|| Ipv4Net::new(wish.peer_v4()?, PREFIX_LEN).ok())
}

/// The same as the peer itself says it.
fn said_net(wish: &Wish) -> Option<Ipv4Net> {
    let given = wish.peer_v4();
    let mut said =
        wish.answered.iter().flat_map(|report| &report.addresses).filter_map(|net| match net {
            IpNet::V4(net) if is_usable(*net) => Some(*net),
            _ => None,
        });
    said.find(|net| given.is_none_or(|given| given == net.addr()))
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
fn is_usable(net: Ipv4Net) -> bool {
    let ip = net.addr();
    net.prefix_len() <= 30
        && ip != net.network()
        && ip != net.broadcast()
        && !ip.is_link_local()
        && !ip.is_loopback()
        && !ip.is_multicast()
        && !ip.is_unspecified()
}

fn with_address(net: Ipv4Net, ip: Ipv4Addr) -> Ipv4Net {
    Ipv4Net::new(ip, net.prefix_len()).unwrap_or(net)
}

/// Host 1 of the network, or host 2 if that is the address itself.
fn neighbour(net: Ipv4Net) -> Ipv4Addr {
    let first = u32::from(net.network()) + 1;
    Ipv4Addr::from(if u32::from(net.addr()) == first { first + 1 } else { first })
}

/// Two machines that set themselves up without having spoken must not take the same address. Both
/// ends of a cable see the UUIDs of both ends: the greater takes the second address. Where they are
/// not seen, or there are several peers, this machine takes the first.
fn is_second(snapshot: &Snapshot, wish: &Wish, name: &str) -> bool {
    if wish.answered.is_some() && wish.peer_v4().is_some() {
        // The peer is reachable where it is: it has chosen first.
        return false;
    }
    let cables = peer::cables(snapshot, name);
    match cables.as_slice() {
        [peer::Cable { own_domain: Some(own), far_domain: Some(far), .. }] => own > far,
        _ => false,
    }
}

/// The /30 of a cable, the same at both ends without a word: derived from the UUIDs of its ends.
/// The end with the lesser UUID has the first address.
pub(super) fn of_cable(own: &str, far: &str) -> Option<Pair> {
    let (own, far) = (own.to_ascii_lowercase(), far.to_ascii_lowercase());
    let is_first = own < far;
    let (less, greater) = if is_first { (&own, &far) } else { (&far, &own) };
    if own == far {
        return None;
    }
    // FNV-1a, 64 bits: nothing hangs on its strength, only on both ends having the same.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in less.bytes().chain([b'-']).chain(greater.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let block = u32::try_from(hash % (1 << 14)).ok()?;
    let network = u32::from(Ipv4Addr::new(10, 97, 0, 0)) + 4 * block;
    let host = |n: u32| Ipv4Addr::from(network + n);
    let (own, peer) = if is_first { (host(1), host(2)) } else { (host(2), host(1)) };
    Some(Pair { own: Ipv4Net::new(own, 30).ok()?, peer })
}

/// Ports with a computer at the other end, and both UUIDs known.
pub(super) fn cabled(port: &ThunderboltPort) -> Option<(&str, &str)> {
    let own = port.domain_uuid.as_deref()?;
    let mut peers = port.peers();
    let far = peers.next()?.domain_uuid.as_deref()?;
    peers.next().is_none().then_some((own, far))
}
