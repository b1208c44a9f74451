//! Back to what was saved, from wherever it was left.

use serde_json::json;

use super::*;

fn state(addresses: Vec<Value>, routes: Vec<Value>) -> State {
    with_routes(addresses, RouteState::over("br0", &routes))
}

fn with_routes(addresses: Vec<Value>, routes: Vec<RouteState>) -> State {
    let name = "br0".to_owned();
    let (up, mtu) = (Some(true), Some(1500));
    let link = LinkState { name, up, mtu, addresses, routes, ..LinkState::default() };
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

/// The route that the kernel makes of an address of `10.0.0.0/24`.
fn connected(dev: &str) -> Value {
    json!({"type": "unicast", "dst": "10.0.0.0/24", "dev": dev, "table": "main",
           "protocol": "kernel", "scope": "link", "prefsrc": "10.0.0.1", "flags": []})
}

#[test]
fn routes_of_people_come_back_and_those_of_the_kernel_by_themselves() {
    let by_hand = json!({"type": "unicast", "dst": "default", "gateway": "10.0.0.7",
        "dev": "br0", "table": "main", "protocol": "static", "scope": "global", "metric": 50,
        "flags": ["linkdown"]});
    let ours = json!({"type": "unicast", "dst": "192.168.2.2", "dev": "br0", "table": "main",
        "protocol": "boot", "scope": "link", "prefsrc": "192.168.2.1", "flags": []});
    let saved = state(vec![address("10.0.0.1")], vec![connected("br0"), by_hand]);
    let now = state(vec![], vec![ours]);
    assert_eq!(
        shown(&restore(&saved, &now, &[added("192.168.2.1/24")])),
        [
            "sudo ip address add 10.0.0.1/24 scope global dev br0",
            "sudo ip route del 192.168.2.2 dev br0 table main proto boot scope link src 192.168.2.1",
            "sudo ip route prepend default via 10.0.0.7 dev br0 table main proto static scope global metric 50",
        ]
    );
}

#[test]
fn a_route_comes_back_before_or_behind_its_equal_over_another_link() {
    let route = "10.0.0.0/24 dev br0 table main proto kernel scope link src 10.0.0.1";
    let ordered = |devs: &[&str]| {
        state(vec![address("10.0.0.1")], devs.iter().map(|dev| connected(dev)).collect())
    };
    let (first, last) = (ordered(&["br0", "wifi0"]), ordered(&["wifi0", "br0"]));
    let back = |saved: &State, now: &State| {
        shown(&restore(saved, now, &[added("192.168.2.1/24")])).join("; ")
    };
    let is = |verb: &str| format!("sudo ip route del {route}; sudo ip route {verb} {route}");
    assert_eq!(back(&first, &last), is("prepend"));
    assert_eq!(back(&last, &first), is("append"));
    assert_eq!(back(&last, &last), "");
    // Cut off in between: it is there no more, and only has to be put back.
    let cut = ordered(&["wifi0"]);
    assert_eq!(back(&first, &cut), format!("sudo ip route prepend {route}"));
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
        ["sudo /usr/sbin/networksetup -setmanualwithdhcprouter \"Thunderbolt Bridge\" 10.0.0.1"]
    );
}

#[test]
fn ipv6_that_a_keeper_took_away_comes_back_and_nothing_else_goes() {
    let fixed = |local: &str| {
        json!({"family": "inet6", "local": local, "prefixlen": 64, "scope": "global",
               "nodad": true, "valid_life_time": 4_294_967_295_u32})
    };
    let way = json!({"type": "unicast", "dst": "fd99::/64", "gateway": "fd25::2", "dev": "br0",
                     "table": "main", "protocol": "boot", "scope": "global", "metric": 1024});
    let with = |addresses6: Vec<Value>, routes6: Vec<Value>| {
        let mut state = state(vec![], vec![]);
        (state.links[0].addresses6, state.links[0].routes6) = (addresses6, routes6);
        state
    };
    let saved = with(vec![fixed("fd25::1")], vec![way.clone()]);
    let back = |now: &State, begun: &[Action]| shown(&restore(&saved, now, begun));
    let kept = Action::KeepNetworkd { interface: "br0".into(), text: String::new() };
    let begun = [added("192.168.2.1/24"), kept];
    assert_eq!(
        back(&with(vec![fixed("fd26::1")], vec![]), &begun),
        [
            "sudo ip address add fd25::1/64 dev br0 nodad",
            "sudo ip -6 route add fd99::/64 via fd25::2 dev br0 table main proto boot scope global \
             metric 1024",
        ]
    );
    assert_eq!(back(&saved, &begun), [""; 0]);
    let gone = with(vec![], vec![]);
    assert_eq!(back(&gone, &begun[..1]), [""; 0], "no step of ours takes it away: the user did");
}
