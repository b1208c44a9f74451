//! A cluster in one thread: cores that talk over sessions which fall silent, resume and end, stages
//! that compute a made-up model, clients that check every token; all from one seed.
//!
//! | file | question |
//! |---|---|
//! | `net` | what does a session promise its two ends, and how does it break? |
//! | `stage` | what does a stage do, and what would it notice? |
//! | `clients` | what must a client hear? |
//! | `world` | how do nodes, sessions and clients live together in virtual time? |
//! | `world/sessions` | how do sessions begin, carry, fall silent and end? |
//! | `world/faults` | what does a fault do to the world? |
//! | `world/checks` | what must hold all along, and what when everything is mended? |
//! | `faults` | what goes wrong, when? |
//!
//! A session is the transport's contract, which `exo_transport`'s own simulation holds it to: in
//! order, exactly once, suspected after a second of silence, over after ten. Each direction of a way
//! is late, breaks and is suspected by itself.
//!
//! `EXO_SEED=n cargo test -p exo-engine --lib cluster::simulation` runs one seed, and says what
//! happens; `EXO_SEEDS=n` so many.

mod clients;
mod faults;
mod net;
mod stage;
mod world;

use std::time::Duration;

use self::world::World;

/// Seeds of a run of the test suite, over all kinds of cluster.
const SEEDS: u64 = 2_000;

/// Milliseconds.
type Ms = u64;

fn ms(time: Ms) -> Duration {
    Duration::from_millis(time)
}

/// SplitMix64.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// `from..to`
    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from).max(1)
    }

    fn chance(&mut self, of_thousand: u64) -> bool {
        self.next() % 1000 < of_thousand
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { Some(of[self.next() as usize % of.len()]) }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs seeds on this machine's processors; the first that fails is named.
fn run(kind: u64) {
    if let Some(seed) = number("EXO_SEED") {
        return World::run(seed, kind, true);
    }
    let seeds = number("EXO_SEEDS").unwrap_or(SEEDS) / 4;
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| World::run(seed, kind, false));
        assert!(
            outcome.is_ok(),
            "seed {seed} fails: EXO_SEED={seed} cargo test -p exo-engine --lib \
             cluster::simulation -- --nocapture"
        );
    }
}

/// Every node can hold the model: no request may fail unless its own node is gone.
#[test]
fn where_each_node_can_hold_the_model_no_request_is_lost() {
    run(0);
}

/// The model needs two of the nodes: requests wait for one to come back, or fail by name.
#[test]
fn where_two_nodes_are_needed_every_request_ends() {
    run(1);
}

/// Nodes take their share when they come, and hand over when they leave.
#[test]
fn nodes_that_come_and_go_move_layers_while_requests_run() {
    run(2);
}

/// All at once, with three to five nodes of any size.
#[test]
fn whatever_happens_nothing_is_lost_or_leaks() {
    run(3);
}
