//! The running machine, and network namespaces made for the purpose.

use std::{
    env,
    process::{Command, Stdio},
};

use crate::{
    InterfaceChoice, Link, LinkError, LinkKind,
    check::{Expectation, FindingId, Severity, Verdict, check},
    system::{Request, collect},
};

fn named(name: &str) -> InterfaceChoice {
    InterfaceChoice::Named(name.into())
}

#[test]
fn the_loopback_of_this_machine_is_by_hand() {
    let link = Link::open(&named("lo")).unwrap();
    assert_eq!((link.name(), link.kind()), ("lo", LinkKind::ByHand));
    assert!(link.contains("127.0.0.1".parse().unwrap()));
    assert_eq!(link.refresh().unwrap(), link);
}

#[test]
fn an_unknown_interface_is_an_error_that_lists_the_others() {
    let error = Link::open(&named("no-such-link0")).unwrap_err();
    assert!(matches!(&error, LinkError::UnknownInterface { existing, .. }
        if existing.iter().any(|name| name == "lo")));
}

/// Set in the namespace, so that the inner test never changes the machine's own network.
const INSIDE: &str = "EXO_NETCONFIG_TEST_NAMESPACE";

#[test]
fn a_veth_called_thunderbolt0_is_by_hand_and_judged_as_such() {
    let this = "system::linux::live::tests::inside_a_namespace_of_its_own";
    let unshare = |args: &[&str]| {
        Command::new("unshare")
            .args(["--net", "--user", "--map-root-user"])
            .args(args)
            .env(INSIDE, "yes")
            .stdin(Stdio::null())
            .output()
    };
    let able = unshare(&["ip", "link", "add", "t0", "type", "veth", "peer", "name", "t1"]);
    if !able.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: needs unshare and ip, and user namespaces ({able:?})");
        return;
    }
    let exe = env::current_exe().unwrap();
    let exe = exe.to_str().unwrap();
    let output = unshare(&[exe, "--exact", this, "--ignored", "--nocapture"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{words}");
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split_whitespace()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {args}: {words}");
}

#[test]
#[ignore = "run in a network namespace by the test above"]
fn inside_a_namespace_of_its_own() {
    assert_eq!(env::var(INSIDE).as_deref(), Ok("yes"), "would change this machine's network");
    ip("link set lo up");
    ip("link add thunderbolt0 type veth peer name far0");
    ip("link add wifi0 type veth peer name air0");

    assert!(matches!(Link::open(&named("thunderbolt0")), Err(LinkError::Down { .. })));
    ip("link set thunderbolt0 up");
    assert!(matches!(
        Link::open(&named("thunderbolt0")),
        Err(LinkError::NoCarrier { kind: LinkKind::ByHand, .. })
    ));
    ip("link set far0 up");
    ip("address add 10.77.0.1/24 dev thunderbolt0");
    for up in ["wifi0", "air0"] {
        ip(&format!("link set {up} up"));
    }
    ip("address add 10.88.0.1/24 dev wifi0");

    let link = Link::open(&named("thunderbolt0")).unwrap();
    assert_eq!((link.kind(), link.address().to_string().as_str()), (LinkKind::ByHand, "10.77.0.1"));
    let auto = Link::open(&InterfaceChoice::Auto).unwrap_err();
    assert!(
        matches!(&auto, LinkError::NoThunderbolt { by_hand, .. }
        if by_hand.iter().any(|name| name == "thunderbolt0")),
        "{auto}"
    );

    let peer = "10.77.0.2".parse().unwrap();
    let expectation = Expectation {
        interface: named("thunderbolt0"),
        peer: Some(peer),
        ..Expectation::default()
    };
    let judge = || check(&collect(&Request { peers: vec![peer] }), &expectation);
    let report = judge();
    assert_eq!(report.verdict, Verdict::Good, "{report:?}");
    assert!(report.has(FindingId::NotThunderbolt, Severity::Info));

    // The other link takes the peer's packets with a longer prefix.
    ip("route add 10.77.0.2/32 dev wifi0");
    assert!(judge().has(FindingId::WrongRoute, Severity::Error));
    ip("route del 10.77.0.2/32");
    ip("route add unreachable 10.77.0.2/32");
    assert!(judge().has(FindingId::RouteRejected, Severity::Error));
    ip("route del unreachable 10.77.0.2/32");
    ip("address add 10.77.0.9/16 dev wifi0");
    assert!(judge().has(FindingId::SubnetOverlap, Severity::Error));
    ip("address del 10.77.0.9/16 dev wifi0");

    // As after unplugging and plugging in: another index.
    ip("link del thunderbolt0");
    assert!(matches!(link.refresh(), Err(LinkError::UnknownInterface { .. })));
    ip("link add thunderbolt0 index 4242 type veth peer name far0");
    for up in ["thunderbolt0", "far0"] {
        ip(&format!("link set {up} up"));
    }
    ip("address add 10.77.0.1/24 dev thunderbolt0");
    let again = link.refresh().unwrap();
    assert_eq!(again.index().get(), 4242);

    // A bridge of veths is no Thunderbolt bridge either.
    ip("link add br0 type bridge");
    ip("link set far0 master br0");
    ip("link set br0 up");
    ip("address add 10.99.0.1/24 dev br0");
    let snapshot = collect(&Request::default());
    assert_eq!(snapshot.interface("br0").unwrap().members.as_deref().unwrap(), ["far0"]);
    assert_eq!(Link::open(&named("br0")).unwrap().kind(), LinkKind::ByHand);
}
