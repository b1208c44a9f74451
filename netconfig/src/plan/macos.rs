//! macOS: `networksetup`, in the order enable, address, order; then the link itself.
//!
//! Only the service of the Thunderbolt bridge (or port) is changed, in the current location. Wi-Fi,
//! Internet Sharing and the bridge's members stay as they are.

use ipnet::Ipv4Net;

use super::{Action, Draft, Plan, PlanError, Wish, address, guard};
use crate::{
    check::{
        FindingId, Report,
        wrong_port::{self, Misplaced},
    },
    snapshot::{Platform, Reading, Service, Snapshot},
    text::plan as say,
};

/// What a manual address with a blank router mends.
/// What a size mends.
pub(super) const SIZE: &[FindingId] = &[FindingId::MtuMismatch, FindingId::Mtu];

pub(super) const ADDRESS: &[FindingId] = &[
    FindingId::AddressMissing,
    FindingId::AddressSelfAssigned,
    FindingId::AddressDhcp,
    FindingId::SubnetOverlap,
    FindingId::VmnetClash,
    FindingId::SameAddress,
    FindingId::PeerOutsideSubnet,
    FindingId::MaskMismatch,
    FindingId::RouterSet,
];

/// What the service of a new bridge is called, as macOS itself would in English.
const SERVICE: &str = "Thunderbolt Bridge";

pub(super) fn plan(
    snapshot: &Snapshot,
    report: &Report,
    wish: &Wish,
    name: &str,
) -> Result<Plan, PlanError> {
    let Reading::Known { value: services, .. } = &snapshot.services else {
        return Err(PlanError::NotKnown { what: say::what_services() });
    };
    let mut draft = Draft::new(Platform::MacOs, vec![name.to_owned()], report);
    let mine = || services.iter().filter(|s| s.device.as_deref() == Some(name));
    let service = mine().find(|s| s.enabled).or_else(|| mine().next());
    let service_name = match service {
        Some(service) => service.name.clone(),
        None => free_name(services, SERVICE),
    };
    match service {
        Some(service) if !service.enabled => draft.step(
            Action::EnableService { service: service_name.clone() },
            &[FindingId::ServiceDisabled],
        ),
        Some(_) => {}
        None => draft.step(
            Action::CreateService { service: service_name.clone(), device: name.to_owned() },
            &[FindingId::ServiceMissing],
        ),
    }

    let mut own = configured(snapshot, service, name);
    let misplaced = misplaced(snapshot, &draft, wish, name, &own);
    for found in &misplaced {
        let action = Action::SetDhcp { service: found.service.name.clone() };
        draft.step(action, &[FindingId::AddressOnWrongPort]);
    }
    // What is taken away there was meant to be here.
    own.extend(misplaced.iter().map(|found| found.net));
    let freed: Vec<&str> = misplaced.iter().map(|found| found.device).collect();
    let pair = address::choose(snapshot, wish, name, &own, &freed)?;
    draft.pair(name, pair);
    if !is_manual(service, pair.own) {
        if let Some(Reading::Unknown { .. }) = service.map(|service| &service.config) {
            // It could not be put back.
            return Err(PlanError::NotKnown { what: say::what_service_config() });
        }
        draft.step(Action::SetManual { service: service_name.clone(), net: pair.own }, ADDRESS);
    }
    if let Some(order) = order(snapshot, services, &service_name) {
        draft.step(Action::Order { services: order }, &[FindingId::ServiceBelowWifi]);
    }
    // A service that is switched on brings its link up; one that was on has had its chance.
    if draft.found(FindingId::LinkDown) && service.is_some_and(|service| service.enabled) {
        draft.step(Action::BringUp { interface: name.to_owned() }, &[FindingId::LinkDown]);
    }
    let now = snapshot.interface(name).and_then(|i| i.mtu);
    let lesser = |now: u32| Some(wish.answered.as_ref()?.mtu?.min(now));
    if let Some(now) = now
        && let Some(mtu) = wish.mtu.or_else(|| lesser(now))
        && mtu != now
    {
        let action = Action::SetDeviceMtu { device: name.to_owned(), mtu };
        draft.step(action, SIZE);
    }
    if let Some(peer) = wish.peer_v4().filter(|peer| *peer == pair.peer)
        && let Some(Reading::Known { value: route, .. }) = snapshot.peer_routes.get(&peer.into())
        && route.rejected
    {
        draft.step(Action::DropRejectRoute { peer }, &[FindingId::RouteRejected]);
    } else if draft.found(FindingId::WrongRoute) && sets_address(&draft.plan) {
        draft.last_mends(FindingId::WrongRoute);
    }
    Ok(draft.finish())
}

/// Services of USB-C ports that have the address which is meant for the cable.
fn misplaced<'a>(
    snapshot: &'a Snapshot,
    draft: &Draft<'_>,
    wish: &Wish,
    name: &'a str,
    own: &[Ipv4Net],
) -> Vec<Misplaced<'a>> {
    if !draft.found(FindingId::AddressOnWrongPort) {
        return Vec::new();
    }
    wrong_port::misplaced(snapshot, name, !own.is_empty(), wish.peer).collect()
}

fn sets_address(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step.action, Action::SetManual { .. }))
}

/// The addresses that the service or the interface has, without the self-assigned ones.
fn configured(snapshot: &Snapshot, service: Option<&Service>, name: &str) -> Vec<Ipv4Net> {
    let config = service.and_then(|s| s.config.value());
    let from_service = config.and_then(|c| Ipv4Net::with_netmask(c.address?, c.mask?).ok());
    let from_kernel =
        snapshot.interface(name).into_iter().flat_map(crate::snapshot::Interface::ipv4);
    from_service.into_iter().chain(from_kernel).filter(|net| !net.addr().is_link_local()).collect()
}

/// Whether the service has just this manual address and a blank router.
fn is_manual(service: Option<&Service>, net: Ipv4Net) -> bool {
    let config = service.and_then(|s| s.config.value());
    config.is_some_and(|config| config.is_manually(net))
}

/// The order with the service first, if a Wi-Fi is above it; every service is in it, as the command
/// wants. `None` if it is right as it is.
fn order(snapshot: &Snapshot, services: &[Service], own: &str) -> Option<Vec<String>> {
    let mut names: Vec<String> = services.iter().map(|s| s.name.clone()).collect();
    let is_wifi = |service: &Service| {
        let device = service.device.as_deref();
        service.enabled && device.is_some_and(|d| guard::is_wifi_device(snapshot, d))
    };
    let wifi = services.iter().position(is_wifi)?;
    let at = names.iter().position(|name| name == own);
    if at.is_some_and(|at| at < wifi) {
        return None;
    }
    // A new service is added at the end.
    names.retain(|name| name != own);
    names.insert(0, own.to_owned());
    Some(names)
}

/// A name that no service has: names are unique.
pub(crate) fn free_name(services: &[Service], wanted: &str) -> String {
    let taken = |name: &str| services.iter().any(|s| s.name.eq_ignore_ascii_case(name));
    let numbered = (2..100).map(|n| format!("{wanted} {n}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    names.find(|name| !taken(name)).unwrap_or_else(|| format!("{wanted} (tbnet)"))
}
