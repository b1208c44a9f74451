//! Nodes are killed, frozen, cut off, leave and come back under load, for a while: every stream of the
//! node that stays ends well, and its memory and file descriptors stay within what it needs.
//!
//! `EXO_MINUTES=20` is the long run, without it there are six turns; `EXO_SEED=<n>` repeats one.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    fs, thread,
    time::{Duration, Instant, SystemTime},
};

use exo_tests::{
    namespaces::Machines,
    needed,
    ring::{CABLE, FAULTS, Ring, requests},
};

const NODES: usize = 3;
/// Turns at the beginning, whose most open descriptors are what there may be at the end.
const WARM: usize = 3;
/// Turns at the end, of which the least is looked at: memory goes up and down while the node takes over
/// others' layers, and with the buffers that MLX keeps for them. What leaks never goes down.
const LAST: usize = 3;
/// Program, caches and what the allocator keeps, beside the weights.
const MEMORY_SLACK: u64 = 160 << 20;
/// Sockets of sessions that are on their way to end.
const DESCRIPTOR_SLACK: usize = 4;

fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

#[test]
fn a_node_among_others_that_come_and_go_does_not_grow() {
    let Some(model) = needed("EXO_TEST_MODEL_DIR") else { return };
    let Some(machines) = Machines::on_bridge(NODES, &CABLE) else { return };
    let number = |variable: &str| std::env::var(variable).ok()?.parse::<u64>().ok();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let mut seed = number("EXO_SEED").unwrap_or(now);
    let minutes = number("EXO_MINUTES").unwrap_or(0);
    println!("EXO_SEED={seed} EXO_MINUTES={minutes}");
    let asked = requests(model.file_name().unwrap().to_str().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Ring::start(&machines, NODES, &model, dir.path());
    ring.wait_whole();
    let stays = ring.nodes[0].as_ref().unwrap().id();
    let (until, mut turn) = (Instant::now() + Duration::from_secs(60 * minutes), 0);
    let mut looks: Vec<(u64, usize)> = Vec::new();
    while Instant::now() < until || turn < WARM + LAST {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let (victim, fault) = (1 + (seed >> 60) as usize % 2, FAULTS[(seed >> 40) as usize % 4]);
        let streams: Vec<_> = asked.iter().map(|asked| ring.stream(0, asked)).collect();
        thread::sleep(Duration::from_millis(200 + (seed >> 33) % 800));
        ring.hurt(victim, fault);
        for stream in streams {
            let heard = stream.join().unwrap();
            let heard = heard.unwrap_or_else(|error| panic!("turn {turn}, {fault:?}: {error}"));
            assert_eq!(heard.len(), 40, "turn {turn}, {fault:?}");
        }
        ring.heal(victim, fault);
        // The others go on with what there is; who came back is taken in when it is steady.
        ring.wait_together();
        turn += 1;
        let look = (memory(stays), descriptors(stays));
        println!(
            "turn {turn}: node{victim} {fault:?}; {} MiB, {} descriptors",
            look.0 >> 20,
            look.1
        );
        looks.push(look);
    }
    assert!(looks.len() >= WARM + LAST, "too few turns: {looks:?}");
    let (before, after) = (&looks[..WARM], &looks[looks.len() - LAST..]);
    // Left alone it holds the whole model, whose file is as large as it is in memory; what it has
    // beside it must not grow.
    let whole = fs::metadata(model.join("model.safetensors")).unwrap().len();
    let least = after.iter().map(|look| look.0).min().unwrap();
    assert!(least <= whole + MEMORY_SLACK, "memory grows: {looks:?}");
    let most = before.iter().map(|look| look.1).max().unwrap();
    let least = after.iter().map(|look| look.1).min().unwrap();
    assert!(least <= most + DESCRIPTOR_SLACK, "descriptors grow: {looks:?}");
}
