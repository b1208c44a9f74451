//! The link emulator between real namespaces, seen by ping.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::process::{Command, Output};

/// Whether namespaces can be made here; says so where they cannot.
fn can_make_namespaces() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let tap = std::path::Path::new("/dev/net/tun").exists();
    if !(root && tap) {
        eprintln!("skipped: needs network namespaces and TAP devices (root, `ip`, /dev/net/tun)");
    }
    root && tap
}

fn tbbench(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tbbench")).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn packets_of_the_largest_size_pass_and_none_is_too_early() {
    if !can_make_namespaces() {
        return;
    }
    let ping = ["ping", "-q", "-c", "20", "-i", "0.01", "-s", "65000", "192.168.2.2"];
    let output = tbbench(&[&["lab", "run", "thunderbolt4", "--"], &ping[..]].concat());
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{told}");
    assert!(said.contains("20 received"), "{said}");
    // rtt min/avg/max/mdev = 0.324/…: twice 150 µs less four deviations of jitter.
    let least: f64 = said.split(" = ").last().unwrap().split('/').next().unwrap().parse().unwrap();
    assert!(least > 2.0 * (0.150 - 4.0 * 0.008), "{said}");
    assert!(told.contains(" 0 lost by chance, 0 for want of room"), "{told}");
    // The namespaces are gone with it.
    let name = told.split("192.168.2.1 is ").nth(1).unwrap().lines().next().unwrap();
    let left = text(&Command::new("ip").args(["netns", "list"]).output().unwrap().stdout);
    assert!(!left.contains(name), "{left}");
}

#[test]
fn three_machines_reach_each_other() {
    if !can_make_namespaces() {
        return;
    }
    let script = "ping -q -c 3 -i 0.01 192.168.2.2 && ping -q -c 3 -i 0.01 192.168.2.3";
    let words = ["lab", "run", "ethernet1g", "--machines", "3", "--", "sh", "-c", script];
    let output = tbbench(&words);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert_eq!(said.matches("3 received").count(), 2, "{said}");
}

#[test]
fn the_command_s_failure_is_the_lab_s() {
    if !can_make_namespaces() {
        return;
    }
    let output = tbbench(&["lab", "run", "wifi6", "--", "false"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("false: exit status: 1"));
    let unknown = tbbench(&["lab", "run", "string", "--", "true"]);
    assert!(text(&unknown.stderr).contains("hint: there are thunderbolt3"));
}
