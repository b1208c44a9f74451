//! Requests go on when a node is killed, frozen, cut off or leaves: every stream ends with exactly the
//! tokens of one that nothing happened to.
//!
//! `EXO_RUNS=50` is the long run; `EXO_SEED=<n>` repeats one; `EXO_NODES=3,4` takes clusters of these
//! sizes, one after the other. Each prints how long streams waited for their next token after the
//! fault.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use exo_tests::{
    namespaces::Machines,
    needed,
    ring::{CABLE, FAULTS, Fault, Heard, Ring, requests},
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn ids(heard: &Heard) -> Vec<u64> {
    heard.iter().map(|(id, _)| *id).collect()
}

#[test]
fn whatever_happens_to_a_node_every_stream_ends_with_its_tokens() {
    let Some(model) = needed("EXO_TEST_MODEL_DIR") else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let seed = number("EXO_SEED").unwrap_or(now);
    let runs = number("EXO_RUNS").unwrap_or(4) as usize;
    let counts = std::env::var("EXO_NODES").unwrap_or_else(|_| "3".into());
    for count in counts.split(',').map(|count| count.trim().parse().unwrap()) {
        println!("EXO_SEED={seed} EXO_RUNS={runs} EXO_NODES={count}");
        let Some(machines) = Machines::on_bridge(count, &CABLE) else { return };
        go_through(&model, &machines, count, seed, runs);
    }
}

/// So many faults in a cluster of `count` nodes.
fn go_through(model: &Path, machines: &Machines, count: usize, seed: u64, runs: usize) {
    let mut random = Random(seed);
    let name = model.file_name().unwrap().to_str().unwrap();
    let asked = requests(name);
    let mut waits: Vec<(Fault, Duration)> = Vec::new();
    let mut expected: Vec<Vec<u64>> = Vec::new();
    let mut run = 0;
    while run < runs {
        // A cluster for each four: a node that keeps going away is given layers later and later.
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::start(machines, count, model, dir.path());
        ring.wait_whole();
        if expected.is_empty() {
            let undisturbed: Vec<_> = asked.iter().map(|asked| ring.stream(0, asked)).collect();
            for stream in undisturbed {
                expected.push(ids(&stream.join().unwrap().unwrap()));
            }
            assert!(expected.iter().all(|tokens| tokens.len() == 40), "{expected:?}");
        }
        let first = random.below(4) as usize;
        for turn in 0..4.min(runs - run) {
            let fault = FAULTS[(first + turn) % 4];
            let entry = random.below(count as u64) as usize;
            let victim = (entry + 1 + random.below(count as u64 - 1) as usize) % count;
            let streams: Vec<_> = asked.iter().map(|asked| ring.stream(entry, asked)).collect();
            thread::sleep(Duration::from_millis(300 + random.below(900)));
            let hurt = Instant::now();
            ring.hurt(victim, fault);
            for (stream, expected) in streams.into_iter().zip(&expected) {
                let told = format!("run {run}: node{victim} {fault:?}, asked node{entry}");
                let heard = stream.join().unwrap();
                let heard = heard.unwrap_or_else(|error| panic!("{told}: {error}"));
                assert_eq!(&ids(&heard), expected, "{told}");
                // What was on its way still comes: the gap is what the client noticed.
                let after = heard.iter().map(|(_, at)| *at).filter(|at| *at > hurt);
                let before = std::iter::once(hurt).chain(after.clone());
                let gaps = before.zip(after).map(|(before, next)| next - before);
                waits.extend(gaps.max().map(|gap| (fault, gap)));
            }
            ring.heal(victim, fault);
            ring.wait_whole();
            run += 1;
        }
    }
    for fault in FAULTS {
        let mut of: Vec<Duration> =
            waits.iter().filter(|(kind, _)| *kind == fault).map(|(_, wait)| *wait).collect();
        of.sort_unstable();
        if let (Some(median), Some(most)) = (of.get(of.len() / 2), of.last()) {
            let p90 = of[of.len() * 9 / 10];
            println!(
                "{fault:?}: {} streams waited for their next token {median:.2?} at the median, \
                 {p90:.2?} at 90 %, {most:.2?} at most",
                of.len()
            );
        }
    }
    assert!(!waits.is_empty(), "every stream was over before anything happened");
}

/// A node joins a ring that runs, and takes its share; the streams go on, with the same tokens.
#[test]
fn a_node_that_joins_takes_its_share_while_requests_go_on() {
    let Some(model) = needed("EXO_TEST_MODEL_DIR") else { return };
    let Some(machines) = Machines::on_bridge(3, &CABLE) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Ring::start(&machines, 3, &model, dir.path());
    ring.wait_whole();
    // Counting: it goes on for long, and is sure of each token.
    let mut counting = requests(model.file_name().unwrap().to_str().unwrap()).swap_remove(0);
    counting["max_tokens"] = 250.into();
    let asked = [counting.clone(), counting.clone(), counting];
    let undisturbed: Vec<_> = asked.iter().map(|asked| ring.stream(0, asked)).collect();
    let expected: Vec<Vec<u64>> =
        undisturbed.into_iter().map(|stream| ids(&stream.join().unwrap().unwrap())).collect();
    // One leaves; the two that are left are asked again, and it comes back meanwhile.
    ring.hurt(2, Fault::Leaves);
    ring.nodes[2] = None;
    let streams: Vec<_> = asked.iter().map(|asked| ring.stream(0, asked)).collect();
    ring.heal(2, Fault::Leaves);
    let joined = ring.wait_for_layers(0, 3);
    let mut gaps = Vec::new();
    for (stream, expected) in streams.into_iter().zip(&expected) {
        let heard = stream.join().unwrap().unwrap();
        assert_eq!(&ids(&heard), expected);
        let times: Vec<Instant> = heard.iter().map(|(_, at)| *at).collect();
        assert!(*times.last().unwrap() > joined, "the streams were over before it had layers");
        gaps.extend(times.windows(2).map(|pair| pair[1] - pair[0]).max());
    }
    println!("the longest wait for a token while layers moved: {:.2?}", gaps.iter().max().unwrap());
}
