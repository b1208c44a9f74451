//! Keys and values of the tokens a sequence has seen, for one layer.

use mlx_rs::{
    Array, Dtype,
    error::Exception,
    ops,
    ops::indexing::{TryIndexOp, TryIndexUpdateOp, UpdateMode},
};

/// Tokens by which a full cache grows.
const GROW_TOKENS: i32 = 256;

/// Keys and values of one sequence in one layer, `[1, kv_heads, capacity, head_dim]` each. Written
/// in place: the old handle is gone before the step is evaluated, so MLX donates the buffer.
pub struct KvCache {
    keys: Option<Array>,
    values: Option<Array>,
    len: i32,
}

impl Default for KvCache {
    fn default() -> Self {
        Self::new()
    }
}

impl KvCache {
    /// An empty cache: it takes memory with the first token.
    #[must_use]
    pub fn new() -> Self {
        Self { keys: None, values: None, len: 0 }
    }

    /// How many tokens it holds.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> i32 {
        self.len
    }

    /// Bytes of memory it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        [&self.keys, &self.values].into_iter().flatten().map(Array::nbytes).sum()
    }

    /// Appends `keys` and `values` (`[1, kv_heads, tokens, head_dim]`) and gives all of them back
    /// (`[1, kv_heads, len, head_dim]`).
    ///
    /// # Errors
    /// What MLX says.
    pub fn update(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array), Exception> {
        let (start, end) = (self.len, self.len + keys.dim(2));
        let stored_keys = append(self.keys.take(), keys, start, end)?;
        let stored_values = append(self.values.take(), values, start, end)?;
        let all_keys = stored_keys.try_index((.., .., ..end, ..))?;
        let all_values = stored_values.try_index((.., .., ..end, ..))?;
        (self.keys, self.values, self.len) = (Some(stored_keys), Some(stored_values), end);
        Ok((all_keys, all_values))
    }
}

/// Writes `new` at `start..end` of `stored`, which is made or grown if it is too short.
fn append(stored: Option<Array>, new: &Array, start: i32, end: i32) -> Result<Array, Exception> {
    let capacity = stored.as_ref().map_or(0, |array| array.dim(2));
    let stored = if end > capacity {
        let grown = (end + GROW_TOKENS - 1) / GROW_TOKENS * GROW_TOKENS;
        let (heads, head_dim) = (new.dim(1), new.dim(3));
        let room = zeros(&[1, heads, grown - start, head_dim], new.dtype())?;
        match stored {
            Some(stored) if start > 0 => {
                let used = stored.try_index((.., .., ..start, ..))?;
                ops::concatenate(&[used, room], 2)?
            }
            _ => room,
        }
    } else {
        stored.expect("a cache with capacity has an array")
    };
    let written = stored.try_index_update((.., .., start..end, ..), new, UpdateMode::Replace);
    written.map_err(|error| Exception::custom(error.to_string()))
}

fn zeros(shape: &[i32], dtype: Dtype) -> Result<Array, Exception> {
    ops::zeros_dtype(shape, dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(tokens: i32, value: f32) -> Array {
        ops::full::<f32>(&[1, 2, tokens, 4], Array::from_f32(value)).unwrap()
    }

    #[test]
    fn it_grows_and_keeps_what_it_had() {
        let mut cache = KvCache::new();
        for (tokens, value) in [(3, 1.0), (1, 2.0), (GROW_TOKENS, 3.0), (1, 4.0)] {
            let new = block(tokens, value);
            let (keys, values) = cache.update(&new, &new).unwrap();
            mlx_rs::transforms::eval([&keys, &values]).unwrap();
            assert_eq!(keys.shape(), &[1, 2, cache.len(), 4]);
            assert_eq!(values.shape(), keys.shape());
        }
        let (keys, _) = cache.update(&block(1, 5.0), &block(1, 5.0)).unwrap();
        let row = keys.try_index((0, 1, .., 0)).unwrap();
        let row = row.contiguous().unwrap();
        row.eval().unwrap();
        let row = row.as_slice::<f32>().to_vec();
        assert_eq!(row.len() as i32, GROW_TOKENS + 6);
        assert_eq!((row[0], row[2], row[3], row[4]), (1.0, 1.0, 2.0, 3.0));
        assert_eq!(row[row.len() - 2..], [4.0, 5.0]);
    }
}
