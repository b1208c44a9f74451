//! Masked and unmasked recordings are judged alike, and nothing private is left.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    check::{Expectation, check},
    system::{Request, recorded},
};

fn sets() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sets")
}

fn files(root: &Path, below: &Path, found: &mut Vec<(String, Result<Vec<u8>, ()>)>) {
    let mut entries: Vec<_> = fs::read_dir(below).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push((name, Ok(fs::read(&path).unwrap())));
        }
    }
}

fn masked(set: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    files(set, set, &mut found);
    answers(found).into_iter().map(|(name, bytes)| (name, bytes.unwrap())).collect()
}

#[test]
fn every_recorded_situation_is_judged_as_before() {
    for entry in fs::read_dir(sets()).unwrap() {
        let set = entry.unwrap().path();
        if !set.is_dir() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in masked(&set) {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let judge = |folder: &Path| {
            let snapshot = recorded::load(folder, &Request::default()).unwrap();
            let report = check(&snapshot, &Expectation::default());
            let found: Vec<_> = report.findings.iter().map(|f| (f.id, f.severity)).collect();
            (report.verdict, found)
        };
        assert_eq!(judge(folder.path()), judge(&set), "{}", set.display());
    }
}

#[test]
fn nothing_private_is_left_and_equal_stays_equal() {
    let set = sets().join("good");
    let mut before = Vec::new();
    files(&set, &set, &mut before);
    let before: Vec<(String, Vec<u8>)> =
        before.into_iter().map(|(name, bytes)| (name, bytes.unwrap())).collect();
    let tokens = |files: &[(String, Vec<u8>)], shape: fn(&str) -> bool| -> BTreeSet<String> {
        let text: String = files
            .iter()
            .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned() + "\n")
            .collect();
        text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.')))
            .filter(|token| shape(token))
            .map(str::to_ascii_lowercase)
            .collect()
    };
    let after = masked(&set);
    for shape in [
        is_uuid as fn(&str) -> bool,
        |t| mac(t).is_some(),
        |t| hex_digits(t.trim_start_matches("0x"), 16).is_some(),
    ] {
        let (old, new) = (tokens(&before, shape), tokens(&after, shape));
        assert!(!old.is_empty(), "the set has such things");
        assert_eq!(old.len(), new.len(), "as many different ones as before");
        assert!(old.is_disjoint(&new), "{:?}", old.intersection(&new));
    }
    let all: String = after.iter().map(|(_, b)| String::from_utf8_lossy(b).into_owned()).collect();
    assert!(!all.contains("专线"), "a name that a person gave");
    assert!(all.contains("Thunderbolt Bridge") && all.contains("10.25.0.1"), "what checks need");
}

#[test]
fn shapes_are_told_apart() {
    let mut mask = Mask::default();
    let mut token = |text: &str| mask.token(text);
    assert_eq!(token("36:6a:f:f5:b0:80").unwrap(), "02:00:00:00:00:01");
    assert_eq!(token("36:6A:0f:f5:b0:80").unwrap(), "02:00:00:00:00:01");
    assert_eq!(token("0x05AC714E4ABE9815").unwrap(), "0x0000000000000001");
    assert_eq!(token("fe80::3477:f5ff:fe36:3a80").unwrap(), "fe80::1");
    for kept in ["fe80::1", "10.25.0.1", "10:15:30", "ff:ff:ff:ff:ff:ff", "bridge0", "2026-01-02"] {
        assert_eq!(token(kept), None, "{kept}");
    }
}

#[test]
fn an_interface_named_after_its_hardware_address_is_masked_everywhere() {
    let file = |name: &str, text: &str| (name.to_owned(), Ok::<_, ()>(text.as_bytes().to_vec()));
    let masked = answers(vec![
        file("sys/class/net/enx0011aabbccdd/address", "00:11:AA:bb:cc:dd\n"),
        file("ip-route.json", r#"[{"dev":"enx0011aabbccdd"},{"dev":"enx0011aabbccdd.7"}]"#),
        file("keepers.json", r#"{"enx0011aabbccdd":"networkd","wlan0":null}"#),
        file("other.txt", "enx0022aabbccdd has another address now; enxious is a word\n"),
    ]);
    let all: String = masked
        .iter()
        .map(|(name, text)| {
            format!("{name}\n{}\n", String::from_utf8_lossy(text.as_ref().unwrap()))
        })
        .collect();
    assert!(!all.to_ascii_lowercase().contains("11aabbccdd"), "{all}");
    assert_eq!(masked[0].0, "sys/class/net/enx020000000001/address");
    assert_eq!(all.matches("enx020000000001").count(), 4, "{all}");
    assert!(all.contains("enx020000000001.7") && all.contains("enx020000000002 has"), "{all}");
    assert!(all.contains("enxious"), "{all}");
}
