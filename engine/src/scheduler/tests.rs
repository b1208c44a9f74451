//! The scheduler on simulated rings: near what the step times allow, fair, and in its bounds.

use proptest::prelude::*;

use super::{
    ring::{Client, Simulation},
    *,
};

/// A stage's step: reading weights, then each row, then what it looks back at. In microseconds.
fn affine(fixed: f64, row: f64, step: &Step) -> f64 {
    let rows: usize = step.rows.iter().map(|own| own.tokens.len()).sum();
    let back: f64 =
        step.rows.iter().map(|own| own.tokens.len() as f64 * f64::from(own.start)).sum();
    fixed + row * rows as f64 + 0.0003 * row * back
}

/// One node: the three stages below together.
fn alone(_: usize, step: &Step) -> f64 {
    affine(38_000.0, 1_500.0, step)
}

fn three(stage: usize, step: &Step) -> f64 {
    let layers = [13.0, 12.0, 13.0][stage];
    affine(1_000.0 * layers, 1_500.0 / 38.0 * layers, step)
}

fn ring(stages: usize) -> Ring {
    Ring { stages, chunk_tokens: 512, cache_tokens: 1 << 20, reuse: Reuse::Prefix }
}

fn prompt(salt: u32, tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|i| salt * 100_000 + i).collect()
}

fn together(policy: Policy, stages: usize, requests: usize) -> f64 {
    let curve = if stages == 1 { alone } else { three };
    let mut simulation = Simulation::new(policy, ring(stages), curve, 500);
    for number in 0..requests {
        simulation.add(Client::new(0, prompt(number as u32, 8 + number % 16), 80));
    }
    simulation.run();
    simulation.rate(0..requests)
}

const CEILING: f64 = 38.0 / 13.0;

#[test]
fn a_full_ring_is_near_the_split_s_ceiling() {
    let gain = together(Policy::default(), 3, 48) / together(Policy::default(), 1, 16);
    assert!(gain > 0.93 * CEILING && gain < 1.05 * CEILING, "{gain} of {CEILING}");
}

#[test]
fn one_sequence_per_step_too() {
    let one = Policy { step_sequences: 1, ..Policy::default() };
    let gain = together(one, 3, 6) / together(one, 1, 1);
    assert!(gain > 0.95 * CEILING && gain < 1.02 * CEILING, "{gain} of {CEILING}");
}

#[test]
fn the_same_requests_lose_nothing_on_a_ring() {
    for requests in [1, 2, 3, 5, 16, 40] {
        let gain =
            together(Policy::default(), 3, requests) / together(Policy::default(), 1, requests);
        assert!(gain > 0.95, "{requests} requests: {gain}");
    }
}

/// Four decode; a prompt of 4,000 tokens comes. Gives the slowest percent of the gaps between their
/// tokens while it is read over the gaps before, and the prompt's time over its time alone.
fn long_prompt(stages: usize, token_delay: f64) -> (f64, f64) {
    let curve = if stages == 1 { alone } else { three };
    let policy = Policy { token_delay, ..Policy::default() };
    let mut by_itself = Simulation::new(policy, ring(stages), curve, 500);
    // What a ring that has run for a while knows.
    let warm = by_itself.add(Client::new(0, prompt(90, 4_000), 1));
    by_itself.run();
    by_itself.add(Client::new(0, prompt(91, 4_000), 1));
    by_itself.run();
    let alone_us = *by_itself.heard[warm].at_us.first().unwrap();

    let mut busy = Simulation::new(policy, ring(stages), curve, 500);
    busy.add(Client::new(0, prompt(92, 2_000), 1));
    let decoding: Vec<usize> =
        (0..4).map(|number| busy.add(Client::new(0, prompt(number, 20), 2_500))).collect();
    let long = busy.add(Client::new(60_000_000, prompt(99, 4_000), 1));
    busy.run();
    let (from, to) = (60_000_000, busy.heard[long].at_us[0]);
    let gaps = |from: u64, to: u64| {
        let of = decoding.iter().flat_map(|&client| busy.heard[client].at_us.windows(2));
        let mut gaps: Vec<u64> = of
            .filter(|pair| pair[0] >= from && pair[1] <= to)
            .map(|pair| pair[1] - pair[0])
            .collect();
        gaps.sort_unstable();
        gaps
    };
    let idle = gaps(40_000_000, from);
    let during = gaps(from, to);
    let p99 = during[during.len() * 99 / 100];

    (p99 as f64 / idle[idle.len() / 2] as f64, busy.first_us(long) as f64 / alone_us as f64)
}

#[test]
fn a_long_prompt_waits_or_lets_wait_as_the_knob_says() {
    for stages in [1, 3] {
        let (tokens, first) = long_prompt(stages, 2.0);
        assert!(tokens <= 2.0 && first <= 3.5, "{stages}, latency end: {tokens} × and {first} ×");
        let (tokens, first) = long_prompt(stages, 5.0);
        assert!(tokens <= 5.0 && first <= 1.3, "{stages}, prompt end: {tokens} × and {first} ×");
    }
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let mut simulation = Simulation::new(Policy::default(), ring(3), three, 500);
    let long = simulation.add(Client::new(0, prompt(1, 8_000), 1));
    let short = simulation.add(Client::new(1_000_000, prompt(2, 20), 1));
    simulation.run();
    // The steps that were under way, and its own.
    assert!(simulation.first_us(short) < 1_500_000, "{}", simulation.first_us(short));
    assert!(simulation.first_us(long) > 2 * simulation.first_us(short));
}

#[test]
fn who_is_urgent_goes_first_and_nobody_waits_for_ever() {
    let mut simulation = Simulation::new(
        Policy::default(),
        Ring { cache_tokens: 4 * BLOCK_TOKENS, ..ring(1) },
        alone,
        0,
    );
    let clients: Vec<usize> = (0..200)
        .map(|number| {
            let client = Client::new(number, prompt(number as u32, 200), 4);
            let priority = if number % 2 == 0 { Priority::High } else { Priority::Low };
            simulation.add(Client { priority, ..client })
        })
        .collect();
    simulation.run();
    let mean = |odd: usize| {
        let of = clients.iter().skip(odd).step_by(2);
        of.map(|&client| simulation.first_us(client)).sum::<u64>() / 100
    };
    assert!(mean(1) > 2 * mean(0), "{} and {}", mean(1), mean(0));
}

#[test]
fn a_second_turn_computes_only_what_is_new() {
    let mut simulation = Simulation::new(Policy::default(), ring(3), three, 500);
    let first = simulation.add(Client::new(0, prompt(1, 3_000), 20));
    simulation.run();
    let first_us = simulation.first_us(first);
    // The answer is what the simulated ring says: 1 + the client's number.
    let mut turn = prompt(1, 3_000);
    turn.extend([1; 19]);
    turn.extend(prompt(7, 30));
    let before = simulation.computed;
    let start = *simulation.heard[first].at_us.last().unwrap();
    let second = simulation.add(Client::new(0, turn, 20));
    simulation.run();
    assert_eq!(simulation.computed - before, 30, "what lay in the cache was computed again");
    let second_us = simulation.heard[second].at_us[0] - start;
    assert!(second_us * 5 < first_us, "{second_us} after {first_us}");
}

#[test]
fn there_is_an_end_to_how_many_and_how_long() {
    let mut scheduler = Scheduler::new(Policy::default(), Ring { cache_tokens: 1_000, ..ring(1) });
    let submit = |scheduler: &mut Scheduler, id, tokens| {
        let prompt = prompt(1, tokens);
        let (sequence, priority) = (RequestId(id), Priority::Normal);
        scheduler.handle_submit(Submission {
            sequence,
            attempt: 0,
            prompt,
            max_tokens: 10_000,
            priority,
        })
    };
    let error = submit(&mut scheduler, 1, 800).unwrap_err();
    // Three blocks, and half of one is for layers that have grown before others.
    assert_eq!(error, Refused::TooLong { prompt: 800, room: 640 });
    assert!(error.to_string().contains("hint"), "{error}");
    assert_eq!(submit(&mut scheduler, 1, 600), Ok(40), "no more than fit");
    assert_eq!(submit(&mut scheduler, 1, 7), Err(Refused::Known));
    for id in 2..=SEQUENCES_MAX as u64 {
        submit(&mut scheduler, id, 1).unwrap();
    }
    assert_eq!(submit(&mut scheduler, 9999, 1), Err(Refused::Full { retry_after_s: 1 }));
    // One ends every 7 s.
    for id in 1..=40 {
        assert!(scheduler.handle_end(RequestId(id), false, Duration::from_secs(7 * id)));
    }
    for id in 1_001..=1_040 {
        submit(&mut scheduler, id, 1).unwrap();
    }
    assert_eq!(submit(&mut scheduler, 9999, 1), Err(Refused::Full { retry_after_s: 7 }));
}

#[test]
fn what_ended_or_was_started_again_is_not_scheduled() {
    let mut scheduler = Scheduler::new(Policy::default(), ring(1));
    let (sequence, priority) = (RequestId(1), Priority::Normal);
    let submission =
        Submission { sequence, attempt: 1, prompt: prompt(1, 2), max_tokens: 9, priority };
    scheduler.handle_submit(submission).unwrap();
    let step = scheduler.next_step().unwrap();
    assert!(step.rows[0].wants_token);
    scheduler.handle_token(sequence, 0, 5);
    scheduler.handle_round(step.number);
    assert_eq!(scheduler.next_step(), None, "a token of an older attempt");
    assert!(scheduler.handle_end(sequence, false, Duration::ZERO));
    assert!(!scheduler.handle_end(sequence, false, Duration::ZERO));
    assert_eq!(scheduler.take_orders(), [Order::Close { sequence, keep: false }]);
    scheduler.handle_token(sequence, 1, 5);
    assert_eq!((scheduler.next_step(), scheduler.running()), (None, 0));
}

prop_compose! {
    fn client()(
        at_us in 0u64..5_000_000,
        salt in 0u32..4,
        length in 1usize..1_200,
        differs in 0usize..1_200,
        tokens in 1u32..400,
        leaves in prop::option::weighted(0.3, 0u64..20_000_000),
        priority in prop::sample::select(vec![Priority::Low, Priority::Normal, Priority::High]),
    ) -> Client {
        let mut prompt = prompt(salt, length);
        prompt[differs % length..].iter_mut().for_each(|token| *token += 50_000);
        Client { priority, leaves_us: leaves, ..Client::new(at_us, prompt, tokens) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// The simulation checks each step and, at the end, that everybody has ended and nothing is left.
    #[test]
    fn whatever_comes_every_request_ends_and_memory_is_accounted_for(
        clients in prop::collection::vec(client(), 1..60),
        stages in 1usize..5,
        memory in 6u64..40,
        step_sequences in prop::sample::select(vec![1, 3, 64]),
        reuse in prop::sample::select(vec![Reuse::Prefix, Reuse::Whole, Reuse::Never]),
        token_delay in 1.0f64..8.0,
    ) {
        fn curve(stage: usize, step: &Step) -> f64 {
            affine(3_000.0 * (1 + stage % 2) as f64, 200.0, step)
        }
        let policy = Policy { step_sequences, token_delay };
        let ring = Ring { stages, chunk_tokens: 256, cache_tokens: memory * BLOCK_TOKENS, reuse };
        let mut simulation = Simulation::new(policy, ring, curve, 300);
        for client in clients {
            simulation.add(client);
        }
        simulation.run();
        prop_assert!(simulation.heard.iter().all(|heard| !heard.refused));
    }
}
