//! What the figures mean for a model whose layers two machines share, in words.
//!
//! Each token crosses twice: its activation to the second machine, the token itself back. The rest of
//! a token's time is reading weights; how long that takes is not measured here but computed from the
//! memory's speed, and said so.

use serde::Serialize;

use super::{
    plan::{CHUNK_TOKENS, COUNT_FOR_P99, MODELS, Model, TIMELINE_EVERY, TOKEN_BYTES},
    report::LinkReport,
};
use crate::exercise::flow::Way;

/// Gigabytes per second of an M4 Pro's memory, by Apple's specification.
const MEMORY_GB_PER_S: f64 = 273.0;
/// Bits of a parameter of a model that is quantised to four bits, its scales among them.
const BITS_PER_PARAMETER: f64 = 4.5;
/// Tokens of the prompt that is spoken of.
const PROMPT_TOKENS: usize = 2048;

/// What a link takes of a model's tokens.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Meaning {
    pub(super) model: Model,
    /// Reading the weights once, shared by two such machines, in milliseconds: computed.
    pub(super) compute_ms: f64,
    pub(super) links: [Option<Crossing>; 2],
}

/// What crossing one link takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Crossing {
    /// Of a token, there and back, in the median.
    pub(super) token_ms: f64,
    /// Of a prompt's activations, if its throughput was measured.
    pub(super) prompt_ms: Option<f64>,
}

impl Meaning {
    pub(super) fn of(links: &[LinkReport; 2]) -> Vec<Self> {
        let of_model = |model: Model| {
            let gigabytes = model.active_billions * BITS_PER_PARAMETER / 8.0;
            let links = links.each_ref().map(|link| Crossing::of(model, link));
            Self { model, compute_ms: gigabytes / MEMORY_GB_PER_S * 1e3, links }
        };
        MODELS.into_iter().map(of_model).collect()
    }

    /// A sentence for people.
    pub(super) fn in_words(&self, titles: [&str; 2]) -> String {
        let over = self.links.iter().zip(titles).filter_map(|(crossing, title)| {
            let Crossing { token_ms, .. } = (*crossing)?;
            let of = self.compute_ms + token_ms;
            let percent = 100.0 * token_ms / of;
            Some(format!("{} of {} over {title} ({percent:.1} %)", ms(token_ms), ms(of)))
        });
        let over: Vec<_> = over.collect();
        if over.is_empty() {
            return format!("{}: nothing was measured.", self.model.name);
        }
        format!("{}: each token crosses twice: {}.", self.model.name, over.join(", "))
    }

    /// The same of a prompt.
    pub(super) fn prompt_in_words(&self, titles: [&str; 2]) -> Option<String> {
        let over = self.links.iter().zip(titles).filter_map(|(crossing, title)| {
            Some(format!("{} over {title}", ms((*crossing)?.prompt_ms?)))
        });
        let over: Vec<_> = over.collect();
        let bytes = self.model.activation_bytes(PROMPT_TOKENS) as f64 / (1 << 20) as f64;
        (!over.is_empty()).then(|| {
            format!(
                "{}: a prompt of {PROMPT_TOKENS} tokens is {bytes:.0} MiB of activations: {}.",
                self.model.name,
                over.join(", ")
            )
        })
    }
}

/// How late a token can be, by the messages that went at a decoder's pace.
pub(super) fn lateness(links: &[LinkReport; 2]) -> Option<String> {
    let late = links.iter().filter_map(|link| {
        let at = link.pace_us.as_ref().filter(|_| link.timeline.len() >= COUNT_FOR_P99)?;
        let title = &link.facts.title;
        Some(format!(
            "{} or longer over {title} (half of them {}, the longest {})",
            ms(at.p99 / 1e3),
            ms(at.p50 / 1e3),
            ms(at.max / 1e3)
        ))
    });
    let late: Vec<_> = late.collect();
    (!late.is_empty()).then(|| {
        format!(
            "Late tokens: of messages sent one by one each {} ms, one in a hundred took {}, there and \
             back.",
            TIMELINE_EVERY.as_millis(),
            late.join("; ")
        )
    })
}

/// What `compute_ms` was computed from.
pub(super) fn assumption() -> String {
    format!(
        "The time for computing is not measured here: it is how long memory of {MEMORY_GB_PER_S:.0} GB/s \
         (an M4 Pro) takes to be read once, at {BITS_PER_PARAMETER} bits a parameter, by two such \
         machines one after the other. What crosses was measured."
    )
}

impl Crossing {
    fn of(model: Model, link: &LinkReport) -> Option<Self> {
        let there = &link.alone(model.activation_bytes(1))?.rtt_us;
        let back = &link.alone(TOKEN_BYTES)?.rtt_us;
        // Half a round trip of what goes there, and half of one of what comes back.
        let halves = |there: f64, back: f64| f64::midpoint(there, back) / 1e3;
        let size = model.activation_bytes(CHUNK_TOKENS);
        let flow = link.flows.iter().find(|flow| flow.way == Way::There && flow.size == size);
        let bits = (model.activation_bytes(PROMPT_TOKENS) * 8) as f64;
        Some(Self {
            token_ms: halves(there.p50, back.p50),
            prompt_ms: flow.map(|flow| bits / flow.gbps.median / 1e6),
        })
    }
}

/// `0.62 ms`, `15 ms`, `1.2 s`.
pub(super) fn ms(ms: f64) -> String {
    match ms {
        ms if ms < 0.995 => format!("{ms:.2} ms"),
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_people_tell_them() {
        assert_eq!(ms(0.615), "0.61 ms");
        assert_eq!(ms(0.996), "1.0 ms");
        assert_eq!(ms(15.2), "15 ms");
        assert_eq!(ms(1234.0), "1.2 s");
    }

    #[test]
    fn a_token_crosses_twice_and_the_rest_is_computing() {
        let crossing = |token_ms| Some(Crossing { token_ms, prompt_ms: None });
        let meaning =
            Meaning { model: MODELS[1], compute_ms: 45.0, links: [crossing(0.6), crossing(15.0)] };
        assert_eq!(
            meaning.in_words(["the cable", "Wi-Fi"]),
            "Qwen2.5 32B: each token crosses twice: 0.60 ms of 46 ms over the cable (1.3 %), 15 ms of \
             60 ms over Wi-Fi (25.0 %)."
        );
        assert_eq!(meaning.prompt_in_words(["the cable", "Wi-Fi"]), None);
        let none = Meaning { links: [None, None], ..meaning };
        assert!(none.in_words(["the cable", "Wi-Fi"]).contains("nothing was measured"));
    }
}
