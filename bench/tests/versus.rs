//! `tbbench versus` as a whole, over emulated links: what it writes, and what is left of it when
//! something breaks.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Whether namespaces can be made here; says so where they cannot.
fn can_make_namespaces() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let tap = Path::new("/dev/net/tun").exists();
    if !(root && tap) {
        eprintln!("skipped: needs network namespaces and TAP devices (root, `ip`, /dev/net/tun)");
    }
    root && tap
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// More than the look at both links side by side sends (10 KiB in each 5 ms of a second) and the first
/// slice, round trips of 64 bytes; less than the slice after these sends, which begins with bulk of
/// 4 MiB. It is a small part of the whole: 16 MiB go there and back at the end.
const PAST_THE_FIRST_SLICE_BYTES: u64 = 4_500_000;

/// A short run over two links that are quick to measure.
struct Versus {
    child: Child,
    out: PathBuf,
}

impl Versus {
    fn start(out: &Path, temporary: &Path, slice_ms: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tbbench"));
        command.args(["versus", "--emulated", "ethernet10g", "ethernet1g", "--rounds", "1"]);
        command.args(["--slice-ms", slice_ms, "--timeline-s", "1", "--out"]).arg(out);
        command.env("TMPDIR", temporary).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap(), out: out.to_owned() }
    }

    /// The namespace of the machine with this number.
    fn namespace(&self, machine: usize) -> String {
        format!("tbbench-versus-{}-{machine}", self.child.id())
    }

    /// Waits until round trips over both links were measured.
    fn let_measure(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.sent_over_the_second() < PAST_THE_FIRST_SLICE_BYTES {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "it does not begin to measure");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Bytes that the measuring side has sent over the second link, which has its turn after the
    /// first.
    fn sent_over_the_second(&self) -> u64 {
        let shown = ip(&["-n", &self.namespace(1), "-j", "-s", "link", "show", "second0"]);
        let links: Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
        links[0]["stats64"]["tx"]["bytes"].as_u64().unwrap_or(0)
    }

    /// Command lines of what runs on a machine, after their process numbers.
    fn pids(&self, machine: usize) -> String {
        let pids = ip(&["netns", "pids", &self.namespace(machine)]);
        let line = |pid: &str| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("{pid} {}\n", text(&words).replace('\0', " "))
        };
        text(&pids.stdout).split_whitespace().map(line).collect()
    }

    fn end(self) -> (Output, PathBuf) {
        (self.child.wait_with_output().unwrap(), self.out)
    }
}

fn ip(words: &[&str]) -> Output {
    Command::new("ip").args(words).output().unwrap()
}

fn report_in(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap()
}

fn trips(report: &Value, link: usize) -> usize {
    report["links"][link]["round_trips"].as_array().unwrap().len()
}

#[test]
fn a_whole_run_writes_a_page_that_needs_no_network_and_says_what_is_emulated() {
    if !can_make_namespaces() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("report");
    let (output, _) = Versus::start(&out, place.path(), "10").end();
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{told}");
    assert!(said.contains("Qwen2.5 32B: each token crosses twice: "), "{said}");

    let report = report_in(&out);
    assert_eq!(report["complete"], true);
    for link in 0..2 {
        // Sixteen sizes asleep and alone, and the smaller ones every way.
        assert!(trips(&report, link) > 40, "{}", trips(&report, link));
        let timeline = report["links"][link]["timeline"].as_array().unwrap();
        // One in 50 ms if the machine has time for it.
        assert!((20..=201).contains(&timeline.len()), "{} points", timeline.len());
        assert!(report["links"][link]["facts"]["emulated"]["seed"].is_u64());
    }
    // 100 µs one way against 200 µs.
    let median = |link: usize| report["links"][link]["pace_us"]["p50"].as_f64().unwrap();
    assert!(median(0) >= 200.0 && median(1) >= 400.0, "{} and {}", median(0), median(1));

    let page = fs::read_to_string(out.join("report.html")).unwrap();
    for outside in ["src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
    assert_eq!(page.matches("<svg").count(), 8, "four pictures, for a page and for a phone");
    assert_eq!(page.matches(" · emulated</text>").count(), 8);
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
    let summary = fs::read_to_string(out.join("summary.md")).unwrap();
    assert!(summary.starts_with("# Emulated 10 GbE against emulated 1 GbE\n"), "{summary}");
    assert!(summary.contains("**Emulated: no such link was there."));
}

#[test]
fn a_peer_that_is_gone_midway_ends_it_with_what_was_measured() {
    if !can_make_namespaces() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("report");
    let mut versus = Versus::start(&out, place.path(), "40");
    versus.let_measure();
    let server = versus.pids(2);
    let pid = server.lines().find(|line| line.contains(" serve ")).unwrap();
    let pid = pid.split(' ').next().unwrap();
    assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    let (output, out) = versus.end();
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert!(!output.status.success());
    assert!(told.contains(" broke after ") && told.contains("It was given up."), "{told}");
    assert!(told.contains("What was measured until then is in "), "{told}");
    let report = report_in(&out);
    assert_eq!(report["complete"], false);
    assert!(trips(&report, 0) > 0, "{told}");
    assert!(!report["links"][0]["timeline"].as_array().unwrap().is_empty(), "{told}");
    assert!(said.contains("each token crosses twice") || said.contains("nothing was measured"));
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("It was given up."));
}

#[test]
fn a_link_that_is_lost_is_given_up_and_the_other_is_measured_to_the_end() {
    if !can_make_namespaces() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("report");
    let mut versus = Versus::start(&out, place.path(), "40");
    versus.let_measure();
    let cut = ip(&["-n", &versus.namespace(1), "link", "set", "second0", "down"]);
    assert!(cut.status.success(), "{}", text(&cut.stderr));
    let (output, out) = versus.end();
    let told = text(&output.stderr);
    assert!(!output.status.success());
    assert!(
        told.contains("emulated 1 GbE broke after ") && told.contains("It was given up."),
        "{told}"
    );
    let report = report_in(&out);
    assert_eq!(report["complete"], false);
    // The other may have to repeat something on a machine that has no time for it.
    let broken = report["broken"].as_array().unwrap();
    let given_up: Vec<_> = broken.iter().filter(|broken| broken["for_good"] == true).collect();
    assert!(given_up.len() == 1 && given_up[0]["link"] == 1, "{told}");
    let [first, second] = [0, 1].map(|link| trips(&report, link));
    assert!(0 < second && second < first, "{second} of {first}: {told}");
    // The largest size is the last.
    let last = report["links"][0]["round_trips"].as_array().unwrap();
    assert!(last.iter().any(|trips| trips["size"] == 16 << 20), "{told}");
}

/// A file system with room for next to nothing.
struct Small(tempfile::TempDir);

impl Small {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=16k", "tbbench-test"];
        let status = Command::new("mount").args(mount).arg(place.path()).status().unwrap();
        assert!(status.success());
        Self(place)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_report_for_which_there_is_no_room_is_written_elsewhere_or_shown() {
    if !can_make_namespaces() {
        return;
    }
    let (full, place) = (Small::new(), tempfile::tempdir().unwrap());
    let (output, _) = Versus::start(full.0.path(), place.path(), "10").end();
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert!(!output.status.success());
    assert!(told.contains("No space left on device") && told.contains("hint: make room"), "{told}");
    let kept = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.into_iter().find(|path| path.join("report.json").exists());
    let kept = kept.expect("the report is where the system keeps what is temporary");
    assert!(told.contains(kept.to_str().unwrap()), "{told}");
    assert_eq!(report_in(&kept)["complete"], true);
    assert!(said.contains("each token crosses twice"));
    // No half report is left where it was wanted.
    assert!(!full.0.path().join("report.json").exists());
}
