//! The quirks of macOS' tools, each by its name, on real captures changed as little as it takes.

use std::{fs, path::PathBuf};

use super::{
    hardware_ports, ifconfig, netstat, route_get, scutil_nwi, service_info, service_order,
    service_order::ServiceRow, thunderbolt_json,
};
use crate::snapshot::{Platform, Reading, Snapshot, Source, ThunderboltPort};

fn capture(name: &str) -> String {
    let captures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures");
    fs::read_to_string(captures.join(name)).unwrap()
}

fn order(text: &str) -> Vec<ServiceRow> {
    service_order::parse(text).unwrap()
}

/// Name and device of each service.
fn rows(rows: &[ServiceRow]) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row.name.as_str(), row.device.as_deref().unwrap_or("-"))).collect()
}

const ANYCONNECT: &str = "nsorder_tb_above_wifi_anyconnect_disabled.txt";

#[test]
fn windows_line_ends_change_nothing() {
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let text = capture(ANYCONNECT);
    assert_eq!(order(&crlf(&text)), order(&text));
    let text = capture("hwports_apple_silicon_2port.txt");
    assert_eq!(hardware_ports::parse(&crlf(&text)), hardware_ports::parse(&text));
    let text = capture("ifconfig_bridge0_active_static_mtu9000.txt");
    assert_eq!(ifconfig::parse(&crlf(&text)), ifconfig::parse(&text));
    let text = capture("getinfo_manual_no_router_usb.txt");
    assert_eq!(service_info::parse(&crlf(&text)), service_info::parse(&text));
    let text = capture("netstat_rn_linklocal_bridge0.txt");
    assert_eq!(netstat::parse(&crlf(&text)), netstat::parse(&text));
    let text = capture("route_get_default.txt");
    assert_eq!(route_get::parse(&crlf(&text)), route_get::parse(&text));
    let text = capture("scutil_nwi_en0.txt");
    assert_eq!(scutil_nwi::parse(&crlf(&text)), scutil_nwi::parse(&text));
    let text = capture("sptb_json_mbp_m5max_peer_80g.json");
    assert_eq!(thunderbolt_json::parse(&crlf(&text)), thunderbolt_json::parse(&text));
}

#[test]
fn a_missing_header_takes_nothing_with_it() {
    let text = capture(ANYCONNECT);
    let (header, without) = text.split_once('\n').unwrap();
    assert!(header.starts_with("An asterisk"));
    assert_eq!(order(without), order(&text));
    let text = capture("netstat_rn_lan.txt");
    let is_heading = |line: &&str| !line.starts_with("Internet") && !line.starts_with("Dest");
    let without: Vec<&str> = text.lines().filter(is_heading).collect();
    assert_eq!(netstat::parse(&without.join("\n")), netstat::parse(&text));
    let text = capture("hwports_apple_silicon_2port.txt");
    let without = text.split("VLAN Configurations").next().unwrap();
    assert_eq!(hardware_ports::parse(without), hardware_ports::parse(&text));
    // Nothing at all is not an empty list: that would look fine.
    assert!(service_order::parse("").is_err());
    assert!(hardware_ports::parse("").is_err());
}

#[test]
fn an_empty_device_is_none() {
    let rows = order(&capture(ANYCONNECT));
    assert_eq!(rows[3].hardware_port.as_deref(), Some("com.cisco.anyconnect"));
    assert_eq!((rows[3].device.as_deref(), rows[4].device.as_deref()), (None, None));
    let ports = "Hardware Port: Bluetooth PAN\nDevice: \nEthernet Address: N/A\n";
    let ports = hardware_ports::parse(ports).unwrap();
    assert_eq!((ports[0].device.as_deref(), ports[0].mac.as_deref()), (None, None));
}

#[test]
fn numbers_with_gaps_do_not_decide_the_order() {
    let text = capture(ANYCONNECT);
    // A disabled service takes a number without printing it.
    assert!(text.contains("(3) Wi-Fi") && text.contains("(6) Tailscale") && !text.contains("(4)"));
    let names = rows(&order(&text)).iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        names,
        ["Ethernet", "Thunderbolt Bridge", "Wi-Fi", "000香港专线-[分流模式]", "Tailscale"]
    );
    let backwards = text.replace("(3) Wi-Fi", "(9) Wi-Fi").replace("(1) Eth", "(7) Eth");
    assert_eq!(order(&backwards), order(&text));
}

#[test]
fn names_in_other_languages_and_in_quotes_are_kept_as_they_are() {
    let rows_of = order(&capture("nsorder_SYNTHETIC_localized_names.txt"));
    let bridges: Vec<_> =
        rows(&rows_of).into_iter().filter(|(_, device)| *device == "bridge0").collect();
    assert_eq!(
        bridges.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["Thunderbolt 브리지", "Thunderbolt ブリッジ", "Pont Thunderbolt", "Puente Thunderbolt"]
    );
    for name in ["Sam's \"fast\" cable", "(Work) desk, left", "$HOME `x` \\", "a: b"] {
        let text = format!("(1) {name}\n(Hardware Port: {name}, Device: bridge0)\n");
        let found = order(&text);
        assert_eq!(rows(&found), [(name, "bridge0")]);
        assert_eq!(found[0].hardware_port.as_deref(), Some(name));
    }
}

#[test]
fn two_services_on_one_bridge_are_two() {
    let found = order(&capture("nsorder_two_tb_services.txt"));
    assert_eq!(
        rows(&found)[2..],
        [("Thunderbolt Bridge", "bridge0"), ("Thunderbolt Bridge 2", "bridge0")]
    );
    assert!(found.iter().all(|row| row.enabled));
}

#[test]
fn a_peer_behind_a_hub_or_a_drive_is_seen() {
    // What is plugged into the peer's bus goes below a hub that comes before it.
    let mut json: serde_json::Value =
        serde_json::from_str(&capture("sptb_json_mbp_m5max_peer_80g.json")).unwrap();
    let buses = json["SPThunderboltDataType"].as_array_mut().unwrap();
    let bus = buses.iter_mut().find(|bus| bus["_items"].is_array()).unwrap();
    let peer = bus["_items"].take();
    let hub =
        serde_json::json!({ "_name": "Hub", "_items": [{ "_name": "Drive", "_items": peer }] });
    bus["_items"] = serde_json::json!([{ "_name": "Dock" }, hub]);
    let ports = thunderbolt_json::parse(&json.to_string()).unwrap();
    let port = ports.iter().find(|port| port.connected == Some(true)).unwrap();
    assert_eq!(port.devices.len(), 4);
    let peers: Vec<_> = port.peers().map(|peer| peer.domain_uuid.as_deref().unwrap()).collect();
    assert_eq!(peers, ["28CA4C30-A263-4C55-B302-953416D0B209"]);
    // A drive on another bus is no computer.
    let text = capture("sptb_json_studio_m3ultra_peer_80g_plus_drive.json");
    let ports = thunderbolt_json::parse(&text).unwrap();
    assert_eq!(ports.iter().map(|port| port.devices.len()).sum::<usize>(), 2);
    assert_eq!(ports.iter().flat_map(ThunderboltPort::peers).count(), 1);
}

#[test]
fn receptacles_with_gaps_lead_to_their_own_devices() {
    let text = capture("sptb_json_studio_m3ultra_peer_80g_plus_drive.json");
    // Of six only the fourth and the second are left.
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let buses = json["SPThunderboltDataType"].as_array_mut().unwrap();
    buses.retain(|bus| bus["_items"].is_array());
    let ports = thunderbolt_json::parse(&json.to_string()).unwrap();
    let numbers: Vec<_> = ports.iter().map(|port| port.receptacle.as_deref().unwrap()).collect();
    assert_eq!(numbers, ["4", "2"]);
    // Whose devices have numbers of their own.
    let listed = "Hardware Port: Thunderbolt 2\nDevice: en9\nEthernet Address: N/A\n\n\
                  Hardware Port: Thunderbolt 4\nDevice: en3\nEthernet Address: N/A\n";
    let mut snapshot = Snapshot::empty(Platform::MacOs);
    snapshot.hardware_ports =
        Reading::known(hardware_ports::parse(listed).unwrap(), Source::new("a test"));
    let devices: Vec<_> = ports.iter().map(|port| snapshot.device_of(port)).collect();
    assert_eq!(devices, [Some("en3"), Some("en9")]);
}
