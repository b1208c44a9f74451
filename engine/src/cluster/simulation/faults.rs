//! What goes wrong, when?

use super::{Ms, Random};

/// Something that happens to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The program ends where it stands.
    Kill(usize),
    /// It is started (again).
    Start(usize),
    /// It is frozen: nothing of it moves.
    Freeze(usize),
    /// It goes on.
    Thaw(usize),
    /// The way between two nodes lets nothing through.
    Cut(usize, usize),
    /// It does again.
    Mend(usize, usize),
    /// What the first sends no longer comes to the second.
    Deafen(usize, usize),
    /// All ways of one node.
    CutOff(usize),
    /// They are there again.
    MendAll(usize),
    /// It is asked to leave.
    Leave(usize),
    /// Its steps take so much longer.
    Slow(usize, Ms),
}

/// How a cluster is made, and what happens to it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    /// GiB each.
    pub(super) memory: Vec<u64>,
    /// How much longer what one sends another takes, each direction by itself.
    pub(super) latency: Vec<Vec<Ms>>,
    pub(super) all_nodes: bool,
    pub(super) rebalance: bool,
    pub(super) faults: Vec<(Ms, Fault)>,
    pub(super) requests: Vec<(Ms, usize)>,
    pub(super) cancels: u64,
    /// When everything is mended, and nothing new happens.
    pub(super) calm: Ms,
}

impl Plan {
    pub(super) fn new(random: &mut Random, kind: u64) -> Self {
        let nodes = random.between(3, if kind == 3 { 6 } else { 5 }) as usize;
        let memory = (0..nodes)
            .map(|_| match kind {
                0 | 2 => 8,
                1 => 3,
                _ => random.between(2, 9),
            })
            .collect();
        // Wi-Fi's access point is near one of them and far from another.
        let uneven = random.chance(300);
        let latency = (0..nodes)
            .map(|_| (0..nodes).map(|_| if uneven { random.between(0, 120) } else { 0 }).collect())
            .collect();
        let calm = random.between(6_000, 25_000);
        let mut faults = Vec::new();
        for _ in 0..random.between(1, 5) {
            let at = random.between(1_500, calm - 2_000);
            let node = random.between(0, nodes as u64) as usize;
            let other = (node + random.between(1, nodes as u64) as usize) % nodes;
            let end = (at + random.between(100, 14_000)).min(calm);
            let choice = if kind == 2 { random.between(7, 10) } else { random.between(0, 9) };
            match choice {
                0 | 1 => faults.extend([(at, Fault::Kill(node)), (end, Fault::Start(node))]),
                2 => faults.extend([(at, Fault::Freeze(node)), (end, Fault::Thaw(node))]),
                3 => {
                    faults.extend([(at, Fault::Cut(node, other)), (end, Fault::Mend(node, other))]);
                }
                4 => faults.extend([(at, Fault::CutOff(node)), (end, Fault::MendAll(node))]),
                5 => {
                    // A cable with a loose contact.
                    let mut at = at;
                    for _ in 0..random.between(2, 6) {
                        let down = random.between(50, 2_500);
                        faults.extend([
                            (at, Fault::Cut(node, other)),
                            (at + down, Fault::Mend(node, other)),
                        ]);
                        at += down + random.between(50, 2_000);
                    }
                }
                6 => {
                    // One direction breaks; without what acknowledges, the other follows soon.
                    let follows = (at + random.between(50, 1_500)).min(end);
                    faults.extend([
                        (at, Fault::Deafen(node, other)),
                        (follows, Fault::Deafen(other, node)),
                        (end, Fault::Mend(node, other)),
                    ]);
                }
                7 => faults.extend([(at, Fault::Leave(node)), (end + 35_000, Fault::Start(node))]),
                8 => faults.push((at, Fault::Slow(node, random.between(50, 5_000)))),
                _ => faults.extend([(500, Fault::Kill(node)), (at, Fault::Start(node))]),
            }
        }
        faults.sort_unstable();
        let requests = (0..random.between(2, 9))
            .map(|_| (random.between(1_200, calm), random.between(0, nodes as u64) as usize))
            .collect();
        Self {
            nodes,
            memory,
            latency,
            all_nodes: kind != 0 || random.chance(500),
            rebalance: random.chance(500),
            faults,
            requests,
            cancels: random.between(0, 200),
            calm,
        }
    }
}
