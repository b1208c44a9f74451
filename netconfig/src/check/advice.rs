//! Which address to advise: the guide's pair first, another if that collides with something.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{Case, wrong_port};

/// 192.168.2.0/24 is the guide's, and also what Internet Sharing and virtual machines like to take.
const SUBNETS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(192, 168, 2, 0),
    Ipv4Addr::new(192, 168, 99, 0),
    Ipv4Addr::new(10, 99, 0, 0),
    Ipv4Addr::new(172, 31, 99, 0),
];

const PREFIX_LEN: u8 = 24;

/// A pair of addresses for the two ends of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// For this machine.
    pub(super) own: Ipv4Net,
    /// For the peer.
    pub(super) peer: Ipv4Addr,
}

impl Pair {
    pub(super) fn mask(&self) -> Ipv4Addr {
        self.own.netmask()
    }
}

/// A pair in a subnet that no other link of this machine has.
pub(super) fn pair(case: &Case<'_>) -> Pair {
    // An address that is on the wrong port is given up there and moves to the link.
    let misplaced: Vec<_> = wrong_port::of_case(case).collect();
    let mut others = super::rules::other_networks(case);
    others.retain(|(other, _)| !misplaced.iter().any(|found| found.device == other.name));
    let free = |net: &Ipv4Net| {
        !others.iter().any(|(_, other)| super::rules::overlap(&IpNet::V4(*net), other))
    };
    // An address that collides with nothing is kept: the peer may know it already.
    let moved = misplaced.iter().map(|found| IpNet::V4(found.net));
    let kept = case.subject.networks().into_iter().chain(moved).find_map(|net| match net {
        IpNet::V4(net) if net.addr().is_private() && net.prefix_len() < 31 && free(&net) => {
            Some(net)
        }
        _ => None,
    });
    if let Some(own) = kept {
        let peer = case.peer.and_then(|peer| match peer {
            IpAddr::V4(peer) if own.contains(&peer) && peer != own.addr() => Some(peer),
            _ => None,
        });
        return Pair { own, peer: peer.unwrap_or_else(|| neighbour(own)) };
    }
    // A peer that already has a good address stays where it is.
    if let Some(IpAddr::V4(peer)) = case.peer
        && peer.is_private()
        && let Some(own) = partner(peer)
        && free(&own)
    {
        return Pair { own, peer };
    }
    let own = SUBNETS
        .iter()
        .filter_map(|subnet| partner(Ipv4Addr::from(u32::from(*subnet) + 2)))
        .find(free)
        .unwrap_or_else(|| Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 2, 1), PREFIX_LEN));
    Pair { own, peer: neighbour(own) }
}

/// Host 1 of the subnet, or host 2 if that is one's own.
fn neighbour(own: Ipv4Net) -> Ipv4Addr {
    let first = u32::from(own.network()).saturating_add(1);
    Ipv4Addr::from(if u32::from(own.addr()) == first { first.saturating_add(1) } else { first })
}

/// The other end for a peer.
fn partner(peer: Ipv4Addr) -> Option<Ipv4Net> {
    let net = Ipv4Net::new(peer, PREFIX_LEN).ok()?;
    Ipv4Net::new(neighbour(net), PREFIX_LEN).ok()
}
