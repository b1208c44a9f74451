//! Every capture is parsed or refused for a stated reason, and nothing makes a parser panic.

use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::*;
use crate::snapshot::{ConfigMethod, InterfaceType};

fn captures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures")
}

fn capture(name: &str) -> String {
    fs::read_to_string(captures().join(name)).unwrap()
}

/// What the parser that a capture belongs to makes of it, in a few words.
fn outcome(name: &str, text: &str) -> Option<Result<String, ParseError>> {
    let list = |count: usize, what: &str| format!("{count} {what}");
    Some(if name.starts_with("getinfo_") {
        service_info::parse(text).map(|c| {
            let show = |ip: Option<std::net::Ipv4Addr>| match ip {
                Some(ip) => ip.to_string(),
                None => "-".into(),
            };
            format!("{} {} {} {}", c.method, show(c.address), show(c.mask), show(c.router))
        })
    } else if name.starts_with("hwports_") {
        hardware_ports::parse(text).map(|ports| {
            let thunderbolt =
                |p: &&crate::snapshot::HardwarePort| crate::evidence::is_thunderbolt_port(&p.port);
            let devices: Vec<_> =
                ports.iter().filter(thunderbolt).filter_map(|p| p.device.clone()).collect();
            format!("{} ports, Thunderbolt: {}", ports.len(), devices.join(" "))
        })
    } else if name.starts_with("nsorder_") {
        service_order::parse(text).map(|rows| {
            let row = |r: &service_order::ServiceRow| {
                let off = if r.enabled { "" } else { "*" };
                format!("{off}{}", r.device.as_deref().unwrap_or("-"))
            };
            rows.iter().map(row).collect::<Vec<_>>().join(" ")
        })
    } else if name.starts_with("ifconfig_") || name.starts_with("linux_ip_a") {
        ifconfig::parse(text).map(|i| list(i.len(), "interfaces"))
    } else if name.starts_with("netstat_rn") {
        netstat::parse(text).map(|r| list(r.len(), "routes"))
    } else if name.starts_with("route_get") {
        route_get::parse(text).map(|r| format!("{:?} via {:?}", r.interface, r.gateway))
    } else if name.starts_with("nat_plist") {
        nat::parse(text.as_bytes()).map(|s| format!("{} {:?} to {:?}", s.enabled, s.from, s.to))
    } else if name.starts_with("SYNTHETIC_prefs") {
        preferences::parse(text.as_bytes()).map(|p| format!("{:?}", p.bridges))
    } else if name.starts_with("sp") {
        thunderbolt_json::parse(text).map(|ports| {
            let peers = ports.iter().flat_map(crate::snapshot::ThunderboltPort::peers).count();
            let devices: usize = ports.iter().map(|p| p.devices.len()).sum();
            format!("{} ports, {devices} devices, {peers} peers", ports.len())
        })
    } else if name.starts_with("scutil_nwi") {
        scutil_nwi::parse(text).map(|links| {
            let link =
                |l: &crate::snapshot::PreferredLink| format!("{} {:?}", l.interface, l.address);
            links.iter().map(link).collect::<Vec<_>>().join(", ")
        })
    } else if name.starts_with("socketfilterfw") {
        firewall::parse(text).map(|state| format!("{state:?}"))
    } else if name.starts_with("rdma_ctl") {
        rdma::parse_status(text).map(|enabled| format!("enabled: {enabled}"))
    } else if name.starts_with("ibv_devices") {
        rdma::parse_devices(text).map(|devices| format!("{devices:?}"))
    } else if name.starts_with("log_local_network") {
        local_network::parse(text).map(|refusals| format!("{refusals:?}"))
    } else {
        let (_, instead) = NOT_READ.iter().find(|(prefix, _)| name.starts_with(prefix))?;
        Err(ParseError::new("no source of a snapshot", *instead))
    })
}

/// Captures of commands that a snapshot does not ask, and what it goes by instead.
const NOT_READ: &[(&str, &str)] = &[
    ("arp_", "that a neighbour does not answer is learned from the peer itself"),
    ("getdnsservers_", "the link has no name servers to check"),
    (
        "getmtu_",
        "the kernel's MTU is read from ifconfig, the configured one from preferences.plist",
    ),
    ("getnetworkserviceenabled", "the service order marks disabled services, all in one answer"),
    (
        "ibv_devinfo",
        "rdma_ctl says whether RDMA is on; the state of its ports decides nothing here",
    ),
    ("ioreg_", "system_profiler lists the same ports, with the peers at their ends"),
    ("linux_dmesg", "sysfs says who is there now; the log says who once was, and needs root"),
    ("linux_lshw", "sysfs names the driver"),
    ("linux_lsmod", "that the module is loaded shows in the interfaces it makes"),
    ("linux_networkctl", "netlink lists the bond, its members and its addresses"),
    ("linux_proc_modules", "that the module is loaded shows in the interfaces it makes"),
    ("listallnetworkservices", "the service order lists the same services with their devices"),
    ("netstat_ib", "counters say nothing about the configuration"),
    ("sysctl_tcp", "the transport sets its buffers itself"),
];

#[test]
fn every_capture_is_parsed_or_refused_for_a_reason() {
    let mut names: Vec<String> = fs::read_dir(captures())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "SOURCES.md")
        .collect();
    names.sort();
    let mut report = String::new();
    for name in names {
        let text = capture(&name);
        let outcome = outcome(&name, &text).unwrap_or_else(|| panic!("{name}: no parser"));
        let line = match &outcome {
            Ok(words) => words.clone(),
            Err(error) => format!("REFUSED {error}"),
        };
        report.push_str(&format!("{name}: {line}\n"));
        // The same words with Windows line ends must not change the outcome.
        let crlf = outcome_of_crlf(&name, &text);
        assert_eq!(crlf.map_err(|_| ()), outcome.map_err(|_| ()), "{name} with CRLF");
    }
    insta::assert_snapshot!("captures", report);
}

fn outcome_of_crlf(name: &str, text: &str) -> Result<String, ParseError> {
    outcome(name, &text.replace('\n', "\r\n")).unwrap()
}

#[test]
fn disabled_spellings_and_gaps_in_the_numbers() {
    let rows = service_order::parse(&capture("nsorder_SYNTHETIC_disabled_spellings.txt")).unwrap();
    let seen: Vec<_> = rows.iter().map(|r| (r.name.as_str(), r.enabled)).collect();
    assert_eq!(
        seen,
        [
            ("Wi-Fi", true),
            ("Thunderbolt Bridge", false),
            ("Thunderbolt Bridge A", false),
            ("Thunderbolt Bridge B", false),
            ("Thunderbolt Bridge C", false),
        ]
    );
    let rows = service_order::parse(
        "(1) (Work) Ethernet, desk\n(Hardware Port: USB 10/100, LAN: x, Device: en9)\n\
         (7) Next\n(Hardware Port: io.tailscale.ipn.macsys, Device: )\n",
    )
    .unwrap();
    assert_eq!(rows[0].name, "(Work) Ethernet, desk");
    assert_eq!(rows[0].hardware_port.as_deref(), Some("USB 10/100, LAN: x"));
    assert_eq!(rows[0].device.as_deref(), Some("en9"));
    assert_eq!((rows[1].name.as_str(), rows[1].device.as_deref()), ("Next", None));
}

#[test]
fn what_a_command_says_when_it_fails_is_refused_in_its_own_words() {
    let error = service_info::parse("Foo is not a recognized network service.\n** Error: x\n");
    assert_eq!(
        error.unwrap_err().to_string(),
        "networksetup -getinfo: nothing recognised; it begins with \"Foo is not a recognized \
         network service.\""
    );
    let error = ifconfig::parse("ifconfig: interface bridge0 does not exist").unwrap_err();
    assert!(error.detail.contains("does not exist"), "{error}");
    assert_eq!(hardware_ports::parse("").unwrap_err().detail, "it is empty");
    assert!(route_get::parse("route: bad address: peer").is_err());
    let none = route_get::parse("route: writing to routing socket: not in table").unwrap();
    assert_eq!((none.interface, none.rejected), (None, false));
    assert!(ip_json::parse_addresses(&capture("linux_ip_a_thunderbolt0_linklocal.txt")).is_err());
}

#[test]
fn ifconfig_reads_addresses_members_status_and_index() {
    let all = ifconfig::parse(&capture("ifconfig_all_apple_silicon_bridge_inactive.txt")).unwrap();
    let named = |name: &str| all.iter().find(|i| i.name == name).unwrap();
    let bridge = named("bridge0");
    assert_eq!(bridge.interface_type, InterfaceType::Bridge);
    assert_eq!(bridge.members.as_deref().unwrap(), ["en1", "en2", "en3"]);
    assert_eq!((bridge.up, bridge.carrier), (Some(true), Some(false)));
    assert_eq!(named("en2").master.as_deref(), Some("bridge0"));
    assert_eq!(named("en0").index.unwrap().get(), 0xf);
    assert_eq!(named("en0").ipv4().next().unwrap().to_string(), "192.168.1.237/24");
    assert_eq!((named("lo0").carrier, named("stf0").up), (Some(true), Some(false)));
    assert_eq!(named("utun1").interface_type, InterfaceType::PointToPoint);

    let one = ifconfig::parse(&capture("ifconfig_v_en1_selfassigned.txt")).unwrap();
    assert_eq!(one[0].index.unwrap().get(), 5);
    let flat = ifconfig::parse(&capture("ifconfig_bridge0_2014_no_tabs.txt")).unwrap();
    assert_eq!(flat[0].members.as_deref().unwrap(), ["en1", "en2"]);
    let down = ifconfig::parse(&capture("ifconfig_bridge0_no_members_maccluster.txt")).unwrap();
    assert_eq!((down[0].up, down[0].members.as_deref()), (Some(false), Some(&[] as &[String])));
}

#[test]
fn netstat_reads_shortened_destinations_and_finds_the_interface_column() {
    let routes = netstat::parse(&capture("netstat_rn_lan.txt")).unwrap();
    let shown: Vec<_> = routes
        .iter()
        .map(|r| format!("{} {}", r.destination, r.interface.as_deref().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            "0.0.0.0/0 en0",
            "127.0.0.0/8 lo0",
            "127.0.0.1/32 lo0",
            "169.254.0.0/16 en0",
            "192.168.3.0/24 en0",
            "224.0.0.0/4 en0",
            "255.255.255.255/32 en0"
        ]
    );
    let scoped = netstat::parse(&capture("netstat_rn_linklocal_bridge0.txt")).unwrap();
    assert!(scoped[0].scoped && !scoped[2].scoped);
    let old = "Internet:\nDestination Gateway Flags Refs Use Netif Expire\n\
               10.25/24 link#18 UCS 1 0 bridge0 !\nInternet6:\n\
               Destination Gateway Flags Netif Expire\nfe80::%lo0/64 fe80::1%lo0 UcI lo0\n\
               default fe80::%utun0 UGcI utun0\n";
    let routes = netstat::parse(old).unwrap();
    assert_eq!(routes[0].interface.as_deref(), Some("bridge0"));
    assert_eq!(routes[2].destination.to_string(), "::/0");
}

#[test]
fn a_peer_is_an_item_with_a_domain_even_behind_a_hub() {
    let json = r#"{"SPThunderboltDataType": [{
        "_name": "bus_0", "domain_uuid_key": "OWN",
        "receptacle_1_tag": {"receptacle_id_key": "1", "link_status_key": "0x100"},
        "receptacle_4_tag": {"receptacle_id_key": 4, "link_status_key": "0x2"},
        "_items": [{"_name": "Hub", "_items": [
            {"_name": "Mac mini", "device_name_key": "Mac16,11", "domain_uuid_key": "PEER"}]}]
    }]}"#;
    let ports = thunderbolt_json::parse(json).unwrap();
    assert_eq!(ports.len(), 2);
    let port = &ports[1];
    assert_eq!((port.receptacle.as_deref(), port.connected), (Some("4"), Some(true)));
    assert_eq!(port.devices.len(), 2);
    assert_eq!(port.peers().next().unwrap().domain_uuid.as_deref(), Some("PEER"));
    assert_eq!(
        thunderbolt_json::parse(&capture("sptb_text_m4mini_no_device.txt")).unwrap_err().detail,
        "this is the text form; record it again with -json"
    );
}

#[test]
fn property_lists_are_read_in_every_form_and_written_as_xml() {
    let sharing = nat::parse(capture("nat_plist_sharing_to_bridge0.txt").as_bytes()).unwrap();
    assert_eq!(sharing.to, ["en1", "bridge0"]);
    assert_eq!(nat::parse(&nat::write(&sharing)).unwrap(), sharing);
    let numbered = "{\n  \"NAT\" => {\n \"Enabled\" => 1\n \"SharingDevices\" => [\n 0 => \"en1\"\n \
                    1 => \"bridge0\"\n ]\n }\n}";
    assert_eq!(nat::parse(numbered.as_bytes()).unwrap().to, ["en1", "bridge0"]);
    let with_data = "{\n  \"NAT\" => {\n \"Data\" => {length = 20, bytes = 0x62706c69 73743030 ... 0008 }\n \
                     \"Since\" => 2026-01-02 10:20:30 +0000\n \"SharingDevices\" => [\n 0 => \"en1\"\n ]\n }\n}";
    assert_eq!(nat::parse(with_data.as_bytes()).unwrap().to, ["en1"]);
    let mut binary = Vec::new();
    let xml = nat::write(&sharing);
    let value = plist::Value::from_reader(std::io::Cursor::new(&xml)).unwrap();
    value.to_writer_binary(&mut binary).unwrap();
    assert_eq!(nat::parse(&binary).unwrap(), sharing);

    let configured =
        preferences::parse(capture("SYNTHETIC_prefs_plist_bridge_excerpt.txt").as_bytes()).unwrap();
    assert!(configured.bridges[0].is_thunderbolt);
    assert_eq!(configured.bridges[0].members, ["en1", "en2", "en3"]);
    let with_wifi = crate::snapshot::Preferences { wifi_devices: vec!["en0".into()], ..configured };
    assert_eq!(preferences::parse(&preferences::write(&with_wifi)).unwrap(), with_wifi);
    assert!(preferences::parse(b"{ a = 1; }").is_err());
    let deep = "{a=".repeat(100_000);
    assert!(nat::parse(deep.as_bytes()).unwrap_err().detail.contains("nested deeper"));
}

#[test]
fn ip_json_is_read_and_written_alike() {
    let text = r#"[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"mtu":65536,
        "address":"00:00:00:00:00:00",
        "addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},
      {"ifindex":5,"ifname":"bond0","flags":["UP","LOWER_UP"],"mtu":1500,
        "linkinfo":{"info_kind":"bond"},
        "addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":24,"dynamic":true},
                     {"family":"inet6","local":"fe80::1","prefixlen":64,"tentative":true}]},
      {"ifindex":6,"ifname":"thunderbolt0","flags":["UP"],"mtu":1500,"master":"bond0",
        "addr_info":[]}]"#;
    let interfaces = ip_json::parse_addresses(text).unwrap();
    assert_eq!(interfaces[1].members.as_deref().unwrap(), ["thunderbolt0"]);
    assert_eq!(interfaces[2].carrier, Some(false));
    let written = ip_json::write_addresses(&interfaces);
    assert_eq!(ip_json::parse_addresses(&written).unwrap(), interfaces);

    let routes = ip_json::parse_routes(
        r#"[{"dst":"default","gateway":"10.0.0.9","dev":"eth0","metric":100},
            {"dst":"10.0.0.7","dev":"bond0"}]"#,
        ip_json::Family::V4,
    )
    .unwrap();
    assert_eq!(routes[1].destination.to_string(), "10.0.0.7/32");
    let again = ip_json::write_routes(&routes);
    assert_eq!(ip_json::parse_routes(&again, ip_json::Family::V4).unwrap(), routes);
}

#[test]
fn masks_with_holes_are_no_masks() {
    assert_eq!(prefix_len(0xffff_ff00), Some(24));
    assert_eq!((prefix_len(0), prefix_len(u32::MAX)), (Some(0), Some(32)));
    assert_eq!(prefix_len(0xff00_ff00), None);
    assert_eq!(method_of("Manual Configuration\n"), ConfigMethod::Manual);
    assert_eq!(method_of("BOOTP Configuration"), ConfigMethod::Other("BOOTP".into()));
}

fn method_of(text: &str) -> ConfigMethod {
    service_info::parse(text).unwrap().method
}

/// All parsers over the same bytes: only a panic can fail.
fn all(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = service_order::parse(&text);
    let _ = hardware_ports::parse(&text);
    let _ = service_info::parse(&text);
    let _ = ifconfig::parse(&text);
    let _ = netstat::parse(&text);
    let _ = route_get::parse(&text);
    let _ = thunderbolt_json::parse(&text);
    let _ = nat::parse(bytes);
    let _ = preferences::parse(bytes);
    let _ = ip_json::parse_addresses(&text);
    let _ = ip_json::parse_routes(&text, ip_json::Family::V6);
    let _ = ip_json::parse_route_get(&text);
    let _ = scutil_nwi::parse(&text);
    let _ = firewall::parse(&text);
    let _ = rdma::parse_status(&text);
    let _ = rdma::parse_devices(&text);
    let _ = local_network::parse(&text);
    let _ = word::parse(&text);
    let _ = word::parse_version(&text);
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        all(&bytes);
    }

    #[test]
    fn no_broken_capture_makes_a_parser_panic(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        insert in "\\PC{0,8}",
        drop_bytes in 0usize..40,
    ) {
        let mut names: Vec<_> = fs::read_dir(captures()).unwrap()
            .map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
        names.sort();
        let mut bytes = fs::read(&names[which.index(names.len())]).unwrap();
        let at = cut.index(bytes.len() + 1);
        let end = (at + drop_bytes).min(bytes.len());
        bytes.splice(at..end, insert.bytes());
        all(&bytes);
        all(&bytes[..at.min(bytes.len())]);
    }
}
