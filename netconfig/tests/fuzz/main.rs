//! What macOS' and Linux' tools print, made of machines that could be: what is read is what was
//! printed. Then the same, spoilt: every parser says no or gives something that holds, a whole
//! recorded machine is judged, planned for and told of in either language, and nothing panics.
//!
//! `EXO_FUZZ_SECONDS=<n>` goes on for so long, from a seed that is another each time; `EXO_SEED=<n>`
//! repeats one input.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

mod machine;
mod random;
mod recorded;

use exo_netconfig::{
    snapshot::{Address, ConfigMethod, InterfaceType},
    system::parse::{
        ParseError, firewall, hardware_ports, ifconfig, ip_json, local_network, nat, netstat,
        preferences, rdma, route_get, scutil_nwi, service_info, service_order, thunderbolt_json,
        word,
    },
};
use machine::{Form, Machine};
use random::{Random, fuzz};

/// What is printed as it is must be read as it was meant; spoilt, it is read or refused.
fn round<T: PartialEq + std::fmt::Debug>(
    random: &mut Random,
    text: String,
    meant: &T,
    read: impl Fn(&str) -> Result<T, ParseError>,
) -> bool {
    if random.one_in(2) {
        let got = read(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(got, *meant, "{text}");
        return true;
    }
    let spoilt = random.spoil(text);
    match read(&spoilt) {
        Ok(_) => true,
        Err(error) => {
            assert!(!error.detail.is_empty() && error.detail.len() < 2_000, "{error}");
            false
        }
    }
}

#[test]
fn service_orders() {
    fuzz("service_orders", 4_000, |random| {
        let (machine, form) = (Machine::any(random), Form::any(random));
        let meant: Vec<_> = machine
            .services
            .iter()
            .map(|service| service_order::ServiceRow {
                name: service.name.clone(),
                enabled: service.enabled,
                hardware_port: Some(service.port.clone()),
                device: service.device.clone(),
            })
            .collect();
        let text = machine.service_order(form, random);
        round(random, text, &meant, service_order::parse)
    });
}

#[test]
fn hardware_port_lists() {
    fuzz("hardware_port_lists", 4_000, |random| {
        let (machine, form) = (Machine::any(random), Form::any(random));
        let text = machine.hardware_ports(form);
        round(random, text, &machine.ports, hardware_ports::parse)
    });
}

#[test]
fn service_infos() {
    fuzz("service_infos", 4_000, |random| {
        let (config, form) = (machine::config(random), Form::any(random));
        let text = machine::service_info(&config, form, random);
        round(random, text, &config, |text| {
            let read = service_info::parse(text)?;
            let named = !matches!(&read.method, ConfigMethod::Other(name) if name == "Manual");
            assert!(named, "a method that is known has its own name");
            Ok(read)
        })
    });
}

#[test]
fn interface_lists() {
    fuzz("interface_lists", 4_000, |random| {
        let (machine, form) = (Machine::any(random), Form::any(random));
        // What is compared: what a link is judged by.
        type Seen = (String, bool, Option<bool>, Vec<Address>, Option<Vec<String>>, Option<String>);
        let seen = |i: &exo_netconfig::snapshot::Interface| -> Seen {
            let is_bridge = i.interface_type == InterfaceType::Bridge;
            let members = i.members.clone().filter(|_| is_bridge);
            let addresses = i.addresses.clone().unwrap_or_default();
            (i.name.clone(), i.up == Some(true), i.carrier, addresses, members, i.master.clone())
        };
        let meant: Vec<Seen> = machine.interfaces.iter().map(seen).collect();
        let text = machine.ifconfig(form, random);
        round(random, text, &meant, |text| Ok(ifconfig::parse(text)?.iter().map(seen).collect()))
    });
}

#[test]
fn thunderbolt_trees() {
    fuzz("thunderbolt_trees", 4_000, |random| {
        let machine = Machine::any(random);
        // Per receptacle whether something is in it, and per bus whose computers are at its ends.
        let meant = machine.cables();
        let text = machine.thunderbolt(random);
        round(random, text, &meant, |text| {
            let ports = thunderbolt_json::parse(text)?;
            for port in &ports {
                assert!(port.peers().all(|peer| peer.domain_uuid.is_some()), "{port:?}");
            }
            Ok(ports
                .iter()
                .map(|port| machine::Cable {
                    receptacle: port.receptacle.clone(),
                    connected: port.connected,
                    devices: port.devices.len(),
                    peers: port.peers().filter_map(|peer| peer.domain_uuid.clone()).collect(),
                })
                .collect())
        })
    });
}

#[test]
fn routing_tables() {
    fuzz("routing_tables", 4_000, |random| {
        let (routes, form) = (machine::routes(random), Form::any(random));
        let text = machine::netstat(&routes, form, random);
        round(random, text, &routes, netstat::parse)
    });
}

#[test]
fn preference_lists() {
    fuzz("preference_lists", 4_000, |random| {
        let machine = Machine::any(random);
        let text = machine.preferences(random);
        round(random, text, &machine.configured(), |text| preferences::parse(text.as_bytes()))
    });
}

#[test]
fn iproute2s_answers() {
    fuzz("iproute2s_answers", 4_000, |random| {
        let interfaces = machine::linux(random);
        let text = machine::ip_address(&interfaces);
        round(random, text, &interfaces, ip_json::parse_addresses)
    });
}

/// The short answers: spoilt captures, each read by every parser.
#[test]
fn whatever_a_command_says() {
    let captures = recorded::captures();
    fuzz("whatever_a_command_says", 4_000, |random| {
        let text = captures[random.below(captures.len())].clone();
        let text = if random.one_in(3) { text } else { random.spoil(text) };
        let (bytes, text) = (text.as_bytes(), text.as_str());
        let read = [
            service_order::parse(text).is_ok(),
            hardware_ports::parse(text).is_ok(),
            service_info::parse(text).is_ok(),
            ifconfig::parse(text).is_ok(),
            netstat::parse(text).is_ok(),
            route_get::parse(text).is_ok(),
            thunderbolt_json::parse(text).is_ok(),
            nat::parse(bytes).is_ok(),
            preferences::parse(bytes).is_ok(),
            ip_json::parse_addresses(text).is_ok(),
            ip_json::parse_routes(text, ip_json::Family::V4).is_ok(),
            ip_json::parse_route_get(text).is_ok(),
            scutil_nwi::parse(text).is_ok(),
            firewall::parse(text).is_ok(),
            rdma::parse_status(text).is_ok(),
            rdma::parse_devices(text).is_ok(),
            local_network::parse(text).is_ok(),
            word::parse(text).is_ok(),
            word::parse_version(text).is_ok(),
        ];
        // Hardly a text is anything to two parsers: what is taken for several is taken too easily.
        let by_shape = read[..7].iter().filter(|read| **read).count();
        assert!(by_shape <= 3, "{by_shape} parsers took\n{text}");
        by_shape > 0
    });
}

#[test]
fn recorded_machines() {
    let sets = recorded::sets();
    fuzz("recorded_machines", 250, |random| recorded::judge(&sets, random));
}
