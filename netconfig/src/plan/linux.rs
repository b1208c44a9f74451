//! Linux: `ip` for what is now, a profile for what is after a restart.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Action, Draft, Keeper, Plan, PlanError, Wish, action::networkd_file, address};
use crate::{
    check::{FindingId, Report},
    evidence::THUNDERBOLT_NET,
    snapshot::{Interface, Platform, Reading, Snapshot},
    text::plan as say,
};

/// What an address that is changed mends.
pub(super) const ADDRESS: &[FindingId] = &[
    FindingId::AddressMissing,
    FindingId::AddressSelfAssigned,
    FindingId::AddressDhcp,
    FindingId::SubnetOverlap,
    FindingId::SameAddress,
    FindingId::PeerOutsideSubnet,
    FindingId::MaskMismatch,
];

pub(super) fn plan(
    snapshot: &Snapshot,
    report: &Report,
    wish: &Wish,
    name: &str,
) -> Result<Plan, PlanError> {
    let interface =
        snapshot.interface(name).ok_or(PlanError::NotKnown { what: say::what_interface() })?;
    let Some(addresses) = &interface.addresses else {
        return Err(PlanError::NotKnown { what: say::what_addresses() });
    };
    let mut draft = Draft::new(Platform::Linux, vec![name.to_owned()], report);
    if let Some(master) = &interface.master
        && draft.found(FindingId::AddressMissing)
    {
        // Addresses belong on the bridge or bond.
        return Err(PlanError::Member { interface: name.into(), master: master.clone() });
    }

    let own: Vec<Ipv4Net> = chosen(interface).collect();
    let pair = address::choose(snapshot, wish, name, &own, &[])?;
    draft.pair(name, pair);

    // First: with the last address the kernel takes away every route, and there would be none to drop.
    let default = snapshot.routes.items().iter().any(|route| {
        route.destination.prefix_len() == 0
            && route.destination.addr().is_ipv4()
            && route.interface.as_deref() == Some(name)
    });
    if draft.found(FindingId::RouterSet) && default {
        let action = Action::DropDefaultRoute { interface: name.to_owned() };
        draft.step(action, &[FindingId::RouterSet]);
    }
    let mtu = mtu(interface, wish);
    if let Some(mtu) = mtu {
        size(snapshot, interface, mtu, &mut draft);
    }
    let taken = || address::taken(snapshot, wish, name);
    let moves = address::Moves::of(addresses, &own, pair.own, taken);
    for net in moves.drops {
        draft.step(Action::DropAddress { interface: name.to_owned(), net }, ADDRESS);
    }
    if moves.adds {
        draft.step(Action::AddAddress { interface: name.to_owned(), net: pair.own }, ADDRESS);
    }
    if interface.up == Some(false) {
        draft.step(Action::SwitchOn { interface: name.to_owned() }, &[FindingId::LinkDown]);
    }
    let stolen = is_stolen(snapshot, wish, name, pair, &draft);
    if !draft.plan.steps.is_empty() || stolen.is_some() {
        keep(interface, wish, pair.own, mtu, &mut draft);
    }
    // Last: whoever keeps the configuration takes routes away that it did not make.
    route(name, pair, stolen, &mut draft);
    Ok(draft.finish())
}

/// Addresses that somebody chose: not the self-assigned ones, which every link may have.
pub(super) fn chosen(interface: &Interface) -> impl Iterator<Item = Ipv4Net> + '_ {
    interface.ipv4().filter(|net| !net.addr().is_link_local())
}

/// As asked for; else the lesser of both ends', so that two machines that mend at the same time do
/// not change places.
fn mtu(interface: &Interface, wish: &Wish) -> Option<u32> {
    let now = interface.mtu?;
    let wanted = wish.mtu.or_else(|| Some(wish.answered.as_ref()?.mtu?.min(now)))?;
    (wanted != now).then_some(wanted)
}

/// A bridge carries no more than its members: they come first on the way up, last on the way down.
pub(super) fn size(snapshot: &Snapshot, interface: &Interface, mtu: u32, draft: &mut Draft<'_>) {
    let set = |interface: &str| Action::SetMtu { interface: interface.to_owned(), mtu };
    let other = |member: &&String| {
        snapshot.interface(member).is_some_and(|m| m.mtu.is_some_and(|now| now != mtu))
    };
    let members: Vec<Action> =
        interface.members.iter().flatten().filter(other).map(|m| set(m)).collect();
    let own = set(&interface.name);
    let grows = interface.mtu.is_some_and(|now| now < mtu);
    let (first, last) = if grows { (members, vec![own]) } else { (vec![own], members) };
    for action in first.into_iter().chain(last) {
        draft.step(action, &[FindingId::MtuMismatch]);
    }
}

/// The peer, if another link's longer route, or one that refuses, has its packets after all steps so
/// far.
fn is_stolen(
    snapshot: &Snapshot,
    wish: &Wish,
    name: &str,
    pair: super::Pair,
    draft: &Draft<'_>,
) -> Option<Ipv4Addr> {
    let peer = wish.peer_v4().filter(|peer| *peer == pair.peer)?;
    // An address that is changed takes its routes with it.
    let keeps_routes =
        !draft.plan.steps.iter().any(|step| {
            matches!(&step.action, Action::DropAddress { .. } | Action::SwitchOn { .. })
        });
    leaves_elsewhere(snapshot, name, peer, pair.own.prefix_len(), keeps_routes).then_some(peer)
}

/// Another link's longer route to the peer is not ours to remove: one of our own goes before it.
fn route(name: &str, pair: super::Pair, stolen: Option<Ipv4Addr>, draft: &mut Draft<'_>) {
    if let Some(peer) = stolen {
        let action = Action::PreferRoute { peer, interface: name.to_owned(), own: pair.own.addr() };
        draft.step(action, &[FindingId::WrongRoute, FindingId::RouteRejected]);
        draft.plan.fleeting.push(say::fleeting_route(peer, name));
    } else if draft.found(FindingId::WrongRoute) {
        // The address, or the link that is switched on, brings the route with it: the checks after
        // the last step will tell.
        draft.last_mends(FindingId::WrongRoute);
    }
}

/// Whether another link's longer route, or one that refuses, has the peer's packets. The kernel's own
/// answer decides where it will still be true: our route may stand before the other already.
fn leaves_elsewhere(
    snapshot: &Snapshot,
    name: &str,
    peer: Ipv4Addr,
    prefix_len: u8,
    keeps_routes: bool,
) -> bool {
    let answer = snapshot.peer_routes.get(&peer.into()).and_then(Reading::value);
    if let Some(route) = answer.filter(|_| keeps_routes)
        && route.interface.as_deref() == Some(name)
        && !route.rejected
    {
        return false;
    }
    snapshot.routes.items().iter().any(|route| {
        route.destination.prefix_len() > prefix_len
            && route.destination.contains(&IpAddr::V4(peer))
            && (route.interface.as_deref() != Some(name) || route.is_rejecting())
    })
}

/// Makes what was done to the interface last, if somebody keeps its configuration.
pub(super) fn keep(
    interface: &Interface,
    wish: &Wish,
    net: Ipv4Net,
    mtu: Option<u32>,
    draft: &mut Draft<'_>,
) {
    let name = interface.name.clone();
    // A size that was asked for stays in the profile, though the link has it already.
    let mtu = mtu.or(wish.mtu);
    let Some(keeper) = wish.keepers.get(&name) else { return };
    match *keeper {
        Some(Keeper::Networkd) => {
            let text = networkd(interface, net, mtu);
            draft.step(Action::KeepNetworkd { interface: name, text }, &[]);
            let is_sized = |member: &&String| {
                draft.plan.steps.iter().any(|step| match &step.action {
                    Action::SetMtu { interface, .. } => interface == *member,
                    _ => false,
                })
            };
            let members: Vec<String> =
                interface.members.iter().flatten().filter(is_sized).cloned().collect();
            if let Some(mtu) = mtu.filter(|_| !members.is_empty()) {
                draft.plan.fleeting.push(say::fleeting_sizes(members.join(", "), mtu));
            }
        }
        // NetworkManager would take a bridge that it did not make apart to make its own.
        Some(Keeper::NetworkManager { .. }) if interface.members.is_some() => {
            draft.plan.fleeting.push(say::fleeting_bridge(name));
        }
        Some(Keeper::NetworkManager { has_profile }) => {
            let inet6 = fixed_inet6(interface);
            let action =
                Action::KeepNetworkManager { interface: name, net, inet6, mtu, has_profile };
            draft.step(action, &[]);
        }
        None => draft.plan.fleeting.push(say::fleeting_by_nobody(name)),
    }
}

/// The IPv6 addresses that somebody chose: whoever keeps the interface takes away what it does not
/// know of.
fn fixed_inet6(interface: &Interface) -> Vec<Ipv6Net> {
    let fixed = interface.addresses.iter().flatten().filter_map(|address| match address.net {
        IpNet::V6(net) if address.dynamic != Some(true) => Some(net),
        _ => None,
    });
    fixed.filter(|net| !net.addr().is_unicast_link_local()).collect()
}

/// `systemd.network(5)`. The names of Thunderbolt interfaces are not stable, their hardware
/// addresses are: the driver derives them from the machine's UUID and the port.
fn networkd(interface: &Interface, net: Ipv4Net, mtu: Option<u32>) -> String {
    let is_thunderbolt = interface.driver.as_ref().is_some_and(|d| d.name == THUNDERBOLT_NET);
    let matches = match (&interface.mac, is_thunderbolt) {
        (Some(mac), true) => format!("MACAddress={mac}"),
        _ => format!("Name={}", interface.name),
    };
    let mtu = mtu.map(|mtu| format!("MTUBytes={mtu}\n")).unwrap_or_default();
    let inet6: String =
        fixed_inet6(interface).iter().map(|net| format!("Address={net}\n")).collect();
    format!(
        "# {} is made by `tbnet setup`; `tbnet setup --undo` takes it away.\n\
         [Match]\n{matches}\n\n\
         [Link]\n{mtu}RequiredForOnline=no\n\n\
         [Network]\nAddress={net}\n{inet6}DHCP=no\nIPv6AcceptRA=no\nLinkLocalAddressing=ipv6\n\
         ConfigureWithoutCarrier=yes\n",
        networkd_file(&interface.name)
    )
}
