use std::path::PathBuf;

use super::*;
use crate::{Evidence, InterfaceChoice, Link, LinkKind, snapshot::Reading};

fn set(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sets").join(name)
}

#[test]
fn the_platform_is_told_by_the_files_if_nobody_says_it() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(folder.path(), &Request::default()).unwrap_err();
    assert!(matches!(error, RecordError::NothingRecorded { .. }));
    fs::write(folder.path().join("ifconfig.txt"), "lo0: flags=8049<UP> mtu 16384\n").unwrap();
    assert_eq!(load(folder.path(), &Request::default()).unwrap().platform, Platform::MacOs);
    fs::write(folder.path().join("platform.txt"), "Linux\r\n").unwrap();
    assert_eq!(load(folder.path(), &Request::default()).unwrap().platform, Platform::Linux);
    fs::write(folder.path().join("platform.txt"), "beos").unwrap();
    let error = load(folder.path(), &Request::default()).unwrap_err();
    assert!(matches!(error, RecordError::UnknownPlatform { ref found, .. } if found == "beos"));
    let error = load(&folder.path().join("nowhere"), &Request::default()).unwrap_err();
    assert!(matches!(error, RecordError::Io { .. }));
}

#[test]
fn what_was_recorded_before_is_neither_mixed_nor_left_unmasked() {
    let folder = tempfile::tempdir().unwrap();
    let again = || record(folder.path(), &Request::default(), &[], Privacy::Masked);
    again().unwrap();
    assert!(matches!(again(), Err(RecordError::AlreadyRecorded { .. })));
    // Nor over another machine's.
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("ifconfig.txt"), "lo0: flags=8049<UP> mtu 16384\n").unwrap();
    let error = record(other.path(), &Request::default(), &[], Privacy::AsItIs).unwrap_err();
    assert!(matches!(error, RecordError::AlreadyRecorded { .. }), "{error}");
}

#[test]
fn a_link_can_be_validated_from_a_recording() {
    let open = |name: &str, choice: &InterfaceChoice| {
        Link::from_snapshot(&load(&set(name), &Request::default()).unwrap(), choice)
    };
    let bridge = open("good-korean-names", &InterfaceChoice::Auto).unwrap();
    assert_eq!((bridge.name(), bridge.kind()), ("bridge0", LinkKind::Thunderbolt));
    assert_eq!(bridge.address().to_string(), "192.168.2.1");

    let by_preferences = open("ports-not-listed", &InterfaceChoice::Auto).unwrap();
    assert!(matches!(by_preferences.evidence(), Evidence::ThunderboltBridgeMembers { source, .. }
        if source.as_str().ends_with("preferences.plist")));

    let bond = open("linux-bond", &InterfaceChoice::Auto).unwrap();
    assert_eq!((bond.name(), bond.kind()), ("bond0", LinkKind::Thunderbolt));
    let veth = InterfaceChoice::Named("thunderbolt0".into());
    let veth = open("linux-veth-called-thunderbolt0", &veth).unwrap();
    assert_eq!(veth.kind(), LinkKind::ByHand);

    let errors = ["bridge-missing", "link-down", "no-cable", "dhcp-no-address", "only-ifconfig"]
        .map(|name| open(name, &InterfaceChoice::Auto).map(|l| l.name().to_owned()));
    let said: Vec<String> = errors
        .into_iter()
        .map(|e| match e {
            Ok(name) => format!("opened {name}"),
            Err(e) => format!("{e}\n  hint: {}", e.hint()),
        })
        .collect();
    insta::assert_snapshot!("link_errors", said.join("\n"));
}

#[test]
fn a_missing_file_is_not_known() {
    let snapshot = load(&set("only-ifconfig"), &Request::default()).unwrap();
    assert!(matches!(&snapshot.services, Reading::Unknown { why: Unknown::Missing { what }, .. }
        if what == "networksetup-listnetworkserviceorder.txt"));
    let linux = load(&set("linux-sysfs-only"), &Request::default()).unwrap();
    assert_eq!(linux.interface("thunderbolt0").unwrap().addresses, None);
    assert!(linux.routes.is_unknown());
}

#[test]
fn this_machine_is_recorded_and_read_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let peer = "127.0.0.1".parse().unwrap();
    let request = Request { peers: vec![peer] };
    let written = record(&folder.path().join("new"), &request, &[], Privacy::AsItIs).unwrap();
    assert!(written.iter().any(|recorded| recorded.left_out.is_none()));
    let replayed = load(&folder.path().join("new"), &request).unwrap();
    let live = crate::system::collect(&request);
    let names = |snapshot: &Snapshot| -> Vec<_> {
        let items = snapshot.interfaces.items().iter();
        // macOS does not print the index: a recording has it only from link-local scopes.
        let index = |i: &crate::snapshot::Interface| i.index.filter(|_| cfg!(target_os = "linux"));
        items.map(|i| (i.name.clone(), index(i), i.mtu, i.addresses.clone())).collect()
    };
    // Other tests add no interfaces to this namespace: both pictures are of the same moment.
    assert_eq!(names(&replayed), names(&live));
    assert_eq!(replayed.peer_routes[&peer].value(), live.peer_routes[&peer].value());
    assert_eq!(
        replayed.routes.items().len(),
        live.routes.items().len(),
        "{:?}\n{:?}",
        replayed.routes,
        live.routes
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_from_a_file_that_may_not_be_read() {
    let error = fs::write("/dev/full", "an answer").unwrap_err();
    let hint =
        |error| RecordError::Io { path: "report".into(), error }.hint().words(Lang::En).to_owned();
    assert!(hint(error).starts_with("make room"));
    assert!(hint(io::ErrorKind::PermissionDenied.into()).contains("readable"));
}

#[test]
fn what_is_no_plain_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ifconfig.txt", "platform.txt"] {
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(name)).unwrap();
    }
    let snapshot = load(folder.path(), &Request::default()).unwrap();
    let Reading::Unknown { why, .. } = &snapshot.interfaces else { panic!() };
    assert!(format!("{why:?}").contains("no plain file"), "{why:?}");
}
