//! Machines that could be, and what their tools would print of them, with the quirks that captures
//! show: Windows line ends, a header that is missing, devices that are empty, numbers with gaps, names
//! in any language, several services on one bridge, hubs before peers, receptacles with gaps.

use std::{fmt::Write as _, num::NonZeroU32};

use exo_netconfig::snapshot::{
    Address, ConfigMethod, ConfiguredBridge, HardwarePort, Interface, InterfaceType, Preferences,
    Route, ServiceConfig,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use plist::Value;
use serde_json::json;

use crate::random::Random;

/// Names as people and systems give them.
const NAMES: &[&str] = &[
    "Wi-Fi",
    "Ethernet",
    "Thunderbolt Bridge",
    "Thunderbolt Bridge 2",
    "Thunderbolt 브리지",
    "Thunderboltブリッジ",
    "雷雳网桥",
    "Pont Thunderbolt",
    "Puente Thunderbolt",
    "000香港专线-[分流模式]",
    "USB 10/100/1000 LAN",
    "(Work) Ethernet, desk",
    "Sam's \"fast\" cable",
    "a: b",
    "Tailscale $HOME `x` \\ !",
    "io.tailscale.ipn.macsys",
];

/// How a tool prints, whatever it prints.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    crlf: bool,
    header: bool,
    spaces: bool,
}

impl Form {
    pub(crate) fn any(random: &mut Random) -> Self {
        Self { crlf: random.one_in(3), header: !random.one_in(4), spaces: random.one_in(3) }
    }

    fn end(self, text: String) -> String {
        if self.crlf { text.replace('\n', "\r\n") } else { text }
    }
}

pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) enabled: bool,
    pub(crate) port: String,
    pub(crate) device: Option<String>,
}

struct Bus {
    domain: Option<String>,
    /// The number on the case, and whether something is in it, as far as it is said.
    receptacles: Vec<(usize, Option<bool>)>,
    items: Vec<Item>,
}

struct Item {
    name: String,
    domain: Option<String>,
    items: Vec<Item>,
}

/// What is at the end of a receptacle.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cable {
    pub(crate) receptacle: Option<String>,
    pub(crate) connected: Option<bool>,
    pub(crate) devices: usize,
    pub(crate) peers: Vec<String>,
}

pub(crate) struct Machine {
    pub(crate) services: Vec<Service>,
    pub(crate) ports: Vec<HardwarePort>,
    pub(crate) interfaces: Vec<Interface>,
    buses: Vec<Bus>,
}

fn name(random: &mut Random) -> String {
    (*random.of(NAMES)).to_owned()
}

fn mac(random: &mut Random) -> String {
    let octets: Vec<String> = (0..6).map(|_| format!("{:02x}", random.below(256))).collect();
    octets.join(":")
}

fn ipv4(random: &mut Random) -> Ipv4Net {
    let networks = [[192, 168, 2, 0], [192, 168, 99, 0], [10, 0, 0, 0], [169, 254, 0, 0]];
    let mut octets = *random.of(&networks);
    octets[3] = random.next() as u8;
    Ipv4Net::new(octets.into(), *random.of(&[8, 16, 24, 25, 30, 32])).unwrap()
}

fn ipv6(random: &mut Random) -> Ipv6Net {
    let first = if random.one_in(2) { 0xfe80 } else { 0xfd00 };
    let last = random.next() as u16;
    Ipv6Net::new([first, 0, 0, 0, 0x1442, 0xa0bf, 0x3f10, last].into(), 64).unwrap()
}

impl Machine {
    pub(crate) fn any(random: &mut Random) -> Self {
        let count = 1 + random.below(6);
        let device = |random: &mut Random| match random.below(5) {
            // Two services on one bridge are nothing unusual.
            0 | 1 => Some("bridge0".to_owned()),
            2 => None,
            _ => Some(format!("en{}", random.below(9))),
        };
        let services = (0..count)
            .map(|_| Service {
                name: name(random),
                enabled: !random.one_in(3),
                port: name(random),
                device: device(random),
            })
            .collect();
        let ports = (0..count)
            .map(|_| HardwarePort {
                port: if random.one_in(2) {
                    format!("Thunderbolt {}", 1 + random.below(6))
                } else {
                    name(random)
                },
                device: device(random),
                mac: (!random.one_in(4)).then(|| mac(random)),
            })
            .collect();
        let buses = (0..random.below(4)).map(|_| Bus::any(random)).collect();
        Self { services, ports, interfaces: interfaces(random), buses }
    }

    pub(crate) fn service_order(&self, form: Form, random: &mut Random) -> String {
        let mut text = String::new();
        if form.header {
            text.push_str("An asterisk (*) denotes that a network service is disabled.\n");
        }
        let mut number = 0;
        for service in &self.services {
            // A disabled service takes a number without printing it, and some just miss.
            number += 1 + random.below(3);
            let mark = if service.enabled { number.to_string() } else { "*".into() };
            let device = service.device.as_deref().unwrap_or_default();
            let (name, port) = (&service.name, &service.port);
            let _ = write!(text, "({mark}) {name}\n(Hardware Port: {port}, Device: {device})\n");
            text.push_str(if form.spaces { "  \n" } else { "\n" });
        }
        form.end(text)
    }

    pub(crate) fn hardware_ports(&self, form: Form) -> String {
        let mut text = String::from("\n");
        for HardwarePort { port, device, mac } in &self.ports {
            let device = device.as_deref().unwrap_or_default();
            let mac = mac.as_deref().unwrap_or("N/A");
            let _ = write!(
                text,
                "Hardware Port: {port}\nDevice: {device}\nEthernet Address: {mac}\n\n"
            );
        }
        if form.header {
            text.push_str("VLAN Configurations\n===================\n");
        }
        form.end(text)
    }

    pub(crate) fn ifconfig(&self, form: Form, random: &mut Random) -> String {
        let tab = if form.spaces { "    " } else { "\t" };
        let mut text = String::new();
        for interface in &self.interfaces {
            let name = &interface.name;
            let loopback = interface.interface_type == InterfaceType::Loopback;
            let flags = match (loopback, interface.up == Some(true)) {
                (true, _) => "8049<UP,LOOPBACK,RUNNING,MULTICAST>",
                (_, true) => "8863<UP,BROADCAST,SMART,RUNNING,SIMPLEX,MULTICAST>",
                (_, false) => "8822<BROADCAST,SMART,SIMPLEX,MULTICAST>",
            };
            let index = if form.header { String::new() } else { " index 7".into() };
            let _ = writeln!(text, "{name}: flags={flags} mtu 1500{index}");
            let _ = writeln!(text, "{tab}options=63<RXCSUM,TXCSUM,TSO4,TSO6>");
            for address in interface.addresses.iter().flatten() {
                let _ = match address.net {
                    IpNet::V4(net) => {
                        let mask = u32::from(net.netmask());
                        let all = net.broadcast();
                        writeln!(
                            text,
                            "{tab}inet {} netmask 0x{mask:08x} broadcast {all}",
                            net.addr()
                        )
                    }
                    IpNet::V6(net) => {
                        let scope = match net.addr().is_unicast_link_local() {
                            true => format!("%{name}"),
                            false => String::new(),
                        };
                        let tentative = if address.tentative { " tentative" } else { "" };
                        let auto = if address.dynamic.is_some() { " autoconf" } else { "" };
                        let (ip, length) = (net.addr(), net.prefix_len());
                        writeln!(
                            text,
                            "{tab}inet6 {ip}{scope} prefixlen {length}{tentative}{auto} secured"
                        )
                    }
                };
            }
            if let Some(members) = &interface.members {
                let _ = writeln!(
                    text,
                    "{tab}Configuration:\n{tab}{tab}id 0:0:0:0:0:0 priority 0 hellotime 0"
                );
                for member in members {
                    let _ = writeln!(text, "{tab}member: {member} flags=3<LEARNING,DISCOVER>");
                    let _ = writeln!(text, "{tab}        ifmaxaddr 0 port 9 priority 0");
                }
                if random.one_in(2) {
                    let _ = writeln!(text, "{tab}Address cache:");
                }
            }
            let status = match interface.carrier {
                _ if loopback => "",
                Some(true) => "status: active",
                Some(false) => "status: inactive",
                None => "nd6 options=201<PERFORMNUD,DAD>",
            };
            let _ = writeln!(text, "{tab}{status}");
        }
        form.end(text)
    }

    pub(crate) fn thunderbolt(&self, random: &mut Random) -> String {
        let buses: Vec<_> = self.buses.iter().map(|bus| bus.json(random)).collect();
        json!({ "SPThunderboltDataType": buses }).to_string()
    }

    pub(crate) fn cables(&self) -> Vec<Cable> {
        self.buses.iter().flat_map(Bus::cables).collect()
    }

    /// What is configured: the bridges of the interfaces, and where Wi-Fi is.
    pub(crate) fn configured(&self) -> Preferences {
        let bridges = self.interfaces.iter().filter(|i| i.members.is_some());
        Preferences {
            bridges: bridges
                .map(|bridge| ConfiguredBridge {
                    device: bridge.name.clone(),
                    members: bridge.members.clone().unwrap_or_default(),
                    is_thunderbolt: bridge.up == Some(true),
                })
                .collect(),
            wifi_devices: vec!["en0".into()],
            location: self.services.first().map(|service| service.name.clone()),
            mtus: [("bridge0".to_owned(), 9000)].into_iter().collect(),
        }
    }

    /// `preferences.plist` as XML, as `plutil -p` prints it, or as `defaults read` does.
    pub(crate) fn preferences(&self, random: &mut Random) -> String {
        let configured = self.configured();
        let text = |text: &str| Value::String(text.to_owned());
        let dictionary = |rows: Vec<(&str, Value)>| {
            Value::Dictionary(
                rows.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            )
        };
        let bridges = configured.bridges.iter().map(|bridge| {
            let members = bridge.members.iter().map(|member| text(member)).collect();
            let auto = if bridge.is_thunderbolt { "thunderbolt-bridge" } else { "something else" };
            let options = dictionary(vec![("__AUTO__", text(auto))]);
            let rows = vec![
                ("AllowConfiguredMembers", Value::Boolean(true)),
                ("Interfaces", Value::Array(members)),
                ("Options", options),
            ];
            (bridge.device.as_str(), dictionary(rows))
        });
        let bridges = dictionary(bridges.collect());
        let wifi = vec![("DeviceName", text("en0")), ("Hardware", text("AirPort"))];
        let service = dictionary(vec![("Interface", dictionary(wifi))]);
        let mtu = dictionary(vec![("MTU", Value::Integer(9000.into()))]);
        let ethernet = dictionary(vec![("Ethernet", mtu)]);
        let interface = dictionary(vec![("Interface", dictionary(vec![("bridge0", ethernet)]))]);
        let mut set = vec![("Network", interface)];
        if let Some(location) = &configured.location {
            set.push(("UserDefinedName", text(location)));
        }
        let root = dictionary(vec![
            ("CurrentSet", text("/Sets/A1-B2")),
            ("NetworkServices", dictionary(vec![("C3-D4", service)])),
            ("Sets", dictionary(vec![("A1-B2", dictionary(set))])),
            ("VirtualNetworkInterfaces", dictionary(vec![("Bridge", bridges)])),
        ]);
        match random.below(3) {
            0 => {
                let mut xml = Vec::new();
                root.to_writer_xml(&mut xml).unwrap();
                String::from_utf8(xml).unwrap()
            }
            1 => printed(&root, 0, true),
            _ => printed(&root, 0, false),
        }
    }
}

/// A property list for people: with `=>` and numbered lists (`plutil -p`), or with `=` and `;`.
fn printed(value: &Value, depth: usize, plutil: bool) -> String {
    let pad = "  ".repeat(depth + 1);
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let end = "  ".repeat(depth);
    match value {
        Value::String(text) => quoted(text),
        Value::Boolean(on) if plutil => on.to_string(),
        Value::Boolean(on) => u8::from(*on).to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Array(items) if plutil => {
            let rows = items.iter().enumerate();
            let rows = rows
                .map(|(at, item)| format!("{pad}{at} => {}\n", printed(item, depth + 1, plutil)));
            format!("[\n{}{end}]", rows.collect::<String>())
        }
        Value::Array(items) => {
            let rows: Vec<_> = items.iter().map(|item| printed(item, depth + 1, plutil)).collect();
            format!("(\n{pad}{}\n{end})", rows.join(&format!(",\n{pad}")))
        }
        Value::Dictionary(rows) => {
            let rows = rows.iter().map(|(key, value)| {
                let value = printed(value, depth + 1, plutil);
                match plutil {
                    true => format!("{pad}{} => {value}\n", quoted(key)),
                    false => format!("{pad}{} = {value};\n", quoted(key)),
                }
            });
            format!("{{\n{}{end}}}", rows.collect::<String>())
        }
        other => panic!("{other:?} is not in these lists"),
    }
}

impl Bus {
    fn any(random: &mut Random) -> Self {
        let mut number = 0;
        let receptacles = (0..random.below(4))
            .map(|_| {
                number += 1 + random.below(2);
                (number, *random.of(&[Some(true), Some(false), None]))
            })
            .collect();
        let items = (0..random.below(3)).map(|_| Item::any(random, 0)).collect();
        Self { domain: Some(format!("BUS-{:X}", random.next())), receptacles, items }
    }

    fn json(&self, random: &mut Random) -> serde_json::Value {
        let mut bus = json!({ "_name": "thunderboltusb4_bus_0", "vendor_name_key": "Apple Inc." });
        bus["domain_uuid_key"] = json!(self.domain);
        for (number, connected) in &self.receptacles {
            let id = if random.one_in(4) { json!(number) } else { json!(number.to_string()) };
            let mut tag = json!({ "receptacle_id_key": id });
            match (connected, random.one_in(2)) {
                (Some(true), true) => tag["link_status_key"] = json!("0x2"),
                (Some(true), false) => tag["receptacle_status_key"] = json!("receptacle_connected"),
                (Some(false), true) => tag["link_status_key"] = json!("0x100"),
                (Some(false), false) => {
                    tag["receptacle_status_key"] = json!("receptacle_no_devices_connected");
                }
                (None, _) => tag["link_status_key"] = json!("0x7"),
            }
            tag["current_speed_key"] = json!(random.of(&["80 Gb/s", "Up to 40 Gb/s", "", "20"]));
            bus[format!("receptacle_{number}_tag")] = tag;
        }
        if !self.items.is_empty() {
            bus["_items"] = self.items.iter().map(Item::json).collect();
        }
        bus
    }

    fn cables(&self) -> Vec<Cable> {
        let mut ports: Vec<Cable> = self
            .receptacles
            .iter()
            .map(|(number, connected)| Cable {
                receptacle: Some(number.to_string()),
                connected: *connected,
                devices: 0,
                peers: Vec::new(),
            })
            .collect();
        let mut all = Vec::new();
        self.items.iter().for_each(|item| item.collect(&mut all));
        if ports.is_empty() && !all.is_empty() {
            // A case without numbers: what is plugged in is somewhere.
            let port = Cable { receptacle: None, connected: Some(true), devices: 0, peers: vec![] };
            ports.push(port);
        }
        let at = ports.iter().position(|port| port.connected == Some(true)).unwrap_or(0);
        if let Some(port) = ports.get_mut(at) {
            port.devices = all.len();
            port.peers = all.into_iter().flatten().collect();
        }
        ports
    }
}

impl Item {
    fn any(random: &mut Random, depth: usize) -> Self {
        let is_computer = random.one_in(2);
        let below = if depth < 2 { random.below(3) } else { 0 };
        Self {
            name: name(random),
            domain: is_computer.then(|| format!("PEER-{:X}", random.next())),
            items: (0..below).map(|_| Self::any(random, depth + 1)).collect(),
        }
    }

    fn json(&self) -> serde_json::Value {
        let mut item = json!({ "_name": self.name, "device_name_key": "Mac16,11" });
        if let Some(domain) = &self.domain {
            item["domain_uuid_key"] = json!(domain);
        }
        if !self.items.is_empty() {
            item["_items"] = self.items.iter().map(Self::json).collect();
        }
        item
    }

    /// Itself and what hangs below it: the domain of each, if it is a computer.
    fn collect(&self, all: &mut Vec<Option<String>>) {
        all.push(self.domain.clone());
        self.items.iter().for_each(|item| item.collect(all));
    }
}

fn interfaces(random: &mut Random) -> Vec<Interface> {
    let mut all = vec![Interface {
        name: "lo0".into(),
        interface_type: InterfaceType::Loopback,
        up: Some(true),
        carrier: Some(true),
        addresses: Some(vec![Address::new("127.0.0.1/8".parse().unwrap())]),
        ..Interface::default()
    }];
    let count = 1 + random.below(5);
    for at in 0..count {
        let mut addresses: Vec<Address> =
            (0..random.below(3)).map(|_| Address::new(ipv4(random).into())).collect();
        for _ in 0..random.below(3) {
            let mut address = Address::new(ipv6(random).into());
            address.tentative = random.one_in(4);
            address.dynamic = random.one_in(4).then_some(true);
            addresses.push(address);
        }
        all.push(Interface {
            name: format!("en{at}"),
            up: Some(!random.one_in(4)),
            carrier: *random.of(&[Some(true), Some(false), None]),
            addresses: Some(addresses),
            ..Interface::default()
        });
    }
    if !random.one_in(4) {
        // Of the ports some belong to the bridge, in an order of its own.
        let mut members: Vec<String> = (0..count).map(|at| format!("en{at}")).collect();
        members.retain(|_| random.one_in(2));
        members.reverse();
        for member in &members {
            let member = all.iter_mut().find(|i| i.name == *member).unwrap();
            member.master = Some("bridge0".into());
        }
        all.push(Interface {
            name: "bridge0".into(),
            interface_type: InterfaceType::Bridge,
            up: Some(!random.one_in(4)),
            carrier: *random.of(&[Some(true), Some(false), None]),
            addresses: Some(vec![Address::new(ipv4(random).into())]),
            members: Some(members),
            ..Interface::default()
        });
    }
    all
}

/// How a service could get its address.
pub(crate) fn config(random: &mut Random) -> ServiceConfig {
    let other = ConfigMethod::Other("Manually Using DHCP Router".into());
    let methods = [ConfigMethod::Manual, ConfigMethod::Dhcp, ConfigMethod::Off, other];
    let method = random.of(&methods);
    let net = (!random.one_in(3)).then(|| ipv4(random));
    ServiceConfig {
        method: method.clone(),
        address: net.map(|net| net.addr()),
        mask: net.map(|net| net.netmask()),
        router: net.filter(|_| random.one_in(2)).map(|net| net.network()),
    }
}

pub(crate) fn service_info(config: &ServiceConfig, form: Form, random: &mut Random) -> String {
    let method = match &config.method {
        ConfigMethod::Manual => "Manual",
        ConfigMethod::Dhcp => "DHCP",
        ConfigMethod::Off => "Off",
        ConfigMethod::Other(name) => name,
    };
    let mut text = format!("{method} Configuration\n");
    if let (Some(address), Some(mask)) = (config.address, config.mask) {
        let _ = write!(text, "IP address: {address}\nSubnet mask: {mask}\n");
        match config.router {
            Some(router) => {
                let _ = writeln!(text, "Router: {router}");
            }
            None => {
                let blank = ["Router: (null)\n", "Router: \n", "Router: none\n", ""];
                text.push_str(random.word(&blank));
            }
        }
    }
    text.push_str(random.word(&["Client ID: \nIPv6: Automatic\n", "IPv6: Off\n", ""]));
    text.push_str(random.word(&[
        "Ethernet Address: (null)\n",
        "Wi-Fi ID: 02:00:00:00:00:01\n",
        "",
    ]));
    form.end(text)
}

pub(crate) fn routes(random: &mut Random) -> Vec<Route> {
    let mut routes: Vec<Route> = (0..1 + random.below(8))
        .map(|_| {
            let net = match random.below(5) {
                0 => IpNet::V4(Ipv4Net::new([0; 4].into(), 0).unwrap()),
                1 => IpNet::V6(ipv6(random).trunc()),
                2 => IpNet::V6(Ipv6Net::new([0; 16].into(), 0).unwrap()),
                _ => IpNet::V4(ipv4(random).trunc()),
            };
            let flags =
                (*random.of(&["UGScg", "UCSI", "UHLWIi", "UCS", "UHRLS", "UGcI"])).to_owned();
            Route {
                destination: net,
                gateway: Some((*random.of(&["link#16", "192.168.3.1", "fe80::1%lo0"])).to_owned()),
                interface: Some((*random.of(&["en0", "bridge0", "utun3"])).to_owned()),
                scoped: flags.contains('I'),
                flags: Some(flags),
                metric: None,
            }
        })
        .collect();
    // Each family has a table of its own.
    routes.sort_by_key(|route| route.destination.addr().is_ipv6());
    routes
}

pub(crate) fn netstat(routes: &[Route], form: Form, random: &mut Random) -> String {
    let old = random.one_in(3);
    let heading = match old {
        true => "Destination Gateway Flags Refs Use Netif Expire",
        false => "Destination Gateway Flags Netif Expire",
    };
    let mut text = String::from("Routing tables\n\nInternet:\n");
    let _ = writeln!(text, "{heading}");
    let mut six = false;
    for route in routes {
        if route.destination.addr().is_ipv6() && !six {
            six = true;
            let _ = writeln!(text, "\nInternet6:\n{heading}");
        }
        let shown = destination(&route.destination, random);
        let [gateway, flags, interface] = [&route.gateway, &route.flags, &route.interface]
            .map(|text| text.as_deref().unwrap_or_default());
        let uses = if old { "0 17 " } else { "" };
        let expire = random.word(&["", " !", " 1189"]);
        let _ = writeln!(text, "{shown} {gateway} {flags} {uses}{interface}{expire}");
    }
    form.end(text)
}

/// `169.254` is 169.254.0.0/16: netstat leaves out what is natural.
fn destination(net: &IpNet, random: &mut Random) -> String {
    match net {
        _ if net.prefix_len() == 0 => "default".to_owned(),
        IpNet::V6(net) if net.prefix_len() == 128 => net.addr().to_string(),
        IpNet::V6(net) if net.addr().is_unicast_link_local() => {
            format!("{}%en0/{}", net.addr(), net.prefix_len())
        }
        IpNet::V6(net) => net.to_string(),
        IpNet::V4(net) => {
            let octets: Vec<String> = net.addr().octets().iter().map(u8::to_string).collect();
            let length = usize::from(net.prefix_len());
            let natural = length / 8;
            if length.is_multiple_of(8) && !random.one_in(4) {
                return octets[..natural].join(".");
            }
            format!("{}/{length}", octets[..length.div_ceil(8)].join("."))
        }
    }
}

/// A Linux machine's interfaces.
pub(crate) fn linux(random: &mut Random) -> Vec<Interface> {
    let mut all = interfaces(random);
    for (at, interface) in (1..).zip(&mut all) {
        interface.index = NonZeroU32::new(at);
        interface.mtu = Some(1500);
        interface.mac = Some(mac(random));
        interface.carrier = Some(interface.carrier == Some(true));
        for address in interface.addresses.iter_mut().flatten() {
            address.dynamic = Some(address.dynamic.is_some());
        }
        let is_bridge = interface.interface_type == InterfaceType::Bridge;
        if let Some(members) = interface.members.as_mut().filter(|_| is_bridge) {
            // The kernel names the master; the members follow in the order of the interfaces.
            members.sort();
        }
    }
    all
}

/// `ip -j -d address`
pub(crate) fn ip_address(interfaces: &[Interface]) -> String {
    let rows: Vec<_> = interfaces
        .iter()
        .map(|interface| {
            let mut flags = Vec::new();
            let sort = &interface.interface_type;
            flags.extend((*sort == InterfaceType::Loopback).then_some("LOOPBACK"));
            flags.extend((interface.up == Some(true)).then_some("UP"));
            flags.extend((interface.carrier == Some(true)).then_some("LOWER_UP"));
            let addresses: Vec<_> = interface
                .addresses
                .iter()
                .flatten()
                .map(|address| {
                    let mut row = json!({
                        "family": if address.net.addr().is_ipv4() { "inet" } else { "inet6" },
                        "local": address.net.addr().to_string(),
                        "prefixlen": address.net.prefix_len(),
                        "scope": "global",
                    });
                    for (key, is_so) in [
                        ("tentative", address.tentative),
                        ("dynamic", address.dynamic == Some(true)),
                    ] {
                        if is_so {
                            row[key] = json!(true);
                        }
                    }
                    row
                })
                .collect();
            let mut row = json!({
                "ifindex": interface.index.unwrap().get(),
                "ifname": interface.name,
                "flags": flags,
                "mtu": interface.mtu,
                "address": interface.mac,
                "addr_info": addresses,
            });
            if *sort == InterfaceType::Bridge {
                row["linkinfo"] = json!({ "info_kind": "bridge", "info_data": {} });
            }
            if let Some(master) = &interface.master {
                row["master"] = json!(master);
            }
            row
        })
        .collect();
    serde_json::Value::Array(rows).to_string()
}
