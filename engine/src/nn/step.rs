//! What all layers of a step share.

use std::{cell::RefCell, collections::HashMap};

use mlx_rs::Array;

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
}

impl Step {
    /// A step of these rows, for layers that turn by one of `ropes` (with the width of their heads).
    #[must_use]
    pub fn new(sequences: Vec<Sequence>, ropes: &[(Rope, i32)], kernels: Kernels) -> Self {
        let turns = ropes.iter().map(|(rope, width)| rope.turns(*width, &sequences, kernels));
        let turns = turns.collect();
        Self { sequences, turns, masks: RefCell::default() }
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
