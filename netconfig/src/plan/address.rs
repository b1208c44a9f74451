//! Which addresses a plan gives: those that a person chose, if they can be; else as for everyone.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{PlanError, Wish};
pub use crate::address::Pair;
pub(super) use crate::address::{Moves, PREFIX_LEN, collision};
use crate::{
    address::{Ends, is_usable, neighbour},
    snapshot::{Snapshot, ThunderboltPort},
    text::{Text, plan as say},
};

fn ends<'a>(
    snapshot: &'a Snapshot,
    wish: &'a Wish,
    name: &'a str,
    own: &[Ipv4Net],
    freed: &[&'a str],
) -> Ends<'a> {
    let (peer, said) = (wish.peer, wish.answered.as_ref());
    Ends { snapshot, name, own: own.to_vec(), freed: freed.to_vec(), peer, said }
}

/// The networks that the link's may not overlap with.
pub(super) fn taken(snapshot: &Snapshot, wish: &Wish, name: &str) -> Vec<(Text, Ipv4Net)> {
    ends(snapshot, wish, name, &[], &[]).taken()
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
    let ends = ends(snapshot, wish, name, own, freed);
    match wish.address {
        Some(address) => by_hand(address, &ends),
        None => ends.choose().ok_or(PlanError::NoFreeNetwork),
    }
}

fn by_hand(address: Ipv4Net, ends: &Ends<'_>) -> Result<Pair, PlanError> {
    let refuse = |with: Text| {
        let another = ends.choose().is_some();
        PlanError::Collides { address, with, another }
    };
    if !is_usable(address) {
        return Err(refuse(say::collides_no_host()));
    }
    if let Some(other) = collision(&ends.taken(), address) {
        return Err(refuse(say::collides_overlap(other)));
    }
    match ends.peer_net().map(|net| net.addr()) {
        Some(peer) if peer == address.addr() => Err(refuse(say::collides_peer())),
        Some(peer) if address.contains(&peer) => Ok(Pair { own: address, peer }),
        // The peer is to stay where it was said to be.
        Some(peer) if ends.peer == Some(peer.into()) => {
            Err(refuse(say::collides_without_peer(peer)))
        }
        _ => Ok(Pair { own: address, peer: neighbour(address) }),
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
