//! What is measured: sizes, with those of real activations marked, how both sides wait, and whether
//! bulk goes beside it.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{exercise::flow::Way, link::Mode};

/// A model whose layers two machines share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Model {
    pub(super) name: &'static str,
    /// Numbers of a token's activation.
    pub(super) hidden: usize,
    /// Thousands of millions of parameters that each token meets: of a mixture of experts only the
    /// chosen ones.
    pub(super) active_billions: f64,
}

/// By their published `config.json`: `hidden_size`, and the parameters that a token meets.
pub(super) const MODELS: [Model; 4] = [
    Model { name: "Llama 3.2 3B", hidden: 3072, active_billions: 3.2 },
    Model { name: "Qwen2.5 32B", hidden: 5120, active_billions: 32.8 },
    Model { name: "DeepSeek R1", hidden: 7168, active_billions: 37.0 },
    Model { name: "Llama 3.3 70B", hidden: 8192, active_billions: 70.6 },
];
/// The model of the pictures that show one size alone.
pub(super) const EXAMPLE: Model = MODELS[1];
/// Bytes of a number of an activation: bfloat16, as on a Mac's GPU.
pub(super) const NUMBER_BYTES: usize = 2;
/// Tokens of a prompt that cross together: the engine's largest chunk.
pub(super) const CHUNK_TOKENS: usize = 512;
/// Bytes of a token on its way back.
pub(super) const TOKEN_BYTES: usize = 64;

impl Model {
    /// Bytes of the activation of so many tokens.
    pub(super) const fn activation_bytes(&self, tokens: usize) -> usize {
        self.hidden * NUMBER_BYTES * tokens
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Sizes that are measured beside those of activations.
const PLAIN_SIZES: [usize; 8] =
    [TOKEN_BYTES, 256, KIB, 4 * KIB, 64 * KIB, 256 * KIB, MIB, 16 * MIB];
/// Larger messages are measured asleep and alone: a spinner does not feel the difference.
const SMALL_BYTES_MAX: usize = MIB;

/// All sizes, ascending.
pub(super) fn sizes() -> Vec<usize> {
    let mut sizes = PLAIN_SIZES.to_vec();
    for model in MODELS {
        sizes.extend([model.activation_bytes(1), model.activation_bytes(CHUNK_TOKENS)]);
    }
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Which models' activations have this size: `Qwen2.5 32B, 1 token`.
pub(super) fn marks(size: usize) -> Vec<String> {
    let of = |tokens: usize, words: &'static str| {
        MODELS
            .iter()
            .filter(move |model| model.activation_bytes(tokens) == size)
            .map(move |model| format!("{}, {words}", model.name))
    };
    of(1, "1 token").chain(of(CHUNK_TOKENS, "512 tokens")).collect()
}

/// One thing to be measured over either link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Slice {
    /// Round trips.
    Trips(Cell),
    /// As much as goes one way.
    Flow { way: Way, size: usize },
}

/// Round trips of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Cell {
    pub(super) waits: Waits,
    /// Whether bulk goes the same way meanwhile.
    pub(super) loaded: bool,
    pub(super) size: usize,
}

impl Cell {
    /// Asleep between messages and alone on the link, as a decoder mostly is; the size is the
    /// example's.
    pub(super) const ALONE: Self =
        Self { waits: Waits::Asleep, loaded: false, size: EXAMPLE.activation_bytes(1) };
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trips(Cell { waits, loaded, size }) => {
                let waits = if *waits == Waits::Asleep { "asleep" } else { "spinning" };
                let beside = if *loaded { ", beside bulk" } else { "" };
                write!(f, "{}, {waits}{beside}", bytes(*size))
            }
            Self::Flow { way: Way::There, size } => write!(f, "{} after {0}, there", bytes(*size)),
            Self::Flow { way: Way::Back, size } => write!(f, "{} after {0}, back", bytes(*size)),
        }
    }
}

/// `64 B`, `10 KiB`, `5 MiB`.
pub(super) fn bytes(size: usize) -> String {
    match size {
        size if size < KIB => format!("{size} B"),
        size if size < MIB => format!("{} KiB", size as f64 / KIB as f64),
        size => format!("{} MiB", size as f64 / MIB as f64),
    }
}

/// How both sides wait, as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Waits {
    Asleep,
    Spinning,
}

impl Waits {
    pub(super) const fn mode(self) -> Mode {
        match self {
            Self::Asleep => Mode::Wait,
            Self::Spinning => Mode::Spin,
        }
    }
}

/// How much of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Amount {
    /// Each slice is measured so often over each link, in turns.
    pub(super) rounds: usize,
    /// How long a slice lasts, unless a single message takes longer.
    pub(super) slice: Duration,
    /// How long both links are looked at side by side.
    pub(super) timeline: Duration,
    /// After so long no further round begins.
    pub(super) at_most: Duration,
}

/// Fewer values have no hundredth slowest.
pub(super) const COUNT_FOR_P99: usize = 100;
/// Nor these a thousandth.
pub(super) const COUNT_FOR_P999: usize = 1000;

/// From one message of the timeline to the next.
pub(super) const TIMELINE_EVERY: Duration = Duration::from_millis(5);

/// All slices of one round.
pub(super) fn slices() -> Vec<Slice> {
    let mut all = Vec::new();
    for size in sizes() {
        let small = size <= SMALL_BYTES_MAX;
        for waits in [Waits::Asleep, Waits::Spinning] {
            for loaded in [false, true] {
                if small || (waits == Waits::Asleep && !loaded) {
                    all.push(Slice::Trips(Cell { waits, loaded, size }));
                }
            }
        }
        all.push(Slice::Flow { way: Way::There, size });
        if size >= MIB {
            all.push(Slice::Flow { way: Way::Back, size });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_have_the_sizes_that_are_measured() {
        let sizes = sizes();
        assert_eq!(sizes.first(), Some(&64));
        assert_eq!(sizes.last(), Some(&(16 << 20)));
        assert!(sizes.is_sorted());
        for model in MODELS {
            assert!(sizes.contains(&model.activation_bytes(1)), "{}", model.name);
        }
        // hidden × bytes of a number × tokens
        assert_eq!(marks(10 << 10), ["Qwen2.5 32B, 1 token"]);
        assert_eq!(marks(5 << 20), ["Qwen2.5 32B, 512 tokens"]);
        assert!(marks(64).is_empty());
    }

    #[test]
    fn each_size_is_measured_asleep_alone_and_small_ones_every_way() {
        let slices = slices();
        for size in sizes() {
            let trips = slices
                .iter()
                .filter(|slice| matches!(slice, Slice::Trips(cell) if cell.size == size));
            assert_eq!(trips.count(), if size <= 1 << 20 { 4 } else { 1 }, "{size}");
            assert!(slices.contains(&Slice::Flow { way: Way::There, size }));
        }
    }
}
