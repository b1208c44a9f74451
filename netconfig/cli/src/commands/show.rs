//! `tbnet show`

use std::{net::IpAddr, path::Path};

use exo_netconfig::{
    Evidence, Snapshot,
    changes::state,
    snapshot::{
        Firewall, Interface, InterfaceType, PeerRoute, Platform, Reading, Service,
        ThunderboltDevice, ThunderboltPort, Unknown,
    },
    text::{Say as _, Text, route, tool, words},
};

use super::{Exit, snapshot_of};
use crate::{
    args::ShowArgs,
    json::ShowJson,
    output::{Output, Style, addresses},
};

pub(crate) fn run(args: &ShowArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let peers: Vec<_> = args.peer.iter().map(|peer| peer.ip).collect();
    let snapshot = snapshot_of(args.from.as_deref(), &peers)?;
    if args.json {
        output.json(&ShowJson::of(&snapshot))?;
    } else {
        text(&snapshot, args.from.as_deref(), output)?;
    }
    // Showing is possible even if little is known; without interfaces there is no picture.
    Ok(if snapshot.interfaces.is_unknown() { Exit::CouldNotCheck } else { Exit::Good })
}

fn text(snapshot: &Snapshot, from: Option<&Path>, output: &mut Output) -> anyhow::Result<()> {
    let version = snapshot.os_version.value().map(|v| format!(" {v}")).unwrap_or_default();
    let system = format!("{}{version}", snapshot.platform);
    output.say(match from {
        Some(folder) => tool::recorded_in(system, folder.display()),
        None => tool::this_machine(system),
    })?;
    cables(snapshot, output)?;
    links(snapshot, output)?;
    services(snapshot, output)?;
    switches(snapshot, output)?;
    unknown(snapshot, output)
}

fn heading(output: &mut Output, title: Text) -> anyhow::Result<()> {
    output.line("")?;
    let title = output.styled(Style::Strong, &output.words(title));
    output.line(&title)
}

/// Each port as a line from this machine to what is at its end:
/// `port 1  en2 in bridge0  ═══ 80 Gb/s ═══  computer Mac Studio (Mac15,14)`.
fn cables(snapshot: &Snapshot, output: &mut Output) -> anyhow::Result<()> {
    let Reading::Known { value, .. } = &snapshot.thunderbolt_ports else { return Ok(()) };
    heading(output, tool::cables_title())?;
    if value.is_empty() {
        let words = output.words(tool::no_ports());
        return output.line(&format!("  {words}"));
    }
    let mut ports: Vec<&ThunderboltPort> = value.iter().collect();
    ports.sort_by_key(|port| (port.receptacle.clone(), port.bus.clone()));
    let mut rows = Vec::new();
    for port in ports {
        let place = match &port.receptacle {
            Some(receptacle) => words::port(receptacle),
            None => Text::verbatim(&port.bus),
        };
        let ends: Vec<Text> = match (port.devices.is_empty(), port.connected) {
            (false, _) => port.devices.iter().map(device).collect(),
            (true, Some(false)) => vec![tool::empty()],
            (true, Some(true)) => vec![tool::nothing_recognised()],
            (true, None) => vec![tool::not_known()],
        };
        for (at, end) in ends.into_iter().enumerate() {
            // What hangs below a hub is drawn below it.
            let (place, device, line) = match at {
                0 => (output.words(&place), carrying(snapshot, port), line(snapshot, port)),
                _ => (String::new(), String::new(), "  └─".to_owned()),
            };
            rows.push(vec![place, device, line, output.words(end)]);
        }
    }
    output.table(rows)
}

/// `en2 in bridge0`: the device of a port, and the bridge or bond that it belongs to.
fn carrying(snapshot: &Snapshot, port: &ThunderboltPort) -> String {
    let Some(device) = snapshot.device_of(port) else { return String::new() };
    match snapshot.interface(device).and_then(|i| i.master.as_deref()) {
        Some(master) => format!("{device} ─ {master}"),
        None => device.to_owned(),
    }
}

/// The cable, with its speed; a port with nothing in it has dots.
fn line(snapshot: &Snapshot, port: &ThunderboltPort) -> String {
    let speed = port.speed.as_deref().unwrap_or("?");
    // Linux' own count ends at 4, whatever the cable carries.
    let generation = port.generation.filter(|_| snapshot.platform == Platform::MacOs);
    let speed = match generation {
        Some(generation) => format!("{speed} (TB{generation})"),
        None => speed.to_owned(),
    };
    match port.connected {
        Some(true) => format!("═══ {speed} ═══"),
        _ => format!("··· {speed} ···"),
    }
}

fn device(device: &ThunderboltDevice) -> Text {
    let label = match (&device.name, &device.model) {
        (Some(name), Some(model)) if name != model => {
            Text::verbatim(format_args!("{name} ({model})"))
        }
        (Some(name), _) => Text::verbatim(name),
        (None, Some(model)) => Text::verbatim(model),
        (None, None) => words::unnamed_device(),
    };
    match (device.is_computer, device.offers_rdma) {
        (true, Some(true)) => tool::computer_with_rdma(label),
        (true, _) => tool::computer(label),
        (false, _) => tool::device(label),
    }
}

fn links(snapshot: &Snapshot, output: &mut Output) -> anyhow::Result<()> {
    let Reading::Known { value, .. } = &snapshot.interfaces else { return Ok(()) };
    heading(output, tool::links_title())?;
    let is_thunderbolt =
        |i: &Interface| !matches!(snapshot.evidence(&i.name), None | Some(Evidence::ChosenByHand));
    let has_address = |i: &Interface| i.addresses.as_ref().is_some_and(|a| !a.is_empty());
    let (mut shown, rest): (Vec<&Interface>, Vec<&Interface>) =
        value.iter().partition(|i| i.master.is_none() && (is_thunderbolt(i) || has_address(i)));
    shown.sort_by_key(|i| (!is_thunderbolt(i), i.is_loopback()));
    let mut rows = Vec::new();
    for interface in shown {
        let what = if is_thunderbolt(interface) {
            Text::verbatim("Thunderbolt")
        } else {
            sort_of(snapshot, interface)
        };
        let nets = match &interface.addresses {
            Some(list) if list.is_empty() => tool::no_address(),
            Some(list) => Text::verbatim(addresses(list).join(", ")),
            None => tool::addresses_not_known(),
        };
        let mtu = interface.mtu.map(|mtu| format!("mtu {mtu}")).unwrap_or_default();
        let members = interface.members.as_ref().filter(|m| !m.is_empty());
        let members = members.map(|m| tool::members_of(m.join(", "))).unwrap_or_default();
        let state = output.words(state(interface));
        let words = [what, nets, members].map(|text| output.words(text));
        let [what, nets, members] = words;
        rows.push(vec![interface.name.clone(), state, mtu, what, nets, members]);
    }
    output.table(rows)?;
    if !rest.is_empty() {
        let names: Vec<&str> = rest.iter().map(|i| i.name.as_str()).collect();
        let words = output.words(tool::without_address(names.join(", ")));
        output.wrapped("  ", &words)?;
    }
    Ok(())
}

/// What a link is that is no cable, by its type, its port or its driver.
fn sort_of(snapshot: &Snapshot, interface: &Interface) -> Text {
    let vmnet = interface.members.iter().flatten().any(|member| member.starts_with("vmenet"));
    match &interface.interface_type {
        InterfaceType::Loopback => tool::loopback(),
        InterfaceType::PointToPoint => tool::tunnel(),
        InterfaceType::Bridge if vmnet => tool::virtual_machines(),
        _ if interface.wireless == Some(true) => tool::wifi(),
        _ => {
            let port = snapshot.hardware_port(&interface.name).map(|port| port.port.clone());
            let driver = interface.driver.as_ref().map(|driver| driver.name.clone());
            port.or(driver).map_or_else(tool::other, Text::verbatim)
        }
    }
}

fn services(snapshot: &Snapshot, output: &mut Output) -> anyhow::Result<()> {
    let Reading::Known { value, .. } = &snapshot.services else { return Ok(()) };
    heading(output, tool::services_title())?;
    let rows = value.iter().enumerate().map(|(at, service)| {
        let device = service.device.clone().unwrap_or_else(|| "-".to_owned());
        let off = if service.enabled { Text::default() } else { tool::off() };
        let config = output.words(config(service));
        vec![format!("{}", at + 1), device, output.words(off), config, service.name.clone()]
    });
    output.table(rows.collect())
}

fn config(service: &Service) -> Text {
    let Reading::Known { value, .. } = &service.config else { return Text::default() };
    let mut parts = vec![value.method.text()];
    parts.extend(value.address.map(Text::verbatim));
    let config = Text::joined(parts, " ");
    match value.router {
        Some(router) => tool::with_router(config, router),
        None => config,
    }
}

/// What else decides which way packets go, as far as it is known.
fn switches(snapshot: &Snapshot, output: &mut Output) -> anyhow::Result<()> {
    let location = snapshot.preferences.value().and_then(|p| p.location.as_deref());
    let preferred = snapshot.preferred.value().filter(|links| !links.is_empty()).map(|links| {
        let names: Vec<&str> = links.iter().map(|link| link.interface.as_str()).collect();
        tool::preferred(names.join(", "))
    });
    let mut by: Vec<&str> = snapshot
        .routes
        .items()
        .iter()
        .filter(|route| route.destination.prefix_len() == 0 && !route.scoped)
        .filter(|route| route.destination.addr().is_ipv4())
        .filter_map(|route| route.interface.as_deref())
        .collect();
    by.dedup();
    let firewall = snapshot.firewall.value().map(|firewall| match firewall {
        Firewall::Off => tool::firewall_off(),
        Firewall::On => tool::firewall_on(),
        Firewall::BlockAll => tool::firewall_blocks(),
    });
    let rdma = snapshot.rdma.value().map(|rdma| match (&rdma.devices, rdma.enabled) {
        (_, false) => tool::rdma_off(),
        (Some(devices), true) if !devices.is_empty() => tool::rdma_on_at(devices.join(", ")),
        (Some(_), true) => tool::rdma_on_nowhere(),
        (None, true) => tool::rdma_on(),
    });
    let exo = snapshot.exo_daemon.value().filter(|is_there| **is_there).map(|_| tool::exo_daemon());
    let refused = snapshot.local_network_refusals.value().map(|refusals| {
        let mut programs: Vec<&str> = refusals.iter().map(|r| r.program.as_str()).collect();
        programs.sort_unstable();
        programs.dedup();
        match programs.is_empty() {
            true => tool::local_network_no_refusals(),
            false => tool::local_network_refused(programs.join(", ")),
        }
    });
    let sharing = snapshot.internet_sharing.value().map(|sharing| match sharing.enabled {
        true => tool::sharing_on(sharing.from.as_deref().unwrap_or("?"), sharing.to.join(", ")),
        false => tool::sharing_off(),
    });
    let ways = snapshot.peer_routes.iter().map(|(peer, route)| way(peer, route));
    let rows: Vec<Text> = [
        location.map(tool::location_is),
        preferred,
        (!by.is_empty()).then(|| tool::default_route_by(by.join(", "))),
        sharing,
        firewall,
        rdma,
        refused,
        exo,
    ]
    .into_iter()
    .flatten()
    .chain(ways)
    .collect();
    if rows.is_empty() {
        return Ok(());
    }
    heading(output, tool::switches_title())?;
    for row in rows {
        output.wrapped("  ", &row.say(output.lang()))?;
    }
    Ok(())
}

/// Which way a packet to a peer would go.
fn way(peer: &IpAddr, route: &Reading<PeerRoute>) -> Text {
    match route {
        Reading::Known { value, .. } if value.rejected => route::rejected(peer),
        Reading::Known { value, .. } => match &value.interface {
            Some(interface) => tool::way_to(peer, interface),
            None => route::no_way(peer),
        },
        Reading::Unknown { why, .. } => tool::way_to_unknown(peer, why.text()),
        Reading::NotApplicable => Text::default(),
    }
}

fn unknown(snapshot: &Snapshot, output: &mut Output) -> anyhow::Result<()> {
    fn row<T>(what: Text, reading: &Reading<T>) -> Option<Text> {
        match reading {
            // Nobody wanted to know.
            Reading::Unknown { why: Unknown::NotAsked, .. } => None,
            Reading::Unknown { source, why } => Some(tool::unknown_row(what, source, why.text())),
            _ => None,
        }
    }
    let rows: Vec<Text> = [
        row(tool::section_ports(), &snapshot.thunderbolt_ports),
        row(tool::section_links(), &snapshot.interfaces),
        row(tool::section_hardware(), &snapshot.hardware_ports),
        row(tool::section_services(), &snapshot.services),
        row(tool::section_preferences(), &snapshot.preferences),
        row(tool::section_routes(), &snapshot.routes),
        row(tool::section_sharing(), &snapshot.internet_sharing),
        row(tool::section_firewall(), &snapshot.firewall),
        row(tool::section_rdma(), &snapshot.rdma),
        row(tool::section_version(), &snapshot.os_version),
        row(tool::section_preferred(), &snapshot.preferred),
        row(tool::section_exo(), &snapshot.exo_daemon),
        row(tool::section_local_network(), &snapshot.local_network_refusals),
    ]
    .into_iter()
    .flatten()
    .collect();
    if rows.is_empty() {
        return Ok(());
    }
    heading(output, tool::unknown_title())?;
    for row in rows {
        output.wrapped("  ", &output.words(row))?;
    }
    Ok(())
}
