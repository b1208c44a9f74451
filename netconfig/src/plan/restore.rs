//! The commands that lead from what is now back to what was saved. Pure.
//!
//! They follow from the difference alone, so it does not matter at which step a setup was cut off,
//! nor at which command an undoing was: run again, it does what is left. Only what the steps that
//! were begun may have touched is compared: what the user has changed elsewhere since stays.

use serde_json::Value;

use super::{
    Action, CommandLine, State,
    action::{ifconfig, ip, networkd_file, networksetup},
    state::{ConfigState, LinkState, ServiceState},
};

/// Commands that make `now` what `saved` was, as far as the begun steps `begun` reached. None if
/// nothing differs.
pub fn restore(saved: &State, now: &State, begun: &[Action]) -> Vec<CommandLine> {
    let mut commands = Vec::new();
    keepers(saved, now, begun, &mut commands);
    services(saved, now, begun, &mut commands);
    for link in &saved.links {
        if let Some(now) = now.link(&link.name) {
            self::link(link, now, begun, &mut commands);
        }
    }
    commands
}

/// First of all, so that no network manager puts back what is taken away below.
fn keepers(saved: &State, now: &State, begun: &[Action], commands: &mut Vec<CommandLine>) {
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
                    (Some(old), Some(new)) if old != new => {
                        commands.push(nmcli(&["modify", &before.name, "ipv4.addresses", old]));
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
            Action::EnableService { service } | Action::SetManual { service, .. } => {
                *service == before.name
            }
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
    if on_linux && addressed {
        addresses(before, now, commands);
    }
    if on_linux && before.up == Some(true) && now.up == Some(false) {
        // Routes need a link that is up.
        commands.push(ip(["link", "set", "dev", name, "up"]));
    }
    if on_linux && addressed && before.up != Some(false) {
        routes(before, now, commands);
    }
    if before.up == Some(false) && now.up == Some(true) {
        if on_linux {
            commands.push(ip(["link", "set", "dev", name, "down"]));
        } else if on_macos {
            commands.push(ifconfig(name, "down"));
        }
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
    for (key, word) in [("broadcast", "broadcast"), ("scope", "scope")] {
        if let Some(value) = text(row, key) {
            pair(word, value);
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
    if row.get("noprefixroute").is_some() {
        words.push("noprefixroute".to_owned());
    }
    Some(ip(words))
}

/// Routes that the kernel makes of addresses come and go with them.
fn is_ours(row: &Value) -> bool {
    text(row, "protocol") != Some("kernel")
}

fn routes(before: &LinkState, now: &LinkState, commands: &mut Vec<CommandLine>) {
    // Flags such as `linkdown` are the kernel's word for how it is now.
    let key = |row: &Value| {
        ["type", "dst", "gateway", "table", "prefsrc", "scope", "protocol"]
            .map(|field| text(row, field).unwrap_or_default().to_owned())
            .into_iter()
            .chain([row.get("metric").map(ToString::to_string).unwrap_or_default()])
            .collect::<Vec<_>>()
    };
    let missing_in = |rows: &[Value], row: &Value| !rows.iter().any(|other| key(other) == key(row));
    for row in now.routes.iter().filter(|row| is_ours(row) && missing_in(&before.routes, row)) {
        commands.extend(route("del", row, &before.name));
    }
    for row in before.routes.iter().filter(|row| is_ours(row) && missing_in(&now.routes, row)) {
        // Before others of its kind: it was there before them.
        commands.extend(route("prepend", row, &before.name));
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
mod tests {
    use serde_json::json;

    use super::*;

    fn state(addresses: Vec<Value>, routes: Vec<Value>) -> State {
        let name = "br0".to_owned();
        let link = LinkState { name, up: Some(true), mtu: Some(1500), addresses, routes };
        State { links: vec![link], ..State::default() }
    }

    fn address(local: &str) -> Value {
        json!({"family": "inet", "local": local, "prefixlen": 24, "scope": "global", "label": "br0",
               "valid_life_time": 4_294_967_295_u32, "preferred_life_time": 4_294_967_295_u32})
    }

    fn shown(commands: &[CommandLine]) -> Vec<String> {
        commands.iter().map(ToString::to_string).collect()
    }

    fn added(net: &str) -> Action {
        Action::AddAddress { interface: "br0".into(), net: net.parse().unwrap() }
    }

    #[test]
    fn nothing_differs_and_nothing_is_done() {
        let saved = state(vec![address("10.0.0.1")], vec![]);
        assert_eq!(restore(&saved, &saved, &[added("192.168.2.1/24")]), []);
    }

    #[test]
    fn addresses_come_back_in_their_order_with_all_they_had() {
        let mut second = address("10.0.0.2");
        second["secondary"] = json!(true);
        second["label"] = json!("br0:1");
        second["broadcast"] = json!("10.0.0.255");
        let saved = state(vec![address("10.0.0.1"), second], vec![]);
        let now = state(vec![address("192.168.2.1")], vec![]);
        assert_eq!(
            shown(&restore(&saved, &now, &[added("192.168.2.1/24")])),
            [
                "sudo ip address del 192.168.2.1/24 dev br0",
                "sudo ip address add 10.0.0.1/24 scope global dev br0",
                "sudo ip address add 10.0.0.2/24 broadcast 10.0.0.255 scope global label br0:1 dev br0",
            ]
        );
        // Cut off after the first address came back: only the rest is left to do.
        let cut = state(vec![address("10.0.0.1")], vec![]);
        assert_eq!(restore(&saved, &cut, &[added("192.168.2.1/24")]).len(), 1);
    }

    #[test]
    fn what_no_begun_step_touched_stays_as_the_user_has_it_now() {
        let saved = state(vec![address("10.0.0.1")], vec![]);
        let now = state(vec![address("10.0.0.9")], vec![]);
        assert_eq!(restore(&saved, &now, &[]), []);
        let other = Action::SwitchOn { interface: "br1".into() };
        assert_eq!(restore(&saved, &now, &[other]), []);
    }

    #[test]
    fn routes_of_people_come_back_and_those_of_the_kernel_by_themselves() {
        let by_kernel = json!({"type": "unicast", "dst": "10.0.0.0/24", "table": "main",
            "protocol": "kernel", "scope": "link", "prefsrc": "10.0.0.1", "flags": []});
        let by_hand = json!({"type": "unicast", "dst": "default", "gateway": "10.0.0.7",
            "table": "main", "protocol": "static", "scope": "global", "metric": 50, "flags": ["linkdown"]});
        let ours = json!({"type": "unicast", "dst": "192.168.2.2", "table": "main",
            "protocol": "boot", "scope": "link", "prefsrc": "192.168.2.1", "flags": []});
        let saved = state(vec![address("10.0.0.1")], vec![by_kernel, by_hand]);
        let now = state(vec![address("10.0.0.1")], vec![ours]);
        assert_eq!(
            shown(&restore(&saved, &now, &[added("192.168.2.1/24")])),
            [
                "sudo ip route del 192.168.2.2 dev br0 table main proto boot scope link src 192.168.2.1",
                "sudo ip route prepend default via 10.0.0.7 dev br0 table main proto static scope global metric 50",
            ]
        );
    }

    #[test]
    fn a_mac_service_gets_its_own_method_back() {
        let config = |method: &str, address: Option<&str>| ConfigState {
            method: method.into(),
            address: address.map(|a| a.parse().unwrap()),
            mask: address.map(|_| "255.255.255.0".parse().unwrap()),
            router: None,
        };
        let of = |config: ConfigState, enabled| State {
            services: vec![ServiceState {
                name: "Thunderbolt Bridge".into(),
                device: Some("bridge0".into()),
                enabled,
                config: Some(config),
            }],
            ..State::default()
        };
        let now = of(config("manual", Some("192.168.2.1")), true);
        let net = "192.168.2.1/24".parse().unwrap();
        let begun = [Action::SetManual { service: "Thunderbolt Bridge".into(), net }];
        let back = |was: State| shown(&restore(&was, &now, &begun));
        assert_eq!(
            back(of(config("DHCP", None), true)),
            ["sudo /usr/sbin/networksetup -setdhcp \"Thunderbolt Bridge\""]
        );
        assert_eq!(
            back(of(config("manual", Some("10.0.0.1")), false)),
            [
                "sudo /usr/sbin/networksetup -setmanual \"Thunderbolt Bridge\" 10.0.0.1 255.255.255.0 \"\"",
                "sudo /usr/sbin/networksetup -setnetworkserviceenabled \"Thunderbolt Bridge\" off",
            ]
        );
        assert_eq!(
            back(of(config("off", None), true)),
            ["sudo /usr/sbin/networksetup -setv4off \"Thunderbolt Bridge\""]
        );
        assert_eq!(
            back(of(config("Manually Using DHCP Router", Some("10.0.0.1")), true)),
            [
                "sudo /usr/sbin/networksetup -setmanualwithdhcprouter \"Thunderbolt Bridge\" 10.0.0.1"
            ]
        );
    }
}
