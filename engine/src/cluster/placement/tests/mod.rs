//! Tests of placement: single cases here, every small case in `exhaustive`, any case in
//! `properties`, what people have on their desks in `desks`.

mod desks;
mod exhaustive;
mod properties;

use super::*;
use crate::model::{ModelShape, PartShape};

pub(super) const GIB: u64 = 1 << 30;

pub(super) fn offer(id: u8, memory: u64) -> Offer {
    Offer { node: NodeId::from_bytes([id; 16]), name: format!("n{id}"), memory, speed: None }
}

/// A node that reads so many MB of weights in a second, and multiplies as much as it needs.
pub(super) fn fast(id: u8, memory: u64, megabytes: u64) -> Offer {
    let speed = NodeSpeed { bytes_per_s: megabytes * 1_000_000, multiplies_per_s: 1 << 50 };
    Offer { speed: Some(speed), ..offer(id, memory) }
}

/// SmolLM2-135M in f32.
pub(super) fn smollm2() -> ModelShape {
    ModelShape {
        layers: vec![PartShape::dense(14_160_384, 3_540_096); 30],
        embedding_bytes: 113_246_208,
        head: PartShape::dense(113_248_512, 28_311_552),
        tied: true,
        kv_token_layer_bytes: 1536,
        context: 8192,
        token_bytes: 2304,
    }
}

pub(super) fn counts(placement: &Placement) -> Vec<u32> {
    placement.assignments().iter().map(|assignment| assignment.range.count()).collect()
}

fn placed(offers: &[Offer], wish: impl Into<Wish>) -> Result<Placement, PlacementError> {
    place(offers, &smollm2(), &wish.into(), &Links::default())
}

fn by(goal: Goal, nodes: NodesWanted) -> Wish {
    Wish { nodes, goal, by_hand: None, rebalance: false }
}

#[test]
fn nodes_are_filled_evenly_with_the_ends_of_the_model_weighed() {
    let offers = [offer(1, 3 * GIB), offer(2, GIB), offer(3, GIB)];
    let placement = placed(&offers, NodesWanted::Exactly(3)).unwrap();
    // The first holds the embedding as well, the last the head: as much as 6.5 layers each.
    assert_eq!(counts(&placement), [20, 8, 2]);
    assert_eq!(placement.first(), offers[0].node);
    let half = placed(&[offer(1, GIB), offer(2, GIB)], NodesWanted::All).unwrap();
    assert_eq!(counts(&half), [15, 15]);
}

#[test]
fn one_node_does_if_one_fits_and_more_if_not() {
    let both = [offer(1, GIB), offer(2, GIB)];
    assert_eq!(counts(&placed(&both, NodesWanted::Smallest).unwrap()), [30]);
    let small = [offer(1, 560 << 20), offer(2, 560 << 20)];
    assert_eq!(counts(&placed(&small, NodesWanted::Smallest).unwrap()), [15, 15]);
    let tiny = [offer(1, 100 << 20), offer(2, 100 << 20)];
    let error = placed(&tiny, NodesWanted::Smallest).unwrap_err().to_string();
    assert!(error.contains("would hold") && error.contains("offers 0.10 GiB"), "{error}");
}

#[test]
fn what_cannot_be_is_said() {
    let error = placed(&[offer(1, GIB)], NodesWanted::Exactly(2)).unwrap_err();
    assert_eq!(error.to_string(), "1 of 2 nodes are there");
    let many: Vec<Offer> = (0..31).map(|id| offer(id, GIB)).collect();
    let error = placed(&many, NodesWanted::All).unwrap_err();
    assert_eq!(error, PlacementError::TooManyNodes { nodes: 31, layers: 30 });
    let error = placed(&[], NodesWanted::Smallest).unwrap_err();
    assert_eq!(error.to_string(), "0 of 1 nodes are there");
    let offers = [fast(1, GIB, 1000), offer(2, GIB)];
    let error = placed(&offers, by(Goal::Latency, NodesWanted::Smallest)).unwrap_err();
    assert!(error.to_string().contains("that of n2 is not known"), "{error}");
}

#[test]
fn the_head_counts_where_tokens_per_second_do() {
    let offers = [fast(1, GIB, 10_000), fast(2, GIB, 10_000), fast(3, GIB, 10_000)];
    let all = by(Goal::Throughput, NodesWanted::All);
    // 38 layers' weights in all, the head's eight included: 13 for each.
    assert_eq!(counts(&placed(&offers, all).unwrap()), [13, 13, 4]);
}

#[test]
fn the_fastest_node_takes_all_it_holds_where_time_for_a_token_counts() {
    let offers = [fast(1, GIB, 2_000), fast(2, 300 << 20, 20_000)];
    let latency = by(Goal::Latency, NodesWanted::All);
    let placement = placed(&offers, latency).unwrap();
    // The slow one must hold some; the fast one is best last, where the head is read.
    assert_eq!(placement.last(), offers[1].node);
    assert_eq!(placement.first(), offers[0].node);
    let free = by(Goal::Latency, NodesWanted::Smallest);
    assert_eq!(placed(&[fast(1, GIB, 2_000), fast(2, GIB, 20_000)], free).unwrap().first(), {
        NodeId::from_bytes([2; 16])
    });
}

#[test]
fn layers_by_hand_are_taken_as_they_are_or_refused_by_name() {
    let offers = [offer(1, GIB), offer(2, GIB)];
    let wish = |text: &str| Wish {
        by_hand: Some(text.parse().unwrap()),
        ..Wish::from(NodesWanted::Smallest)
    };
    let placement = placed(&offers, wish("n2=10-29,n1=0-9")).unwrap();
    assert_eq!((counts(&placement), placement.first()), (vec![10, 20], offers[0].node));
    let refused = |text: &str| placed(&offers, wish(text)).unwrap_err().to_string();
    assert!(refused("n1=0-9,n3=10-29").contains("n3 is to hold layers 10..30 and is not there"));
    assert!(refused("n1=0-9,n2=10-28").contains("do not tile 30 layers"));
    assert!(refused("n1=0-9,n1=10-29").contains("one range for each node"));
    let small = [offer(1, 200 << 20), offer(2, GIB)];
    let error = placed(&small, wish("n1=0-9,n2=10-29")).unwrap_err().to_string();
    assert!(error.contains("n1 is to hold 0..10"), "{error}");
    let twins = [offer(1, GIB), Offer { name: "n1".into(), ..offer(2, GIB) }];
    assert!(placed(&twins, wish("n1=0-29")).unwrap_err().to_string().contains("2 nodes"));
    assert_eq!(counts(&placed(&twins, wish("02020202=0-29")).unwrap()), [30]);
}

#[test]
fn ranges_of_a_peer_are_checked() {
    let part = |id, start, end| Assignment {
        node: NodeId::from_bytes([id; 16]),
        range: LayerRange::checked(start, end).unwrap(),
    };
    for wrong in [
        vec![],
        vec![part(1, 0, 10), part(2, 11, 30)],
        vec![part(1, 0, 10), part(2, 9, 30)],
        vec![part(1, 0, 10), part(2, 10, 29)],
        vec![part(1, 0, 10), part(1, 10, 30)],
    ] {
        assert!(Placement::checked(wrong, 30).is_err());
    }
    let ring = Placement::checked(vec![part(1, 0, 10), part(2, 10, 30)], 30).unwrap();
    let (one, two) = (ring.first(), ring.last());
    assert_eq!((ring.before(one), ring.after(one)), (None, Some(two)));
    assert_eq!((ring.before(two), ring.after(two)), (Some(one), None));
}
