//! A node whose step takes seconds, because it is held back, is slow and not dead: nobody suspects it,
//! it keeps its layers, and the answer is the one of a node that nothing holds back.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use exo_tests::{
    namespaces::Machines,
    needed,
    ring::{CABLE, Heard, Ring, requests},
};

/// Of each 100 ms, so long: a step of half of the model takes some 50 ms of a processor.
const QUOTA_US: u32 = 1_000;
const PERIOD_US: u32 = 100_000;
/// The threads that compute, by the name that they have from the first of them: a GPU that is too hot
/// holds these back, not the rest.
const THREADS: &str = "mlx";

/// A control group whose threads compute for a hundredth of the time.
struct HeldBack(PathBuf);

impl HeldBack {
    /// `None` where single threads cannot be held back: that takes the first version of control
    /// groups.
    fn new(process: u32) -> Option<Self> {
        let group = Self(Path::new("/sys/fs/cgroup/cpu").join(format!("exo-slow-{process}")));
        fs::create_dir(&group.0).ok()?;
        let write = |file: &str, text: &str| fs::write(group.0.join(file), text).ok();
        write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
        write("cpu.cfs_quota_us", &QUOTA_US.to_string())?;
        let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap().map(Result::unwrap);
        let computes = |thread: &fs::DirEntry| {
            fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim() == THREADS)
        };
        let ids: Vec<_> = threads.filter(computes).map(|thread| thread.file_name()).collect();
        assert!(!ids.is_empty(), "no thread is called {THREADS}");
        for id in ids {
            write("tasks", id.to_str().unwrap())?;
        }
        Some(group)
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        let parent = self.0.parent().unwrap().join("tasks");
        for thread in fs::read_to_string(self.0.join("tasks")).unwrap_or_default().lines() {
            let _ = fs::write(&parent, thread);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

fn ids(heard: &Heard) -> Vec<u64> {
    heard.iter().map(|(id, _)| *id).collect()
}

#[test]
fn a_node_whose_step_takes_seconds_is_not_declared_dead() {
    let Some(model) = needed("EXO_TEST_MODEL_DIR") else { return };
    let Some(machines) = Machines::on_bridge(2, &CABLE) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Ring::start(&machines, 2, &model, dir.path());
    ring.wait_whole();
    let mut asked = requests(model.file_name().unwrap().to_str().unwrap()).swap_remove(0);
    asked["max_tokens"] = 4.into();
    let expected = ids(&ring.stream(0, &asked).join().unwrap().unwrap());
    let epoch = ring.view(0)["placement_epoch"].clone();
    let held_back = HeldBack::new(ring.nodes[1].as_ref().unwrap().id());
    let Some(_held_back) = held_back else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: needs the cpu controller of control groups, version 1"
        );
        return;
    };
    let stream = ring.stream(0, &asked);
    while !stream.is_finished() {
        let view = ring.view(0);
        let reason = view["reason"].as_str().unwrap();
        assert!(!reason.contains("nothing is heard"), "it is suspected: {view:#}");
        let nodes = view["nodes"].as_array().unwrap();
        let holders = nodes.iter().filter(|node| node["layers"].is_object()).count();
        assert_eq!((holders, &view["placement_epoch"]), (2, &epoch), "{view:#}");
        thread::sleep(Duration::from_millis(100));
    }
    let heard = stream.join().unwrap().unwrap();
    assert_eq!(ids(&heard), expected);
    let gaps = heard.windows(2).map(|pair| pair[1].1 - pair[0].1);
    let longest = gaps.max().unwrap();
    println!("the longest wait for a token: {longest:.2?}");
    assert!(longest > Duration::from_secs(2), "it was not held back: {longest:.2?}");
}
