//! What holds for any nodes and any model.

use proptest::prelude::*;

use super::*;

fn any_model() -> impl Strategy<Value = ModelShape> {
    let part = (1u64..1 << 34).prop_map(|bytes| PartShape::dense(bytes, bytes / 2));
    (prop::collection::vec(part, 1..40), 0u64..1 << 34, 0u64..1 << 34, any::<bool>(), 0u64..1 << 14)
        .prop_map(|(layers, embedding, head, tied, kv)| ModelShape {
            layers,
            embedding_bytes: if tied { head } else { embedding },
            head: PartShape::dense(head, head / 2),
            tied,
            kv_token_layer_bytes: kv,
            context: 8192,
            token_bytes: 8192,
        })
}

fn any_offers() -> impl Strategy<Value = Vec<Offer>> {
    let node = (0u64..1 << 40, 1u64..1_000_000, 1u64..1 << 50);
    prop::collection::vec(node, 1..11).prop_map(|nodes| {
        let offer = |(id, (memory, megabytes, multiplies)): (usize, (u64, u64, u64))| {
            let mut offer = fast(id as u8 + 1, memory, megabytes);
            offer.speed.as_mut().unwrap().multiplies_per_s = multiplies;
            offer
        };
        nodes.into_iter().enumerate().map(offer).collect()
    })
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let nodes = prop_oneof![
        Just(NodesWanted::Smallest),
        Just(NodesWanted::All),
        (0usize..12).prop_map(NodesWanted::Exactly)
    ];
    let goal = prop_oneof![Just(Goal::Memory), Just(Goal::Latency), Just(Goal::Throughput)];
    (nodes, goal).prop_map(|(nodes, goal)| Wish { nodes, goal, by_hand: None, rebalance: false })
}

proptest! {
    #[test]
    fn a_placement_tiles_the_model_fits_and_is_explained(
        offers in any_offers(), model in any_model(), wish in any_wish(),
    ) {
        let found = plan(&offers, &model, &wish, &Links::default());
        let Ok(plan) = found else {
            prop_assert!(!found.unwrap_err().to_string().is_empty());
            return Ok(());
        };
        let parts = plan.placement.assignments();
        // `checked` is the only constructor, and says so of what it is given again.
        prop_assert!(Placement::checked(parts.to_vec(), model.layer_count()).is_ok());
        for part in parts {
            let offer = offers.iter().find(|offer| offer.node == part.node).unwrap();
            prop_assert!(needed_bytes(part.range, &model) <= offer.memory);
        }
        match wish.nodes {
            NodesWanted::Smallest => {}
            NodesWanted::Exactly(count) => prop_assert_eq!(parts.len(), count.max(1)),
            NodesWanted::All => prop_assert_eq!(parts.len(), offers.len()),
        }
        prop_assert_eq!(parts.len() + plan.left_out.len(), offers.len());
        prop_assert!(plan.cache_tokens >= 2048, "{} tokens", plan.cache_tokens);
        prop_assert!(!plan.why.is_empty());
        // Everybody whose layers these are is named, and everybody who has none.
        for name in offers.iter().map(|offer| &offer.name) {
            let said = plan.why.join(" ").contains(name.as_str());
            prop_assert!(said || wish.nodes != NodesWanted::Smallest, "{} of {:?}", name, plan.why);
        }
    }

    #[test]
    fn the_order_in_which_nodes_are_known_changes_nothing(
        offers in any_offers(), model in any_model(), wish in any_wish(), turn in 0usize..11,
    ) {
        let mut turned = offers.clone();
        turned.rotate_left(turn % offers.len());
        turned.reverse();
        let links = Links::default();
        prop_assert_eq!(plan(&offers, &model, &wish, &links), plan(&turned, &model, &wish, &links));
    }

    #[test]
    fn more_memory_never_needs_more_nodes(
        offers in any_offers(), model in any_model(), which in any::<prop::sample::Index>(),
        more in 0u64..1 << 40,
    ) {
        let wish = NodesWanted::Smallest.into();
        let links = Links::default();
        let count = |offers: &[Offer]| {
            plan(offers, &model, &wish, &links).map(|plan| plan.stages.len())
        };
        if let Ok(before) = count(&offers) {
            let mut richer = offers.clone();
            let at = which.index(richer.len());
            richer[at].memory = richer[at].memory.saturating_add(more);
            // Beyond six nodes not every order is tried.
            let after = count(&richer);
            prop_assert!(after.is_ok() || offers.len() > 6, "{:?}", after);
            if offers.len() <= 6 {
                prop_assert!(after.unwrap() <= before);
            }
        }
    }

    #[test]
    fn a_faster_node_never_makes_a_token_slower(
        offers in any_offers(), model in any_model(), which in any::<prop::sample::Index>(),
    ) {
        prop_assume!(offers.len() <= 4);
        let wish = Wish { nodes: NodesWanted::Smallest, goal: Goal::Latency, by_hand: None, rebalance: false };
        let links = Links::default();
        let time = |offers: &[Offer]| {
            plan(offers, &model, &wish, &links).map(|plan| plan.estimate.unwrap().token_ns)
        };
        if let Ok(before) = time(&offers) {
            let mut faster = offers.clone();
            let at = which.index(faster.len());
            let speed = faster[at].speed.as_mut().unwrap();
            speed.bytes_per_s *= 2;
            speed.multiplies_per_s *= 2;
            prop_assert!(time(&faster).unwrap() <= before);
        }
    }
}
