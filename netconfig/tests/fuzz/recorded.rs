//! Whole recorded machines, some of whose answers are spoilt or another machine's.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use exo_netconfig::{
    Snapshot,
    check::{Expectation, Severity, Verdict, check},
    plan::{Action, Plan, Wish, plan},
    snapshot::Interface,
    system::{Request, recorded},
    text::Lang,
};

use crate::random::Random;

/// The files of one recording, by their names in its folder.
type Set = BTreeMap<PathBuf, String>;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Every capture.
pub(crate) fn captures() -> Vec<String> {
    let mut files = BTreeMap::new();
    read(&fixtures().join("captures"), Path::new(""), &mut files);
    files.into_values().collect()
}

/// Every recorded situation.
pub(crate) fn sets() -> Vec<Set> {
    let entries = fs::read_dir(fixtures().join("sets")).unwrap().map(Result::unwrap);
    let mut folders: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    let set = |folder: PathBuf| {
        let mut files = BTreeMap::new();
        read(&folder, Path::new(""), &mut files);
        files
    };
    folders.into_iter().map(set).collect()
}

fn read(folder: &Path, below: &Path, files: &mut Set) {
    for entry in fs::read_dir(folder.join(below)).unwrap().map(Result::unwrap) {
        let name = below.join(entry.file_name());
        if entry.path().is_dir() {
            read(folder, &name, files);
        } else {
            files.insert(name, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// Judges a machine, plans for it, and says both in every language. Whether it was found good.
pub(crate) fn judge(sets: &[Set], random: &mut Random) -> bool {
    let mut set = random.of(sets).clone();
    for _ in 0..random.below(4) {
        let name = random.below(set.len());
        let (name, text) = set.iter().nth(name).unwrap();
        let (name, text) = (name.clone(), text.clone());
        match random.below(4) {
            0 => drop(set.remove(&name)),
            1 => {
                // The same question, answered by another machine.
                let other = random.of(sets).get(&name).cloned();
                set.insert(name, other.unwrap_or(text));
            }
            _ => drop(set.insert(name, random.spoil(text))),
        }
        if set.is_empty() {
            return false;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in &set {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let peers = ["10.25.0.2", "192.168.2.2", "fe80::2", "10.25.0.1"];
    let peer: Option<IpAddr> = (!random.one_in(3)).then(|| random.of(&peers).parse().unwrap());
    let request = Request { peers: peer.into_iter().collect() };
    let snapshot = match recorded::load(folder.path(), &request) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            assert!(!error.hint().words(Lang::Ko).is_empty(), "{error}");
            return false;
        }
    };
    let mut expectation = Expectation { peer, ..Expectation::default() };
    if let Some(Ok(Some(exchange))) = peer.map(|peer| recorded::exchange(folder.path(), peer)) {
        expectation.own = exchange.own;
        expectation.contact = Some(exchange.contact);
        expectation.others = exchange.others;
    }
    let report = check(&snapshot, &expectation);
    for finding in &report.findings {
        for lang in Lang::ALL {
            assert!(!finding.title.words(lang).is_empty(), "{finding:?}");
        }
        let remedy = &finding.remedy;
        let says_what_to_do = !remedy.clicks.is_empty() || !remedy.commands.is_empty();
        assert!(says_what_to_do || finding.severity != Severity::Error, "{finding:?}");
        assert!(!finding.seen.is_empty() || finding.severity != Severity::Error, "{finding:?}");
    }
    let errors = report.findings.iter().any(|f| f.severity == Severity::Error);
    let withheld = report.findings.iter().any(|f| f.withholds_verdict);
    match report.verdict {
        Verdict::Good => assert!(!errors && !withheld && report.judged.is_some(), "{report:?}"),
        Verdict::Problems => assert!(errors, "{report:?}"),
        Verdict::CouldNotCheck => assert!(!errors, "{report:?}"),
    }
    for per_port in [false, true] {
        let wish = Wish { peer, per_port, ..Wish::default() };
        match plan(&snapshot, &report, &wish) {
            Ok(plan) => harmless(&plan, &snapshot),
            Err(error) => assert!(!error.hint().words(Lang::Ko).is_empty(), "{error}"),
        }
    }
    report.verdict == Verdict::Good
}

/// Whatever was recorded, the plan changes neither Wi-Fi nor the loopback, and the system could be
/// given its words.
fn harmless(plan: &Plan, snapshot: &Snapshot) {
    let wifi = snapshot.preferences.value().map(|p| p.wifi_devices.clone()).unwrap_or_default();
    let is_foreign = |device: &str| {
        let is_loopback = snapshot.interface(device).is_some_and(Interface::is_loopback);
        is_loopback || wifi.iter().any(|wifi| wifi == device)
    };
    for name in &plan.interfaces {
        assert!(!is_foreign(name), "{plan:?}");
    }
    for step in &plan.steps {
        for command in step.action.commands() {
            assert!(command.argv.iter().all(|word| !word.contains('\0')), "{command:?}");
            assert!(!command.argv[0].is_empty());
        }
        // A service is only changed if it is the link's own, or has the link's address by mistake.
        if let Action::SetManual { service, .. } | Action::EnableService { service } = &step.action
        {
            let devices = snapshot.services.items().iter().filter(|s| s.name == *service);
            let mut devices = devices.filter_map(|s| s.device.as_deref());
            let is_own = |device: &str| plan.interfaces.iter().any(|own| own == device);
            let is_new = !snapshot.services.items().iter().any(|s| s.name == *service);
            assert!(is_new || devices.any(is_own), "{plan:?}");
        }
    }
}
