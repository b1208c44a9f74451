//! Per-port mode on a machine with two cables. To `tbnet` a veth is no Thunderbolt link, whatever it
//! is called: the plan is that of a recorded machine, carried out on veths of the same names by the
//! library that `tbnet` stands on. What keeps it is played, as in `keepers`; `tbnet` itself undoes it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};

use exo_netconfig::{
    apply::{Journal, Turn, apply},
    check::{Expectation, check},
    plan::{Wish, candidates, plan},
    system::{Request, change, recorded},
};
use serde_json::{Value, json};

use crate::{
    bench::{BRIDGE, Bench},
    keepers::files,
    machines::CABLE,
};

/// The folder for the old state, in the namespace of a machine of the test's own.
const INSIDE: &str = "TBNET_TEST_PORTS";
const SECOND: &str = "thunderbolt1";

fn link<'a>(everything: &'a Value, name: &str) -> &'a Value {
    let links = everything["ip"]["address"].as_array().unwrap();
    links.iter().find(|link| link["ifname"] == name).unwrap()
}

#[test]
fn each_cable_gets_a_network_and_a_profile_and_undo_takes_them_away() {
    let Some(bench) = Bench::new("ports") else { return };
    bench.on_a(&format!("link del {BRIDGE}"));
    bench.machines.cable(0, SECOND, 1, SECOND);
    for machine in [0, 1] {
        bench.machines.ip(machine, &format!("link set {SECOND} up"));
    }
    bench.on_a(&format!("link set {CABLE} down"));
    bench.machines.wait_carrier(0, SECOND);
    let (etc, profiles) = bench.play_networkd();
    let bind = format!("mount --bind {} /etc", etc.display());
    let setup = || {
        let test = "--exact ports::inside_a_namespace_of_its_own --ignored --nocapture";
        let script = format!("{bind} && exec \"$0\" {test}");
        let program = env::current_exe().unwrap();
        let words = ["sh", "-c", &script, program.to_str().unwrap()];
        let mut command = bench.machines.within(0, &words);
        command.stdin(Stdio::null()).env(INSIDE, bench.dir.path().join("state"));
        command
    };
    let undo = || bench.command_after(&bind, &["setup", "--undo"]);
    let look = || json!({ "ip": bench.everything(), "files": files(&profiles) });

    let before = look();
    let done = bench.with_shims(&mut setup()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let after = look();
    let mut nets = Vec::new();
    for (name, mac) in [(CABLE, "02:a1:59:56:2c:c2"), (SECOND, "02:a1:59:56:2c:c3")] {
        let link = link(&after, name);
        assert_eq!(link["mtu"], 9000, "{name}");
        let [row] = &link["addr_info"].as_array().unwrap()[..] else { panic!("{link}") };
        let net = format!("{}/{}", row["local"].as_str().unwrap(), row["prefixlen"]);
        assert!(net.starts_with("10.97.") && net.ends_with("/30"), "{name}: {net}");
        let profile = after["files"][format!("10-tbnet-{name}.network")].as_str().unwrap();
        for line in [format!("MACAddress={mac}"), format!("Address={net}"), "MTUBytes=9000".into()]
        {
            assert!(profile.lines().any(|found| found == line), "{line} is not in\n{profile}");
        }
        nets.push(net);
    }
    assert_ne!(nets[0], nets[1]);
    let undone = bench.with_shims(&mut undo()).output().unwrap();
    assert!(undone.status.success(), "{}", String::from_utf8_lossy(&undone.stderr));
    assert_eq!(look(), before);

    let killed = bench.kill_everywhere("per port", &before, &setup, &undo, &look);
    // Of each cable the size, the address, the file and the reload, and one is switched on: before
    // and after each.
    assert_eq!(killed, 18);
}

#[test]
#[ignore = "run in a network namespace by the test above"]
fn inside_a_namespace_of_its_own() {
    let state = env::var_os(INSIDE).expect("would change this machine's network");
    let turn = Turn::take(Path::new(&state)).unwrap();
    // As with `tbnet setup`: what was cut off is not built upon, and once is enough.
    if let Some(journal) = Journal::newest(turn.folder()).unwrap() {
        assert!(journal.summary().finished, "was cut off");
        return;
    }
    let sets = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sets");
    let snapshot = recorded::load(&sets.join("linux-two-cables"), &Request::default()).unwrap();
    let report = check(&snapshot, &Expectation::default());
    let keepers = change::keepers(candidates(&snapshot, &report, true));
    let wish = Wish { per_port: true, mtu: Some(9000), keepers, ..Wish::default() };
    let plan = plan(&snapshot, &report, &wish).unwrap();
    apply(&plan, None, &turn, |_| {}).unwrap();
}
