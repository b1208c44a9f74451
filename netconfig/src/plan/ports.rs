//! Per-port mode: no bridge, one /30 per cable. Both ends find the same addresses without a word,
//! because both see the domain UUIDs of both ends.

use ipnet::{IpNet, Ipv4Net};

use super::{
    Action, Draft, Pair, Plan, PlanError, Wish, action::Action as A, address, linux, macos,
};
use crate::{
    Evidence,
    check::{FindingId, Report, bridge_device},
    snapshot::{Interface, Platform, Reading, Service, Snapshot, ThunderboltPort},
    text::{Text, plan as say},
};

pub(super) fn plan(snapshot: &Snapshot, report: &Report, wish: &Wish) -> Result<Plan, PlanError> {
    let Reading::Known { value: ports, .. } = &snapshot.thunderbolt_ports else {
        return Err(PlanError::NotKnown { what: say::what_ports() });
    };
    let platform = snapshot.platform;
    let mut draft = Draft::new(platform, Vec::new(), report);
    let mut empty = Vec::new();
    for port in ports {
        let because = |reason| say::port_because(label(platform, port), reason);
        if port.peers().next().is_none() {
            empty.push(because(say::port_no_computer()));
            continue;
        }
        match one(snapshot, wish, port, &mut draft) {
            Ok(device) => draft.plan.interfaces.push(device),
            Err(reason) => draft.plan.skipped.push(because(reason)),
        }
    }
    if draft.plan.interfaces.is_empty() {
        let mut why = std::mem::take(&mut draft.plan.skipped);
        why.append(&mut empty);
        if why.is_empty() {
            why.push(say::port_nothing_plugged());
        }
        return Err(PlanError::NoPort { why, platform });
    }
    Ok(draft.finish())
}

/// The interfaces that are shown to be cables by themselves.
pub(super) fn interfaces(snapshot: &Snapshot) -> impl Iterator<Item = &Interface> {
    let is_cable = |interface: &&Interface| {
        matches!(
            snapshot.evidence(&interface.name),
            Some(Evidence::ThunderboltNetDriver { .. } | Evidence::ThunderboltPort { .. })
        )
    };
    snapshot.interfaces.items().iter().filter(is_cable)
}

/// Receptacles are numbered by machine on macOS and by bus on Linux.
fn label(platform: Platform, port: &ThunderboltPort) -> Text {
    match (&port.receptacle, platform) {
        (Some(receptacle), Platform::MacOs) => say::port_named(receptacle),
        (Some(receptacle), Platform::Linux) => say::port_on_bus(receptacle, &port.bus),
        (None, _) => Text::verbatim(&port.bus),
    }
}

/// Adds the steps for one port and gives its device, or says why it is left alone.
fn one(
    snapshot: &Snapshot,
    wish: &Wish,
    port: &ThunderboltPort,
    draft: &mut Draft<'_>,
) -> Result<String, Text> {
    let (own, far) = address::cabled(port).ok_or_else(say::port_no_uuids)?;
    let interface = interface_of(snapshot, port)?;
    if let Some(master) = &interface.master {
        return Err(say::port_of_bridge(&interface.name, master));
    }
    let pair = address::of_cable(own, far).ok_or_else(say::port_leads_back)?;
    let taken = taken(snapshot, wish, interface, pair);
    if let Some(other) = address::collision(&taken, pair.own) {
        return Err(say::port_overlaps(pair.own.trunc(), other));
    }
    let same = |step: &super::Step| match &step.action {
        A::AddAddress { net, .. } | A::SetManual { net, .. } => net.trunc() == pair.own.trunc(),
        _ => false,
    };
    if draft.plan.steps.iter().any(same) {
        return Err(say::port_second_cable());
    }
    match snapshot.platform {
        Platform::MacOs => service(snapshot, wish, interface, pair, draft)?,
        Platform::Linux => plain(snapshot, wish, interface, pair, draft)?,
    }
    draft.pair(&interface.name, pair);
    if let Some(bridge) = returning_bridge(snapshot, &interface.name) {
        draft.plan.fleeting.push(say::fleeting_port(&interface.name, bridge));
    }
    Ok(interface.name.clone())
}

/// macOS: the bridge that takes the port back when it is made anew: it has it as a member by the
/// settings or, where these are not known, is listed and is not there.
fn returning_bridge(snapshot: &Snapshot, device: &str) -> Option<String> {
    match snapshot.preferences.value() {
        Some(preferences) => {
            let mut bridges = preferences.bridges.iter();
            let has = bridges.find(|bridge| bridge.members.iter().any(|member| member == device));
            has.map(|bridge| bridge.device.clone())
        }
        None => bridge_device(snapshot).filter(|bridge| snapshot.interface(bridge).is_none()),
    }
}

/// What the /30 may not overlap with. A peer that was asked over one cable has the /30 of another at
/// its end already.
fn taken(
    snapshot: &Snapshot,
    wish: &Wish,
    interface: &Interface,
    pair: Pair,
) -> Vec<(Text, Ipv4Net)> {
    let mut wish = wish.clone();
    if let Some(peer) = &mut wish.answered {
        peer.other_networks.retain(|net| net.trunc() != IpNet::V4(pair.own.trunc()));
    }
    address::taken(snapshot, &wish, &interface.name)
}

fn interface_of<'a>(snapshot: &'a Snapshot, port: &ThunderboltPort) -> Result<&'a Interface, Text> {
    let found = snapshot.device_of(port).and_then(|device| snapshot.interface(device));
    found.or_else(|| only_one(snapshot)).ok_or_else(say::port_interface_unknown)
}

/// Linux: where the kernel does not say at which port an interface is, there is no doubt with one
/// of each.
fn only_one(snapshot: &Snapshot) -> Option<&Interface> {
    if snapshot.platform != Platform::Linux {
        return None;
    }
    let mut all = interfaces(snapshot);
    let first = all.next().filter(|first| first.cable_port.is_none() && all.next().is_none())?;
    let ports = snapshot.thunderbolt_ports.items().iter();
    let cables = ports.filter(|port| port.peers().next().is_some()).count();
    (cables == 1).then_some(first)
}

/// Of `ids`, those that steps on `device` may mend: what was found of another interface stays, and
/// what was found without one (a bridge that is missing) each port makes up for.
fn mends<'a>(draft: &Draft<'_>, device: &str, ids: &'a [FindingId]) -> &'a [FindingId] {
    let judged = draft.report.judged.as_ref();
    if judged.is_none_or(|judged| judged.interface == device) { ids } else { &[] }
}

/// What an address mends of `ids`: what was found about the way to the peer only if that is the peer
/// of this cable, and then the route comes with it.
fn towards(wish: &Wish, pair: Pair, ids: &[FindingId]) -> Vec<FindingId> {
    if ids.is_empty() {
        return Vec::new();
    }
    if wish.peer_v4() == Some(pair.peer) {
        return [ids, &[FindingId::WrongRoute]].concat();
    }
    let about_peer =
        [FindingId::SameAddress, FindingId::PeerOutsideSubnet, FindingId::MaskMismatch];
    ids.iter().copied().filter(|id| !about_peer.contains(id)).collect()
}

/// A size that a person chose, if it is not so already. The peer's own is that of another cable,
/// for all that is known.
fn mtu(interface: &Interface, wish: &Wish) -> Option<u32> {
    let now = interface.mtu?;
    wish.mtu.filter(|mtu| *mtu != now)
}

fn plain(
    snapshot: &Snapshot,
    wish: &Wish,
    interface: &Interface,
    pair: Pair,
    draft: &mut Draft<'_>,
) -> Result<(), Text> {
    let Some(addresses) = &interface.addresses else {
        return Err(say::port_addresses_unknown());
    };
    let name = || interface.name.clone();
    let before = draft.plan.steps.len();
    let mtu = mtu(interface, wish);
    if let Some(mtu) = mtu {
        let ids = mends(draft, &interface.name, &[FindingId::MtuMismatch]);
        draft.step(Action::SetMtu { interface: name(), mtu }, ids);
    }
    let own: Vec<Ipv4Net> = linux::chosen(interface).collect();
    let moves =
        address::Moves::of(addresses, &own, pair.own, || taken(snapshot, wish, interface, pair));
    let ids = towards(wish, pair, mends(draft, &interface.name, linux::ADDRESS));
    for net in moves.drops {
        draft.step(Action::DropAddress { interface: name(), net }, &ids);
    }
    if moves.adds {
        draft.step(Action::AddAddress { interface: name(), net: pair.own }, &ids);
    }
    if interface.up == Some(false) {
        let ids = mends(draft, &interface.name, &[FindingId::LinkDown]);
        draft.step(Action::SwitchOn { interface: name() }, ids);
    }
    if draft.plan.steps.len() > before {
        linux::keep(interface, wish, pair.own, mtu, draft);
    }
    Ok(())
}

fn service(
    snapshot: &Snapshot,
    wish: &Wish,
    interface: &Interface,
    pair: Pair,
    draft: &mut Draft<'_>,
) -> Result<(), Text> {
    let Reading::Known { value: services, .. } = &snapshot.services else {
        return Err(say::port_services_unknown());
    };
    let device = &interface.name;
    let mine = || services.iter().filter(|s| s.device.as_ref() == Some(device));
    let existing: Option<&Service> = mine().find(|s| s.enabled).or_else(|| mine().next());
    let name = match existing {
        Some(service) => service.name.clone(),
        None => {
            let port = snapshot.hardware_port(device).map_or(device.as_str(), |p| p.port.as_str());
            macos::free_name(services, port)
        }
    };
    let config = existing.and_then(|s| s.config.value());
    if existing.is_some() && config.is_none() {
        // It could not be put back.
        return Err(say::port_config_unknown(name));
    }
    match existing {
        None => {
            let ids = mends(draft, device, &[FindingId::BridgeMissing, FindingId::ServiceMissing]);
            let action = Action::CreateService { service: name.clone(), device: device.clone() };
            draft.step(action, ids);
        }
        Some(service) if !service.enabled => {
            let ids = mends(draft, device, &[FindingId::ServiceDisabled]);
            draft.step(Action::EnableService { service: name.clone() }, ids);
        }
        Some(_) => {}
    }
    if !config.is_some_and(|config| config.is_manually(pair.own)) {
        let ids = [macos::ADDRESS, &[FindingId::BridgeMissing]].concat();
        let ids = towards(wish, pair, mends(draft, device, &ids));
        draft.step(Action::SetManual { service: name, net: pair.own }, &ids);
    }
    if let Some(mtu) = mtu(interface, wish) {
        let ids = mends(draft, device, macos::SIZE);
        draft.step(Action::SetDeviceMtu { device: device.clone(), mtu }, ids);
    }
    Ok(())
}
