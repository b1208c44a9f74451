//! Without `setup`: whoever pastes the commands that `check` prints ends where setup does.

use serde_json::Value;

use crate::{
    GOOD, LINK_DOWN, MUCH_TO_PUT_BACK, NO_ADDRESS, OVERLAP, ROUTE_STOLEN, SAME_ADDRESS, Situation,
    WRONG_SUBNET, address_of,
    bench::{Bench, PEER},
    machines::CABLE,
};

/// The commands of the first error that has any, as a person would paste them.
fn first_commands(bench: &Bench, peer: Option<&str>) -> Vec<String> {
    let findings = bench.findings(peer).into_iter();
    let mut errors = findings.filter(|finding| finding["severity"] == "error");
    errors
        .find_map(|error| {
            let commands = error["remedy"]["commands"].as_array().unwrap().iter();
            let mending = commands.filter_map(|c| c.as_str()?.strip_prefix("sudo ip "));
            let mending: Vec<String> = mending.map(str::to_owned).collect();
            (!mending.is_empty()).then_some(mending)
        })
        .unwrap_or_default()
}

fn follow(situation: &Situation, peer: Option<&str>) {
    // The other end has to follow: this one's commands do not mend that.
    let left: &[&str] = if peer.is_some() { situation.left } else { &[] };
    let Some(bench) = situation.bench("by-hand") else { return };
    let name = situation.name;
    assert!(!bench.check(peer).is_empty(), "{name}");
    let mut pasted = Vec::new();
    while bench.check(peer) != left {
        let commands = first_commands(&bench, peer);
        assert!(!commands.is_empty() && pasted.len() < 12, "{name}: after {pasted:?}");
        for command in commands {
            bench.on_a(&command);
            pasted.push(command);
        }
        bench.wait_carrier(0);
    }
    println!("{name}: {pasted:?}");
    assert_eq!(address_of(&bench.everything()), situation.after, "{name}: {pasted:?}");
}

#[test]
fn the_commands_that_check_prints_mend_what_it_found() {
    for situation in [
        WRONG_SUBNET,
        SAME_ADDRESS,
        OVERLAP,
        LINK_DOWN,
        ROUTE_STOLEN,
        NO_ADDRESS,
        MUCH_TO_PUT_BACK,
        REJECTED,
    ] {
        follow(&situation, Some(PEER));
        if situation.alone.is_some() {
            follow(&situation, None);
        }
    }
}

/// The route that refuses is that of a network, not of the peer alone.
const REJECTED: Situation = Situation {
    name: "rejected",
    made_by: &["route add unreachable 192.168.2.0/25"],
    towards_peer: Some("route-rejected"),
    ..GOOD
};

/// Nobody says what the other end's MTU is, and the packets that it does not take are lost.
#[test]
fn packets_that_are_too_large_for_the_other_end_are_noticed_without_its_word() {
    let Some(bench) = GOOD.bench("too-large") else { return };
    let warnings = || -> Vec<Value> {
        let findings = bench.findings(Some(PEER)).into_iter();
        findings.filter(|finding| finding["severity"] == "warning").collect()
    };
    let ids = |findings: &[Value]| -> Vec<String> {
        findings.iter().map(|f| f["id"].as_str().unwrap().to_owned()).collect()
    };
    assert!(!ids(&warnings()).contains(&"mtu-mismatch".to_owned()));
    bench.on_a(&format!("link set {CABLE} mtu 9000"));
    bench.on_a("link set br0 mtu 9000");
    let found = warnings();
    assert_eq!(ids(&found), ["mtu-mismatch"], "{found:?}");
    assert_eq!(found[0]["remedy"]["commands"][0], "sudo ip link set br0 mtu 1500");
    bench.on_a("link set br0 mtu 1500");
    assert!(!ids(&warnings()).contains(&"mtu-mismatch".to_owned()));
}
