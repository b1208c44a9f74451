//! The commands that lead from what is now back to what was saved. Pure.
//!
//! They follow from the difference alone, so it does not matter at which step a setup was cut off,
//! nor at which command an undoing was: run again, it does what is left. Only what the steps that
//! were begun may have touched is compared: what the user has changed elsewhere since stays.

use serde_json::Value;

use super::{
    Action, CommandLine, State,
    action::{ifconfig, ip, networkd_file, networksetup},
    state::{ConfigState, LinkState, RouteState, ServiceState},
};

/// Commands that make `now` what `saved` was, as far as the begun steps `begun` reached. None if
/// nothing differs.
pub fn restore(saved: &State, now: &State, begun: &[Action]) -> Vec<CommandLine> {
    let mut commands = restore_keepers(saved, now, begun);
    services(saved, now, begun, &mut commands);
    for link in &saved.links {
        if let Some(now) = now.link(&link.name) {
            self::link(link, now, begun, &mut commands);
        }
    }
    commands
}

/// Those of [`restore`] that come first of all, so that no network manager puts back what is taken
/// away by the others. What it takes away itself when it lets go has to be looked at after them.
pub(crate) fn restore_keepers(saved: &State, now: &State, begun: &[Action]) -> Vec<CommandLine> {
    let mut commands = Vec::new();
    for action in begun {
        match action {
            Action::KeepNetworkd { interface, .. } => {
                let path = networkd_file(interface);
                let text = |state: &State| {
                    state.files.iter().find(|file| file.path == path).and_then(|f| f.text.clone())
                };
                match (text(saved), text(now)) {
                    (before, after) if before == after => continue,
                    (Some(before), _) => commands.push(CommandLine::write(&path, &before)),
                    (None, _) => commands.push(CommandLine::root(["rm", "-f", &path])),
                }
                commands.push(CommandLine::root(["networkctl", "reload"]));
            }
            Action::KeepNetworkManager { interface, .. } => {
                let of = |state: &State| {
                    state.profiles.iter().find(|p| p.interface == *interface).cloned()
                };
                let (Some(before), Some(after)) = (of(saved), of(now)) else { continue };
                if before == after {
                    continue;
                }
                let nmcli = |words: &[&str]| {
                    CommandLine::root(["nmcli", "connection"].iter().chain(words).copied())
                };
                match (&before.addresses, &after.addresses) {
                    (None, Some(_)) => commands.push(nmcli(&["delete", &before.name])),
                    (Some(old), Some(new)) => {
                        let mut words = vec!["modify", &before.name];
                        if old != new {
                            words.extend(["ipv4.addresses", old]);
                        }
                        let differs = |(name, value): &(&String, &String)| {
                            after.settings.get(*name) != Some(*value)
                        };
                        for (name, value) in before.settings.iter().filter(differs) {
                            words.extend([name.as_str(), value.as_str()]);
                        }
                        if words.len() > 2 {
                            commands.push(nmcli(&words));
                        }
                    }
                    _ => {}
                }
                if let Some(active) = &before.active
                    && before.active != after.active
                {
                    commands.push(nmcli(&["up", active]));
                }
            }
            _ => {}
        }
    }
    commands
}

fn services(saved: &State, now: &State, begun: &[Action], commands: &mut Vec<CommandLine>) {
    let mut created = Vec::new();
    for action in begun {
        if let Action::CreateService { service, device } = action {
            let is = |s: &&ServiceState| s.name == *service && s.device.as_ref() == Some(device);
            let was_there = saved.services.iter().any(|s| is(&s));
            if !was_there && now.services.iter().any(|s| is(&s)) {
                commands.push(networksetup(["-removenetworkservice", service]));
                created.push(service.clone());
            }
        }
    }
    for before in &saved.services {
        let Some(after) = now.services.iter().find(|s| s.name == before.name) else { continue };
        let touched = begun.iter().any(|action| match action {
            Action::EnableService { service }
            | Action::SetManual { service, .. }
            | Action::SetDhcp { service } => *service == before.name,
            _ => false,
        });
        if !touched {
            continue;
        }
        if let Some(config) = &before.config
            && before.config != after.config
        {
            commands.push(configure(&before.name, config));
        }
        if before.enabled != after.enabled {
            let state = if before.enabled { "on" } else { "off" };
            commands.push(networksetup(["-setnetworkserviceenabled", &before.name, state]));
        }
    }
    let names = |state: &State| -> Vec<String> {
        let kept = state.services.iter().map(|s| &s.name).filter(|name| !created.contains(*name));
        kept.cloned().collect()
    };
    let (before, after) = (names(saved), names(now));
    // Only if the same services are there: the command wants every one, and no other.
    let same = {
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        sorted(before.clone()) == sorted(after.clone())
    };
    if begun.iter().any(|action| matches!(action, Action::Order { .. })) && same && before != after
    {
        let words = std::iter::once("-ordernetworkservices".to_owned());
        commands.push(networksetup(words.chain(before)));
    }
}

/// The command that sets a service's address as it was.
fn configure(service: &str, config: &ConfigState) -> CommandLine {
    let text = |ip: Option<std::net::Ipv4Addr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    match (config.method.as_str(), config.address) {
        ("manual", Some(address)) => networksetup([
            "-setmanual",
            service,
            &address.to_string(),
            &text(config.mask),
            &text(config.router),
        ]),
        ("off", _) | ("manual", None) => networksetup(["-setv4off", service]),
        (method, _) if method.eq_ignore_ascii_case("bootp") => networksetup(["-setbootp", service]),
        (method, Some(address)) if !method.eq_ignore_ascii_case("dhcp") => {
            networksetup(["-setmanualwithdhcprouter", service, &address.to_string()])
        }
        _ => networksetup(["-setdhcp", service]),
    }
}

fn link(before: &LinkState, now: &LinkState, begun: &[Action], commands: &mut Vec<CommandLine>) {
    let name = before.name.as_str();
    let is = |interface: &String| interface == name;
    let mut on_linux = false;
    let mut on_macos = false;
    let (mut sized, mut addressed) = (false, false);
    let loses_inet6 = begun.iter().any(|action| action.loses_inet6_of() == Some(name));
    for action in begun {
        match action {
            Action::SetMtu { interface, .. } if is(interface) => (on_linux, sized) = (true, true),
            Action::SetDeviceMtu { device, .. } if is(device) => (on_macos, sized) = (true, true),
            Action::DropAddress { interface, .. }
            | Action::AddAddress { interface, .. }
            | Action::DropDefaultRoute { interface }
            | Action::PreferRoute { interface, .. }
            | Action::KeepNetworkManager { interface, .. }
            | Action::KeepNetworkd { interface, .. }
                if is(interface) =>
            {
                (on_linux, addressed) = (true, true);
            }
            Action::SwitchOn { interface } if is(interface) => (on_linux, addressed) = (true, true),
            Action::BringUp { interface } if is(interface) => on_macos = true,
            _ => {}
        }
    }
    if let Some(mtu) = before.mtu
        && sized
        && before.mtu != now.mtu
    {
        let mtu = mtu.to_string();
        commands.push(if on_linux {
            ip(["link", "set", "dev", name, "mtu", &mtu])
        } else {
            networksetup(["-setMTU", name, &mtu])
        });
    }
    let sent_before = commands.len();
    if on_linux && addressed {
        addresses(before, now, commands);
    }
    let has_addresses = commands.len() == sent_before && now.up == Some(true);
    if on_linux && before.up == Some(true) && now.up == Some(false) {
        // Routes need a link that is up.
        commands.push(ip(["link", "set", "dev", name, "up"]));
    }
    if on_linux && addressed && before.up != Some(false) {
        routes(before, now, has_addresses, commands);
    }
    if before.up == Some(false) && now.up == Some(true) {
        if on_linux {
            commands.push(ip(["link", "set", "dev", name, "down"]));
        } else if on_macos {
            commands.push(ifconfig(name, "down"));
        }
    }
    // After all that takes them away.
    if loses_inet6 {
        inet6(before, now, commands);
    }
}

/// Fixed IPv6 addresses and the routes over them that are not there any more. Nothing is taken away:
/// no step gives any.
fn inet6(before: &LinkState, now: &LinkState, commands: &mut Vec<CommandLine>) {
    let is_there = |row: &&Value| now.addresses6.iter().any(|other| net(other) == net(row));
    for row in before.addresses6.iter().filter(|row| !is_there(row)) {
        commands.extend(add(row, &before.name));
    }
    let key = |row: &Value| {
        ["type", "dst", "gateway", "table", "metric"].map(|field| row.get(field).cloned())
    };
    let is_there = |row: &&Value| now.routes6.iter().any(|other| key(other) == key(row));
    // The ways on the link first: others lead over them.
    let (beyond, on_link): (Vec<&Value>, Vec<&Value>) = before
        .routes6
        .iter()
        .filter(|row| !is_there(row))
        .partition(|row| row.get("gateway").is_some());
    for row in on_link.into_iter().chain(beyond) {
        commands.extend(route("add", row, &before.name).map(|mut command| {
            command.argv.insert(1, "-6".to_owned());
            command
        }));
    }
}

/// Addresses come back in the order they had: the first of a network is the one that is sent from.
/// What the two lists begin with alike stays.
fn addresses(before: &LinkState, now: &LinkState, commands: &mut Vec<CommandLine>) {
    let alike = before.addresses.iter().zip(&now.addresses).take_while(|(a, b)| same(a, b)).count();
    // From the end: taking a network's first address away may take the others with it.
    for row in now.addresses[alike..].iter().rev() {
        if let Some(net) = net(row) {
            commands.push(ip(["address", "del", &net, "dev", &before.name]));
        }
    }
    for row in &before.addresses[alike..] {
        commands.extend(add(row, &before.name));
    }
}

/// Whether two rows mean the same address: what a lease has left is no difference.
fn same(a: &Value, b: &Value) -> bool {
    let without_clock = |row: &Value| {
        let mut row = row.clone();
        if row.get("dynamic").is_some()
            && let Some(fields) = row.as_object_mut()
        {
            fields.remove("valid_life_time");
            fields.remove("preferred_life_time");
        }
        row
    };
    without_clock(a) == without_clock(b)
}

fn text<'a>(row: &'a Value, key: &str) -> Option<&'a str> {
    row.get(key)?.as_str()
}

fn net(row: &Value) -> Option<String> {
    Some(format!("{}/{}", text(row, "local")?, row.get("prefixlen")?.as_u64()?))
}

/// `ip-address(8)`: the arguments that make the row again.
fn add(row: &Value, interface: &str) -> Option<CommandLine> {
    let mut words = vec!["address".to_owned(), "add".to_owned()];
    let mut pair = |key: &str, value: &str| words.extend([key.to_owned(), value.to_owned()]);
    match text(row, "address") {
        // A point-to-point address: the prefix is the peer's.
        Some(peer) => {
            let prefix = row.get("prefixlen")?.as_u64()?;
            pair(text(row, "local")?, "peer");
            words.push(format!("{peer}/{prefix}"));
        }
        None => words.push(net(row)?),
    }
    let mut pair = |key: &str, value: &str| words.extend([key.to_owned(), value.to_owned()]);
    // IPv6 has neither a broadcast address nor a scope that could be chosen.
    let is_v6 = text(row, "family") == Some("inet6");
    let chosen: &[_] = if is_v6 { &[] } else { &["broadcast", "scope"] };
    for &key in chosen {
        if let Some(value) = text(row, key) {
            pair(key, value);
        }
    }
    if let Some(label) = text(row, "label").filter(|label| *label != interface) {
        pair("label", label);
    }
    if let Some(metric) = row.get("metric").and_then(Value::as_u64) {
        pair("metric", &metric.to_string());
    }
    if row.get("dynamic").is_some() {
        for (key, word) in
            [("valid_life_time", "valid_lft"), ("preferred_life_time", "preferred_lft")]
        {
            if let Some(seconds) = row.get(key).and_then(Value::as_u64) {
                pair(word, &seconds.to_string());
            }
        }
    }
    pair("dev", interface);
    for flag in ["noprefixroute", "nodad"] {
        if row.get(flag).is_some() {
            words.push(flag.to_owned());
        }
    }
    Some(ip(words))
}

/// Routes that the kernel makes of addresses come and go with them.
fn is_ours(route: &RouteState) -> bool {
    text(&route.row, "protocol") != Some("kernel")
}

/// What names a route; flags such as `linkdown` are the kernel's word for how it is now.
fn key(route: &RouteState) -> Vec<String> {
    let row = &route.row;
    ["type", "dst", "gateway", "table", "prefsrc", "scope", "protocol"]
        .map(|field| text(row, field).unwrap_or_default().to_owned())
        .into_iter()
        .chain([row.get("metric").map(ToString::to_string).unwrap_or_default()])
        .collect()
}

/// Takes away the routes that were not there and puts back those that were, before or behind their
/// equals over other links as they were. Those that the kernel makes of addresses are looked at
/// once the addresses are there: it puts each behind its equals, wherever it was before.
fn routes(
    before: &LinkState,
    now: &LinkState,
    has_addresses: bool,
    commands: &mut Vec<CommandLine>,
) {
    let find = |routes: &'_ [RouteState], wanted: &RouteState| {
        routes.iter().find(|route| key(route) == key(wanted)).map(|route| route.behind)
    };
    let mut put_back = Vec::new();
    for route in before.routes.iter().filter(|route| has_addresses || is_ours(route)) {
        let place = find(&now.routes, route);
        if place == Some(route.behind) {
            continue;
        }
        if place.is_some() {
            commands.extend(self::route("del", &route.row, &before.name));
        }
        put_back.push(route);
    }
    let is_new = |route: &&RouteState| is_ours(route) && find(&before.routes, route).is_none();
    for route in now.routes.iter().filter(is_new) {
        commands.extend(self::route("del", &route.row, &before.name));
    }
    // Each comes before those that were put back before it: the last first.
    for route in put_back.iter().rev().filter(|route| !route.behind) {
        commands.extend(self::route("prepend", &route.row, &before.name));
    }
    for route in put_back.iter().filter(|route| route.behind) {
        commands.extend(self::route("append", &route.row, &before.name));
    }
}

/// `ip-route(8)`: the arguments that name the row.
fn route(verb: &str, row: &Value, interface: &str) -> Option<CommandLine> {
    let mut words = vec!["route".to_owned(), verb.to_owned()];
    if let Some(kind) = text(row, "type").filter(|kind| *kind != "unicast") {
        words.push(kind.to_owned());
    }
    words.push(text(row, "dst")?.to_owned());
    let mut pair = |key: &str, value: &str| words.extend([key.to_owned(), value.to_owned()]);
    if let Some(gateway) = text(row, "gateway") {
        pair("via", gateway);
    }
    pair("dev", interface);
    for (key, word) in
        [("table", "table"), ("protocol", "proto"), ("scope", "scope"), ("prefsrc", "src")]
    {
        if let Some(value) = text(row, key) {
            pair(word, value);
        }
    }
    if let Some(metric) = row.get("metric").and_then(Value::as_u64) {
        pair("metric", &metric.to_string());
    }
    let flags = row.get("flags").and_then(Value::as_array);
    if flags.is_some_and(|flags| flags.iter().any(|flag| flag == "onlink")) {
        words.push("onlink".to_owned());
    }
    Some(ip(words))
}

#[cfg(test)]
mod tests;
