use std::{collections::BTreeMap, sync::Mutex};

use super::*;

/// Answers from a map; whatever is not in it did not answer in time.
#[derive(Default)]
struct Made {
    answers: BTreeMap<String, &'static str>,
    asked: Mutex<Vec<String>>,
}

impl Answer for Made {
    fn answer(&self, query: &Query) -> Result<Vec<u8>, Unknown> {
        self.asked.lock().unwrap().push(query.recorded_as());
        match self.answers.get(&query.recorded_as()) {
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => Err(Unknown::TimedOut { limit_ms: 5 }),
        }
    }
}

const ORDER: &str = "(1) USB 10/100/1000 LAN\n(Hardware Port: USB 10/100/1000 LAN, Device: en7)\n\
                     (2) Tailscale\n(Hardware Port: io.tailscale.ipn.macsys, Device: )\n";

fn made() -> Made {
    let answers = [
        ("networksetup-listnetworkserviceorder.txt", ORDER),
        ("networksetup-getinfo/USB 10:100:1000 LAN.txt", "DHCP Configuration\n"),
        ("ifconfig.txt", "en7: flags=8863<UP> mtu 1500\n\tinet 10.0.0.1 netmask 0xffffff00\n"),
    ];
    let answers = answers.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    Made { answers, ..Made::default() }
}

#[test]
fn what_answers_is_known_and_what_hangs_is_unknown() {
    let peer = "10.0.0.2".parse().unwrap();
    let snapshot = full(&made(), &Request { peers: vec![peer] });
    assert_eq!(snapshot.interfaces.items()[0].name, "en7");
    let service = &snapshot.services.items()[0];
    assert!(service.config.value().is_some());
    assert_eq!(
        snapshot.services.items()[1].config.source().unwrap().as_str(),
        "networksetup -getinfo Tailscale"
    );
    for silent in [
        snapshot.hardware_ports.is_unknown(),
        snapshot.thunderbolt_ports.is_unknown(),
        snapshot.routes.is_unknown(),
        snapshot.preferences.is_unknown(),
        snapshot.internet_sharing.is_unknown(),
        snapshot.peer_routes[&peer].is_unknown(),
    ] {
        assert!(silent);
    }
}

#[test]
fn a_link_is_opened_from_quick_sources_alone() {
    let made = made();
    quick(&made);
    let mut asked = made.asked.into_inner().unwrap();
    asked.sort();
    assert_eq!(
        asked,
        [
            "ifconfig.txt",
            "networksetup-listallhardwareports.txt",
            "networksetup-listnetworkserviceorder.txt",
            "preferences.plist.txt",
        ]
    );
}

#[test]
fn sources_read_as_a_person_would_type_them() {
    let peer: IpAddr = "fd00::2".parse().unwrap();
    let sources: Vec<String> = queries(&Request { peers: vec![peer] })
        .into_iter()
        .chain([Query::ServiceInfo("Thunderbolt 브리지".into())])
        .map(|query| query.source().to_string())
        .collect();
    assert_eq!(
        sources,
        [
            "networksetup -listnetworkserviceorder",
            "networksetup -listallhardwareports",
            "ifconfig",
            "system_profiler SPThunderboltDataType -json",
            "netstat -rn",
            "/Library/Preferences/SystemConfiguration/com.apple.nat.plist",
            "/Library/Preferences/SystemConfiguration/preferences.plist",
            "sw_vers -productVersion",
            "scutil --nwi",
            "socketfilterfw --getglobalstate",
            "rdma_ctl status",
            "ibv_devices",
            "/Library/LaunchDaemons/io.exo.networksetup.plist",
            "log show --last 10m --style syslog --predicate 'eventMessage CONTAINS \"Local network prohibited\"'",
            "route -n get -inet6 fd00::2",
            "networksetup -getinfo \"Thunderbolt 브리지\"",
        ]
    );
}

#[test]
fn no_route_is_an_answer() {
    struct NoRoute;
    impl Answer for NoRoute {
        fn answer(&self, _: &Query) -> Result<Vec<u8>, Unknown> {
            let detail = "route: writing to routing socket: not in table".into();
            Err(Unknown::Failed { detail })
        }
    }
    let reading = peer_route(&NoRoute, "10.0.0.2".parse().unwrap());
    assert_eq!(reading.value().unwrap().interface, None);
}

#[test]
fn property_lists_are_recorded_without_what_is_nobodys_business() {
    let mut made = made();
    made.answers.insert(
        "preferences.plist.txt".into(),
        "{ System = { HostName = secret; }; NetworkServices = { A = { Interface = { Hardware = \
         AirPort; DeviceName = en0; }; }; }; }",
    );
    let answers = answers(&made, &Request::default());
    let (_, preferences) = answers.iter().find(|(n, _)| n == "preferences.plist.txt").unwrap();
    let text = String::from_utf8(preferences.clone().unwrap()).unwrap();
    assert!(text.contains("AirPort") && !text.contains("secret"), "{text}");
    assert!(answers.iter().any(|(n, _)| n == "networksetup-getinfo/USB 10:100:1000 LAN.txt"));
    assert!(!answers.iter().any(|(n, _)| n.contains("Tailscale")));
}

/// The set `good`, but system_profiler hangs until every other source was asked: that they are
/// asked beside it, and not after it, is what lets them be.
struct Hanging {
    others: Mutex<std::sync::mpsc::Receiver<()>>,
    asked: std::sync::mpsc::Sender<()>,
}

impl Answer for Hanging {
    fn is_recorded(&self) -> bool {
        true
    }

    fn answer(&self, query: &Query) -> Result<Vec<u8>, Unknown> {
        if *query == Query::Thunderbolt {
            let others = self.others.lock().unwrap();
            for _ in 1..queries(&Request::default()).len() {
                others
                    .recv_timeout(Duration::from_secs(20))
                    .expect("the others are asked meanwhile");
            }
            return command::run("/bin/sh", &["-c", "sleep 60"], Duration::from_millis(50));
        }
        if !matches!(query, Query::ServiceInfo(_)) {
            // Nobody listens any more once all have been asked.
            let _ = self.asked.send(());
        }
        let set = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sets/good");
        super::super::recorded::read(set.as_ref(), &query.recorded_as())
    }
}

#[test]
fn a_source_that_hangs_delays_no_other_and_leaves_a_partial_answer() {
    let (asked, others) = std::sync::mpsc::channel();
    let hanging = Hanging { others: Mutex::new(others), asked };
    let snapshot = full(&hanging, &Request::default());
    assert!(matches!(
        snapshot.thunderbolt_ports,
        Reading::Unknown { why: Unknown::TimedOut { limit_ms: 50 }, .. }
    ));
    let report = crate::check::check(&snapshot, &crate::check::Expectation::default());
    assert_eq!(report.judged.unwrap().interface, "bridge0");
    assert_eq!(
        report.verdict,
        crate::check::Verdict::Good,
        "what is plugged in is unknown, and said"
    );
}
