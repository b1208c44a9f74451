//! What all layers of a step share.

use std::{cell::RefCell, collections::HashMap};

use mlx_rs::{Array, complex64};

use super::{Kernels, Rope, Turns};

/// Rows of one sequence in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// How many: at least one.
    pub rows: i32,
    /// Position of the first.
    pub position: i32,
}

/// A step: whose rows, at which positions, and what was computed of that for all layers.
pub struct Step {
    sequences: Vec<Sequence>,
    turns: Vec<Turns>,
    masks: RefCell<HashMap<(i32, i32, i32), Array>>,
    tiled: RefCell<HashMap<TileKey, Array>>,
}

/// Rope, heads of queries and of keys, and the bits of the scale.
type TileKey = (usize, i32, i32, u32);

impl Step {
    /// A step of these rows, for layers that turn by one of `ropes` (with the width of their heads).
    #[must_use]
    pub fn new(sequences: Vec<Sequence>, ropes: &[(Rope, i32)], kernels: Kernels) -> Self {
        let turns = ropes.iter().map(|(rope, width)| rope.turns(*width, &sequences, kernels));
        let turns = turns.collect();
        Self { sequences, turns, masks: RefCell::default(), tiled: RefCell::default() }
    }

    /// Whose rows: in order, in a row.
    #[must_use]
    pub fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    /// The `rope`-th of the model's, at this step's positions.
    #[must_use]
    pub fn turns(&self, rope: usize) -> &Turns {
        &self.turns[rope]
    }

    /// What turns a row's queries and keys, behind each other, in one product, and scales the queries
    /// too: `[rows, (heads + kv_heads) × pairs]`. None on a GPU, whose kernel does it.
    #[must_use]
    pub fn tiled_turns(
        &self,
        rope: usize,
        [heads, kv_heads]: [i32; 2],
        scale: f32,
    ) -> Option<Array> {
        let Turns::Complex(turns) = &self.turns[rope] else { return None };
        let (rows, pairs) = (turns.dim(0), turns.dim(2));
        let made = || {
            let turns = turns.as_slice::<complex64>();
            let mut tiled = Vec::with_capacity(turns.len() * (heads + kv_heads) as usize);
            for own in turns.chunks_exact(pairs as usize) {
                let scaled =
                    own.iter().map(|turn| complex64::new(turn.re * scale, turn.im * scale));
                let scaled: Vec<complex64> = scaled.collect();
                (0..heads).for_each(|_| tiled.extend_from_slice(&scaled));
                (0..kv_heads).for_each(|_| tiled.extend_from_slice(own));
            }
            Array::from_slice(&tiled, &[rows, (heads + kv_heads) * pairs])
        };
        let key = (rope, heads, kv_heads, scale.to_bits());
        Some(self.tiled.borrow_mut().entry(key).or_insert_with(made).clone())
    }

    /// `[rows, tokens]`, true where a row sees a token: the last row all but those more than
    /// `window` before it, the one before it one less.
    #[must_use]
    pub fn mask(&self, rows: i32, tokens: i32, window: i32) -> Array {
        let made = || {
            let sees = (0..rows).flat_map(|row| {
                let last = tokens - rows + row;
                (0..tokens).map(move |token| token <= last && token > last - window)
            });
            Array::from_iter(sees, &[rows, tokens])
        };
        self.masks.borrow_mut().entry((rows, tokens, window)).or_insert_with(made).clone()
    }
}
