//! `tbnet show`

use std::path::Path;

use exo_netconfig::{
    Evidence, Snapshot,
    link::LinkKind,
    snapshot::{Interface, Reading, Service, ThunderboltDevice, ThunderboltPort},
};
use serde::Serialize;

use super::{Exit, snapshot_of};
use crate::{
    args::ShowArgs,
    output::{Output, SCHEMA, Style, state},
};

pub(crate) fn run(args: &ShowArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let snapshot = snapshot_of(args.from.as_deref(), &[])?;
    if args.json {
        let links = snapshot.interfaces.items().iter().map(|i| link(&snapshot, i)).collect();
        output.json(&Json { schema: SCHEMA, command: "show", links, snapshot: &snapshot })?;
    } else {
        text(&snapshot, args.from.as_deref(), output)?;
    }
    // Showing is possible even if little is known; without interfaces there is no picture.
    Ok(if snapshot.interfaces.is_unknown() { Exit::CouldNotCheck } else { Exit::Good })
}

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    command: &'static str,
    links: Vec<LinkJson<'a>>,
    snapshot: &'a Snapshot,
}

#[derive(Serialize)]
struct LinkJson<'a> {
    name: &'a str,
    /// `null` if the source that decides did not answer.
    kind: Option<LinkKind>,
    evidence: Option<Evidence>,
}

fn link<'a>(snapshot: &Snapshot, interface: &'a Interface) -> LinkJson<'a> {
    let evidence = snapshot.evidence(&interface.name);
    LinkJson {
        name: &interface.name,
        kind: evidence.as_ref().map(|evidence| match evidence {
            Evidence::ChosenByHand => LinkKind::ByHand,
            _ => LinkKind::Thunderbolt,
        }),
        evidence,
    }
}

fn text(snapshot: &Snapshot, from: Option<&Path>, output: &mut Output) -> anyhow::Result<()> {
    let recorded = from.map(|f| format!(", recorded in {}", f.display())).unwrap_or_default();
    output.line(&format!("{}{recorded}", snapshot.platform))?;
    cables(snapshot, output)?;
    links(snapshot, output)?;
    services(snapshot, output)?;
    unknown(snapshot, output)
}

fn heading(output: &mut Output, title: &str) -> anyhow::Result<()> {
    output.line("")?;
    let title = output.styled(Style::Strong, title);
    output.line(&title)
}

fn cables(snapshot: &Snapshot, output: &mut Output) -> anyhow::Result<()> {
    let Reading::Known { value, .. } = &snapshot.thunderbolt_ports else { return Ok(()) };
    heading(output, "Thunderbolt ports")?;
    if value.is_empty() {
        return output.line("  none with anything plugged in");
    }
    let mut ports: Vec<&ThunderboltPort> = value.iter().collect();
    ports.sort_by_key(|port| (port.receptacle.clone(), port.bus.clone()));
    let rows = ports.into_iter().map(|port| {
        let place = match &port.receptacle {
            Some(receptacle) => format!("port {receptacle}"),
            None => port.bus.clone(),
        };
        let what = match (port.devices.is_empty(), port.connected) {
            (false, _) => port.devices.iter().map(device).collect::<Vec<_>>().join(", "),
            (true, Some(false)) => "empty".to_owned(),
            (true, Some(true)) => "connected, nothing recognised".to_owned(),
            (true, None) => "not known".to_owned(),
        };
        vec![place, port.speed.clone().unwrap_or_default(), what]
    });
    output.table(rows.collect())
}

fn device(device: &ThunderboltDevice) -> String {
    let name = device.name.as_deref().or(device.model.as_deref()).unwrap_or("unnamed");
    let model = device.model.as_deref().filter(|model| *model != name);
    let model = model.map(|model| format!(" ({model})")).unwrap_or_default();
    let what = if device.is_computer { "computer" } else { "device" };
    format!("{what} {name}{model}")
}

fn links(snapshot: &Snapshot, output: &mut Output) -> anyhow::Result<()> {
    let Reading::Known { value, .. } = &snapshot.interfaces else { return Ok(()) };
    heading(output, "Links")?;
    let is_thunderbolt =
        |i: &Interface| !matches!(snapshot.evidence(&i.name), None | Some(Evidence::ChosenByHand));
    let has_address = |i: &Interface| i.addresses.as_ref().is_some_and(|a| !a.is_empty());
    let (mut shown, rest): (Vec<&Interface>, Vec<&Interface>) =
        value.iter().partition(|i| i.master.is_none() && (is_thunderbolt(i) || has_address(i)));
    shown.sort_by_key(|i| (!is_thunderbolt(i), i.is_loopback()));
    let rows = shown.into_iter().map(|interface| {
        let port = snapshot.hardware_port(&interface.name).map(|port| port.port.clone());
        let what = if is_thunderbolt(interface) {
            "Thunderbolt".to_owned()
        } else if interface.is_loopback() {
            "loopback".to_owned()
        } else {
            let driver = interface.driver.as_ref().map(|driver| driver.name.clone());
            port.or(driver).unwrap_or_else(|| "other".to_owned())
        };
        let addresses = match &interface.addresses {
            Some(addresses) if addresses.is_empty() => "no address".to_owned(),
            Some(addresses) => crate::output::addresses(addresses).join(", "),
            None => "addresses not known".to_owned(),
        };
        let mtu = interface.mtu.map(|mtu| format!("mtu {mtu}")).unwrap_or_default();
        let members = interface.members.as_ref().filter(|m| !m.is_empty());
        let members = members.map(|m| format!("of {}", m.join(", "))).unwrap_or_default();
        vec![interface.name.clone(), state(interface), mtu, what, addresses, members]
    });
    output.table(rows.collect())?;
    if !rest.is_empty() {
        let names: Vec<&str> = rest.iter().map(|i| i.name.as_str()).collect();
        output.wrapped("  without an address of their own: ", &names.join(", "))?;
    }
    Ok(())
}

fn services(snapshot: &Snapshot, output: &mut Output) -> anyhow::Result<()> {
    let Reading::Known { value, .. } = &snapshot.services else { return Ok(()) };
    heading(output, "Service order, first wins")?;
    let rows = value.iter().enumerate().map(|(at, service)| {
        let device = service.device.clone().unwrap_or_else(|| "-".to_owned());
        let off = if service.enabled { "" } else { "off" };
        vec![format!("{}", at + 1), device, off.to_owned(), config(service), service.name.clone()]
    });
    output.table(rows.collect())
}

fn config(service: &Service) -> String {
    let Reading::Known { value, .. } = &service.config else { return String::new() };
    let address = value.address.map(|a| format!(" {a}")).unwrap_or_default();
    let router = value.router.map(|r| format!(", router {r}")).unwrap_or_default();
    format!("{}{address}{router}", value.method)
}

fn unknown(snapshot: &Snapshot, output: &mut Output) -> anyhow::Result<()> {
    fn row<T>(what: &str, reading: &Reading<T>) -> Option<String> {
        match reading {
            Reading::Unknown { source, why } => Some(format!("{what} ({source}): {why}")),
            _ => None,
        }
    }
    let rows: Vec<String> = [
        row("Thunderbolt ports", &snapshot.thunderbolt_ports),
        row("links", &snapshot.interfaces),
        row("hardware ports", &snapshot.hardware_ports),
        row("services", &snapshot.services),
        row("routes", &snapshot.routes),
        row("Internet Sharing", &snapshot.internet_sharing),
    ]
    .into_iter()
    .flatten()
    .collect();
    if rows.is_empty() {
        return Ok(());
    }
    heading(output, "Not known")?;
    for row in rows {
        output.wrapped("  ", &row)?;
    }
    Ok(())
}
