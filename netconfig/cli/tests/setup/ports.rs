//! Per-port mode on a machine with two cables. To `tbnet` a veth is no Thunderbolt link, whatever it
//! is called: the plan is that of a recorded machine, carried out on veths of the same names by the
//! library that `tbnet` stands on. What keeps it is played, as in `keepers`, and `daemons` does the
//! same with the real ones; `tbnet` itself undoes it.

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
pub(crate) const INSIDE: &str = "TBNET_TEST_PORTS";
const SECOND: &str = "thunderbolt1";

/// The cables' interfaces and hardware addresses, as recorded: a profile knows its link by the latter.
pub(crate) const CABLES: [(&str, &str); 2] =
    [(CABLE, "02:a1:59:56:2c:c2"), (SECOND, "02:a1:59:56:2c:c3")];

/// Makes the first machine the recorded one: two cables to the second, of which one is switched off.
pub(crate) fn lay_cables(bench: &Bench) {
    bench.on_a(&format!("link del {BRIDGE}"));
    bench.machines.cable(0, SECOND, 1, SECOND);
    for (name, mac) in CABLES {
        bench.on_a(&format!("link set {name} down"));
        bench.on_a(&format!("link set {name} address {mac}"));
        bench.machines.ip(1, &format!("link set {name} up"));
    }
    bench.on_a(&format!("link set {SECOND} up"));
    bench.machines.wait_carrier(0, SECOND);
}

/// The program and its words that carry the plan out on whatever machine they are run on; it wants
/// the folder for the old state in [`INSIDE`].
pub(crate) fn setup_words() -> Vec<String> {
    let program = env::current_exe().unwrap().to_str().unwrap().to_owned();
    let words = "--exact ports::inside_a_namespace_of_its_own --ignored --nocapture";
    std::iter::once(program).chain(words.split(' ').map(str::to_owned)).collect()
}

fn link<'a>(everything: &'a Value, name: &str) -> &'a Value {
    let links = everything["ip"]["address"].as_array().unwrap();
    links.iter().find(|link| link["ifname"] == name).unwrap()
}

#[test]
fn each_cable_gets_a_network_and_a_profile_and_undo_takes_them_away() {
    let Some(bench) = Bench::new("ports") else { return };
    lay_cables(&bench);
    let (etc, profiles) = bench.play_networkd();
    let bind = format!("mount --bind {} /etc", etc.display());
    let setup = || {
        let script = format!("{bind} && exec \"$0\" \"$@\"");
        let words = setup_words();
        let words: Vec<&str> =
            ["sh", "-c", &script].into_iter().chain(words.iter().map(String::as_str)).collect();
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
    for (name, mac) in CABLES {
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
    let keepers = keepers.into_iter().map(|(name, keeper)| (name, Some(keeper))).collect();
    let wish = Wish { per_port: true, mtu: Some(9000), keepers, ..Wish::default() };
    let plan = plan(&snapshot, &report, &wish).unwrap();
    apply(&plan, None, &turn, |_| {}).unwrap();
}
