//! What setup and its undoing would run on a Mac, argument by argument: for each recorded situation
//! the words that reach the system, and for every command there can be the form in which macOS
//! documents it.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{
    restore,
    state::{ConfigState, ServiceState, State},
    tests::{load, plan_with, said},
    *,
};

/// The SYNOPSIS sections of macOS' networksetup(8), ifconfig(8) and route(8), as far as they are
/// used. What is not a placeholder stands there word for word. For `hardwareport` a device's name
/// does as well, as in the manual's own `-getMTU en0`: names of ports are in any language.
const SYNOPSES: &[(&str, &str)] = &[
    ("/usr/sbin/networksetup", "-setmanual networkservice ip subnet router"),
    ("/usr/sbin/networksetup", "-setdhcp networkservice"),
    ("/usr/sbin/networksetup", "-setbootp networkservice"),
    ("/usr/sbin/networksetup", "-setmanualwithdhcprouter networkservice ip"),
    ("/usr/sbin/networksetup", "-setv4off networkservice"),
    ("/usr/sbin/networksetup", "-setnetworkserviceenabled networkservice on|off"),
    ("/usr/sbin/networksetup", "-createnetworkservice networkservicename hardwareport"),
    ("/usr/sbin/networksetup", "-removenetworkservice networkservice"),
    ("/usr/sbin/networksetup", "-ordernetworkservices service..."),
    ("/usr/sbin/networksetup", "-setMTU hardwareport value"),
    ("/sbin/ifconfig", "interface up|down"),
    ("/sbin/route", "-n delete destination"),
];

/// Whether a word can stand for a placeholder, or is the word itself.
fn stands_for(word: &str, place: &str) -> bool {
    let is_ip = || word.parse::<Ipv4Addr>().is_ok();
    let is_device = || !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric());
    match place {
        "networkservice" | "networkservicename" | "service..." => !word.is_empty(),
        "ip" | "destination" => is_ip(),
        "subnet" => {
            word.parse().is_ok_and(|mask| Ipv4Net::with_netmask(Ipv4Addr::LOCALHOST, mask).is_ok())
        }
        // An empty word leaves the field blank; `(null)` would be taken for a router.
        "router" => word.is_empty() || is_ip(),
        "hardwareport" | "interface" => is_device(),
        "value" => word.parse().is_ok_and(|mtu: u32| (1280..=65_518).contains(&mtu)),
        choice if choice.contains('|') => choice.split('|').any(|one| one == word),
        literal => word == literal,
    }
}

fn is_documented(argv: &[String]) -> bool {
    let Some((program, words)) = argv.split_first() else { return false };
    SYNOPSES.iter().filter(|(of, _)| of == program).any(|(_, synopsis)| {
        let places: Vec<&str> = synopsis.split(' ').collect();
        let rest = places.last().is_some_and(|last| last.ends_with("..."));
        let place = |at: usize| places.get(at).or(places.last().filter(|_| rest));
        let fits = |(at, word): (usize, &String)| place(at).is_some_and(|p| stands_for(word, p));
        words.len() >= places.len() && words.iter().enumerate().all(fits)
    })
}

/// A Mac's action by the flag that it is about; `None` for Linux' actions. A new action has to be
/// told of here, and shown below.
fn kind(action: &Action) -> Option<&'static str> {
    match action {
        Action::EnableService { .. } => Some("-setnetworkserviceenabled"),
        Action::CreateService { .. } => Some("-createnetworkservice"),
        Action::BringUp { .. } => Some("ifconfig"),
        Action::SetManual { .. } => Some("-setmanual"),
        Action::SetDhcp { .. } => Some("-setdhcp"),
        Action::Order { .. } => Some("-ordernetworkservices"),
        Action::SetDeviceMtu { .. } => Some("-setMTU"),
        Action::DropRejectRoute { .. } => Some("route"),
        Action::SwitchOn { .. }
        | Action::SetMtu { .. }
        | Action::DropAddress { .. }
        | Action::AddAddress { .. }
        | Action::DropDefaultRoute { .. }
        | Action::PreferRoute { .. }
        | Action::KeepNetworkd { .. }
        | Action::KeepNetworkManager { .. } => None,
    }
}

const KINDS: usize = 8;

/// A situation, what is wished for in it, and the words of each command, `sudo` first.
struct Row {
    set: &'static str,
    wish: Wish,
    runs: &'static [&'static [&'static str]],
}

fn row(set: &'static str, runs: &'static [&'static [&'static str]]) -> Row {
    Row { set, wish: Wish::default(), runs }
}

fn towards(peer: &str, row: Row) -> Row {
    Row { wish: Wish { peer: Some(peer.parse().unwrap()), ..row.wish }, ..row }
}

const NETWORKSETUP: &str = "/usr/sbin/networksetup";
const BRIDGE: &str = "Thunderbolt Bridge";
const MASK: &str = "255.255.255.0";

/// `networksetup -setmanual` of the bridge's service, with a blank router.
macro_rules! manual {
    ($ip:literal) => {
        &["sudo", NETWORKSETUP, "-setmanual", BRIDGE, $ip, MASK, ""]
    };
}

fn rows() -> Vec<Row> {
    vec![
        // Both ends see the UUIDs of both: here the greater one is this machine's, it takes .2.
        row("self-assigned", &[manual!("192.168.2.2")]),
        towards("192.168.2.2", row("self-assigned", &[manual!("192.168.2.1")])),
        towards("192.168.2.1", row("self-assigned", &[manual!("192.168.2.2")])),
        row("dhcp-no-address", &[manual!("192.168.2.2")]),
        row("dhcp-lease", &[manual!("192.168.2.3")]),
        row("router-set", &[manual!("10.25.0.1")]),
        row("subnet-overlap", &[manual!("192.168.99.2")]),
        row("vmnet-clash", &[manual!("192.168.99.2")]),
        row(
            "service-below-wifi",
            &[&[
                "sudo",
                NETWORKSETUP,
                "-ordernetworkservices",
                BRIDGE,
                "USB 10/100/1000 LAN",
                "Wi-Fi",
                "Thunderbolt Bridge 2",
            ]],
        ),
        row(
            "service-disabled",
            &[
                &["sudo", NETWORKSETUP, "-setnetworkserviceenabled", BRIDGE, "on"],
                manual!("192.168.2.2"),
            ],
        ),
        row(
            "service-missing",
            &[
                &["sudo", NETWORKSETUP, "-createnetworkservice", BRIDGE, "bridge0"],
                manual!("192.168.2.2"),
                &[
                    "sudo",
                    NETWORKSETUP,
                    "-ordernetworkservices",
                    BRIDGE,
                    "Ethernet",
                    "Wi-Fi",
                    "000香港专线-[分流模式]",
                    "Tailscale",
                ],
            ],
        ),
        row(
            "address-on-usb-port",
            &[&["sudo", NETWORKSETUP, "-setdhcp", "Ethernet Adapter (en0)"], manual!("10.77.0.1")],
        ),
        row("link-down", &[&["sudo", "/sbin/ifconfig", "bridge0", "up"]]),
        towards(
            "10.25.0.2",
            row("route-rejected", &[&["sudo", "/sbin/route", "-n", "delete", "10.25.0.2"]]),
        ),
        Row {
            set: "good",
            wish: Wish { mtu: Some(4000), ..Wish::default() },
            runs: &[&["sudo", NETWORKSETUP, "-setMTU", "bridge0", "4000"]],
        },
        // The lesser of both ends' largest packets.
        Row {
            set: "good",
            wish: Wish { answered: Some(said("10.25.0.2/24", 1400, &[])), ..Wish::default() },
            runs: &[&["sudo", NETWORKSETUP, "-setMTU", "bridge0", "1400"]],
        },
        Row {
            set: "bridge-missing",
            wish: Wish { per_port: true, ..Wish::default() },
            runs: &[
                &["sudo", NETWORKSETUP, "-createnetworkservice", "Thunderbolt 1", "en2"],
                &[
                    "sudo",
                    NETWORKSETUP,
                    "-setmanual",
                    "Thunderbolt 1",
                    "10.97.165.58",
                    "255.255.255.252",
                    "",
                ],
            ],
        },
        // A name in another language is passed on as it is.
        Row {
            set: "good-korean-names",
            wish: Wish { address: Some("10.99.0.1/24".parse().unwrap()), ..Wish::default() },
            runs: &[&[
                "sudo",
                NETWORKSETUP,
                "-setmanual",
                "Thunderbolt 브리지",
                "10.99.0.1",
                MASK,
                "",
            ]],
        },
    ]
}

#[test]
fn each_situation_runs_just_these_words() {
    let mut kinds = BTreeSet::new();
    for Row { set, wish, runs } in rows() {
        let plan = plan_with(set, wish).unwrap();
        let commands: Vec<CommandLine> =
            plan.steps.iter().flat_map(|step| step.action.commands()).collect();
        let words: Vec<Vec<&str>> = commands.iter().map(|c| c.words(false)).collect();
        assert_eq!(words, runs, "{set}");
        for command in &commands {
            assert!(is_documented(&command.argv), "{set}: {:?}", command.argv);
            assert_eq!(command.words(true), command.argv, "root needs no sudo");
            assert_eq!(command.stdin, None);
        }
        kinds.extend(plan.steps.iter().filter_map(|step| kind(&step.action)));
    }
    assert_eq!(kinds.len(), KINDS, "shown: {kinds:?}");
}

#[test]
fn no_plan_of_any_recorded_mac_leaves_the_documented_forms() {
    let mut seen = 0;
    let sets = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sets");
    for entry in std::fs::read_dir(sets).unwrap() {
        let entry = entry.unwrap();
        if !entry.path().is_dir() {
            continue;
        }
        let set = entry.file_name().into_string().unwrap();
        if load(&set, None).platform != Platform::MacOs {
            continue;
        }
        for per_port in [false, true] {
            for peer in [None, Some("10.25.0.2"), Some("192.168.2.1")] {
                let peer = peer.map(|peer| peer.parse().unwrap());
                let wish = Wish { per_port, peer, mtu: Some(9000), ..Wish::default() };
                let Ok(plan) = plan_with(&set, wish) else { continue };
                for command in plan.steps.iter().flat_map(|step| step.action.commands()) {
                    assert!(is_documented(&command.argv), "{set}: {:?}", command.argv);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 100, "{seen} commands");
}

#[test]
fn undoing_runs_just_these_words() {
    let config = |method: &str, address: Option<&str>| ConfigState {
        method: method.into(),
        address: address.map(|a| a.parse().unwrap()),
        mask: address.map(|_| MASK.parse().unwrap()),
        router: None,
    };
    let service = |name: &str, device: &str, config, enabled| ServiceState {
        name: name.into(),
        device: Some(device.into()),
        enabled,
        config: Some(config),
    };
    let link = |up, mtu| state::LinkState {
        name: "bridge0".into(),
        up: Some(up),
        mtu: Some(mtu),
        ..state::LinkState::default()
    };
    let of = |services: Vec<ServiceState>, link| State {
        services,
        links: vec![link],
        ..State::default()
    };
    let net = "192.168.2.1/24".parse().unwrap();
    let wifi = || service("Wi-Fi", "en1", config("dhcp", None), true);
    let ours = || service(BRIDGE, "bridge0", config("manual", Some("192.168.2.1")), true);
    let begun = [
        Action::EnableService { service: BRIDGE.into() },
        Action::SetManual { service: BRIDGE.into(), net },
        Action::Order { services: vec![BRIDGE.into(), "Wi-Fi".into()] },
        Action::BringUp { interface: "bridge0".into() },
        Action::SetDeviceMtu { device: "bridge0".into(), mtu: 9000 },
    ];
    let now = of(vec![ours(), wifi()], link(true, 9000));
    let undo = |before: &State, now: &State, begun: &[Action]| -> Vec<Vec<String>> {
        let commands = restore(before, now, begun);
        for command in &commands {
            assert!(is_documented(&command.argv), "{:?}", command.argv);
        }
        let words = |c: &CommandLine| c.words(false).into_iter().map(str::to_owned).collect();
        commands.iter().map(words).collect()
    };
    let was = |config, enabled| {
        let bridge = service(BRIDGE, "bridge0", config, enabled);
        of(vec![wifi(), bridge], link(false, 1500))
    };
    assert_eq!(
        undo(&was(config("dhcp", None), false), &now, &begun),
        [
            &["sudo", NETWORKSETUP, "-setdhcp", BRIDGE][..],
            &["sudo", NETWORKSETUP, "-setnetworkserviceenabled", BRIDGE, "off"],
            &["sudo", NETWORKSETUP, "-ordernetworkservices", "Wi-Fi", BRIDGE],
            &["sudo", NETWORKSETUP, "-setMTU", "bridge0", "1500"],
            &["sudo", "/sbin/ifconfig", "bridge0", "down"],
        ]
    );
    let configured: [(_, &[&str]); 4] = [
        (config("manual", Some("10.0.0.1")), &["-setmanual", BRIDGE, "10.0.0.1", MASK, ""]),
        (config("off", None), &["-setv4off", BRIDGE]),
        (config("BOOTP", None), &["-setbootp", BRIDGE]),
        (
            config("Manually Using DHCP Router", Some("10.0.0.1")),
            &["-setmanualwithdhcprouter", BRIDGE, "10.0.0.1"],
        ),
    ];
    for (config, words) in configured {
        let first = undo(&was(config, true), &now, &begun).remove(0);
        assert_eq!(first, [&["sudo", NETWORKSETUP], words].concat());
    }
    // A service that setup made is removed again.
    let made = [Action::CreateService { service: BRIDGE.into(), device: "bridge0".into() }];
    let before = of(vec![wifi()], link(true, 1500));
    let after = of(vec![wifi(), ours()], link(true, 1500));
    assert_eq!(
        undo(&before, &after, &made),
        [["sudo", NETWORKSETUP, "-removenetworkservice", BRIDGE]]
    );
}
