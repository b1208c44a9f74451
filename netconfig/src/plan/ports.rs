//! Per-port mode: no bridge, one /30 per cable. Both ends find the same addresses without a word,
//! because both see the domain UUIDs of both ends.

use super::{Action, Draft, Plan, PlanError, Wish, action::Action as A, address, macos};
use crate::{
    check::{FindingId, Report},
    snapshot::{ConfigMethod, Interface, Platform, Reading, Service, Snapshot, ThunderboltPort},
    text::{Text, plan as say},
};

pub(super) fn plan(snapshot: &Snapshot, report: &Report, wish: &Wish) -> Result<Plan, PlanError> {
    let Reading::Known { value: ports, .. } = &snapshot.thunderbolt_ports else {
        return Err(PlanError::NotKnown { what: say::what_ports() });
    };
    let mut draft = Draft::new(snapshot.platform, Vec::new(), report);
    let mut why = Vec::new();
    for port in ports {
        match one(snapshot, wish, port, &mut draft) {
            Ok(device) => draft.plan.interfaces.push(device),
            Err(reason) => why.push(say::port_because(label(port), reason)),
        }
    }
    if draft.plan.interfaces.is_empty() {
        if why.is_empty() {
            why.push(say::port_nothing_plugged());
        }
        return Err(PlanError::NoPort { why });
    }
    Ok(draft.plan)
}

fn label(port: &ThunderboltPort) -> Text {
    match &port.receptacle {
        Some(receptacle) => say::port_named(receptacle),
        None => Text::verbatim(&port.bus),
    }
}

/// Adds the steps for one port and gives its device, or says why it is left alone.
fn one(
    snapshot: &Snapshot,
    wish: &Wish,
    port: &ThunderboltPort,
    draft: &mut Draft<'_>,
) -> Result<String, Text> {
    if port.peers().next().is_none() {
        return Err(say::port_no_computer());
    }
    let (own, far) = address::cabled(port).ok_or_else(say::port_no_uuids)?;
    let interface = interface_of(snapshot, port)?;
    if let Some(master) = &interface.master {
        return Err(say::port_of_bridge(&interface.name, master));
    }
    let pair = address::of_cable(own, far).ok_or_else(say::port_leads_back)?;
    let taken = address::taken(snapshot, wish, &interface.name, &[]);
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
        Platform::MacOs => service(snapshot, interface, pair, draft)?,
        Platform::Linux => plain(interface, pair, draft),
    }
    draft.plan.pair.get_or_insert(pair);
    Ok(interface.name.clone())
}

fn interface_of<'a>(snapshot: &'a Snapshot, port: &ThunderboltPort) -> Result<&'a Interface, Text> {
    let found = match snapshot.platform {
        Platform::MacOs => snapshot.device_of(port).and_then(|device| snapshot.interface(device)),
        Platform::Linux => {
            // The kernel names no port with an interface of its own: with one of each there is no
            // doubt.
            let is_thunderbolt = |i: &&Interface| {
                matches!(
                    snapshot.evidence(&i.name),
                    Some(crate::Evidence::ThunderboltNetDriver { .. })
                )
            };
            let mut all = snapshot.interfaces.items().iter().filter(is_thunderbolt);
            let first = all.next();
            let cables =
                snapshot.thunderbolt_ports.items().iter().filter(|p| p.peers().next().is_some());
            first.filter(|_| all.next().is_none() && cables.count() == 1)
        }
    };
    found.ok_or_else(say::port_interface_unknown)
}

fn plain(interface: &Interface, pair: super::Pair, draft: &mut Draft<'_>) {
    let name = || interface.name.clone();
    if !interface.ipv4().any(|net| net == pair.own) {
        let mends = [FindingId::AddressMissing];
        draft.step(Action::AddAddress { interface: name(), net: pair.own }, &mends);
    }
    if interface.up == Some(false) {
        draft.step(Action::SwitchOn { interface: name() }, &[FindingId::LinkDown]);
    }
}

fn service(
    snapshot: &Snapshot,
    interface: &Interface,
    pair: super::Pair,
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
    match existing {
        None => draft.step(
            Action::CreateService { service: name.clone(), device: device.clone() },
            &[FindingId::BridgeMissing, FindingId::ServiceMissing],
        ),
        Some(service) if !service.enabled => {
            draft.step(
                Action::EnableService { service: name.clone() },
                &[FindingId::ServiceDisabled],
            );
        }
        Some(_) => {}
    }
    let config = existing.and_then(|s| s.config.value());
    let has_it = config.is_some_and(|c| {
        c.method == ConfigMethod::Manual
            && c.address == Some(pair.own.addr())
            && c.mask == Some(pair.own.netmask())
            && c.router.is_none()
    });
    if existing.is_some() && config.is_none() {
        return Err(say::port_config_unknown(name));
    }
    if !has_it {
        draft.step(Action::SetManual { service: name, net: pair.own }, &[FindingId::BridgeMissing]);
    }
    Ok(())
}
