//! What does the second turn of a chat cost, when the first was long?

use serde::Serialize;

use super::{
    Args, Controls,
    client::Heard,
    measures::prompt,
    nodes::{Cluster, Setup},
    report::Control,
};
use crate::figures::{Figure, paired_ratio};

/// Tokens of the first answer.
const ANSWER: usize = 24;
/// Tokens that the second turn adds.
const QUESTION: usize = 40;
/// The second turn's time to its first token over the first's.
const WANTED: f64 = 0.2;

#[derive(Serialize)]
pub(super) struct Turn {
    first_tokens: usize,
    second_tokens: usize,
    first_s: Figure,
    second_s: Figure,
    /// Median of the rounds' ratios.
    ratio: f64,
    wanted: f64,
}

pub(super) fn measure(
    args: &Args,
    setup: &Setup,
    controls: &Controls<'_>,
    control: &mut Control,
) -> anyhow::Result<Turn> {
    eprintln!("second turn: starting a ring of {}", args.layers.len());
    let ring = Cluster::start(setup, "turn", &args.layers, &args.with)?;
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    let mut second_tokens = 0;
    for round in 0..=args.repeats {
        controls.round(round, args.repeats, control)?;
        let question = prompt(700_000 + round as u32, 0, args.prompt_tokens_in(round));
        let first = one(&ring, question.clone(), ANSWER)?;
        let mut chat = question;
        chat.extend(&first.tokens);
        chat.extend(prompt(800_000 + round as u32, 0, QUESTION));
        second_tokens = chat.len();
        let second = one(&ring, chat, 4)?;
        if round > 0 {
            firsts.push(first.first_s());
            seconds.push(second.first_s());
        }
    }
    Ok(Turn {
        first_tokens: args.prompt_tokens,
        second_tokens,
        ratio: paired_ratio(&seconds, &firsts),
        first_s: Figure::of(firsts),
        second_s: Figure::of(seconds),
        wanted: WANTED,
    })
}

fn one(ring: &Cluster, prompt: Vec<u32>, tokens: usize) -> anyhow::Result<Heard> {
    let ask = ring.ask(prompt, tokens);
    ring.beside(|| super::client::stream(&ask))
}

impl Turn {
    pub(super) fn print(&self) {
        println!("turn: the second turn of a chat");
        println!("  first, {} tokens: first token after {} s", self.first_tokens, self.first_s);
        println!("  second, {} tokens: first token after {} s", self.second_tokens, self.second_s);
        println!("  second over first {:.3} (wanted {:.1} at most)\n", self.ratio, self.wanted);
    }
}
