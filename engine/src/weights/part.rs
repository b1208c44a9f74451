//! Which rows of which of the checkpoint's matrices, and in which order?

/// Rows of one of the checkpoint's matrices.
#[derive(Debug, Clone)]
pub struct Part {
    pub(super) module: String,
    /// The checkpoint's shape, less the columns.
    pub(super) shape: Vec<usize>,
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) pairing: Option<Pairing>,
    /// Codes are called as gpt-oss was published: `module_blocks`, `module_scales`, `module_bias`.
    pub(super) in_blocks: bool,
}

/// Moves rows so that the two that a rotary embedding turns together lie beside each other: row `i`
/// and row `i + rotary / 2` of each head become rows `2i` and `2i + 1`. Queries and keys that are
/// reordered alike give the same scores.
#[derive(Debug, Clone, Copy)]
pub struct Pairing {
    /// Rows of a head.
    pub head_dim: usize,
    /// How many of them, from the first, are turned.
    pub rotary: usize,
}

impl Part {
    /// All `rows` rows of `module` (without `.weight`).
    pub fn whole(module: impl Into<String>, rows: usize) -> Self {
        Self::new(module.into(), vec![rows], 0, rows)
    }

    /// `rows` rows from the `first` on, of `of` rows.
    pub fn rows(module: impl Into<String>, first: usize, rows: usize, of: usize) -> Self {
        Self::new(module.into(), vec![of], first, rows)
    }

    /// The `index`-th of `count` matrices of `rows` rows that lie behind each other.
    pub fn stacked(module: impl Into<String>, index: usize, count: usize, rows: usize) -> Self {
        Self::new(module.into(), vec![count, rows], index * rows, rows)
    }

    fn new(module: String, shape: Vec<usize>, first: usize, rows: usize) -> Self {
        Self { module, shape, first, rows, pairing: None, in_blocks: false }
    }

    /// The same of codes that are called as gpt-oss was published.
    #[must_use]
    pub fn in_blocks(self) -> Self {
        Self { in_blocks: true, ..self }
    }

    /// With its rows reordered.
    #[must_use]
    pub fn paired(self, pairing: Option<Pairing>) -> Self {
        Self { pairing, ..self }
    }

    pub(super) fn tensor(&self, suffix: &str) -> String {
        match (self.in_blocks, suffix) {
            (false, _) => format!("{}.{suffix}", self.module),
            (true, "weight") => format!("{}_blocks", self.module),
            (true, _) => format!("{}_{suffix}", self.module),
        }
    }
}

pub(super) fn pair_rows(rows: &mut [u8], row: usize, Pairing { head_dim, rotary }: Pairing) {
    let mut before = vec![0; rotary * row];
    for head in rows.chunks_exact_mut(head_dim * row) {
        let turned = &mut head[..rotary * row];
        before.copy_from_slice(turned);
        let (low, high) = before.split_at(rotary / 2 * row);
        let pairs = low.chunks_exact(row).zip(high.chunks_exact(row));
        for (pair, (low, high)) in turned.chunks_exact_mut(2 * row).zip(pairs) {
            pair[..row].copy_from_slice(low);
            pair[row..].copy_from_slice(high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_turn_together_lie_beside_each_other() {
        // Two heads of six rows of two bytes, of which four turn.
        let mut rows: Vec<u8> = (0..12).flat_map(|row| [row, 100 + row]).collect();
        pair_rows(&mut rows, 2, Pairing { head_dim: 6, rotary: 4 });
        let order: Vec<u8> = rows.chunks_exact(2).map(|row| row[0]).collect();
        assert_eq!(order, [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]);
        assert!(rows.chunks_exact(2).all(|row| row[1] == 100 + row[0]));
    }
}
