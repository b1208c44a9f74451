//! Keys and values of the tokens a sequence has seen, for one layer.

use mlx_rs::{
    Array,
    error::Exception,
    ops,
    ops::indexing::{TryIndexOp, TryIndexUpdateOp, UpdateMode},
};

use crate::scheduler::BLOCK_TOKENS;

/// Tokens by which a full cache grows: by blocks memory is counted.
const GROW_TOKENS: i32 = BLOCK_TOKENS as i32;

/// Keys and values of one sequence in one layer, `[1, kv_heads, capacity, width]` each (or one such
/// array, where both are of one latent). Written in place: the old handle is gone before the step is
/// evaluated, so MLX donates the buffer.
pub struct KvCache {
    stored: [Option<Array>; 2],
    /// Tokens seen.
    len: i32,
    /// Of which so many are no longer stored.
    dropped: i32,
    window: Option<i32>,
    /// Its capacity is so many tokens more than a multiple of [`GROW_TOKENS`].
    phase: i32,
}

impl KvCache {
    /// An empty cache: it takes memory with the first token. With a `window`, a row needs no more
    /// than so many tokens, itself included, and older ones are let go now and then.
    #[must_use]
    pub fn new(window: Option<i32>) -> Self {
        Self { stored: [None, None], len: 0, dropped: 0, window, phase: 0 }
    }

    /// That of the `layer`-th of so many layers: one that is full moves to a larger buffer, and they
    /// must not all be full in the same step.
    #[must_use]
    pub fn of_layer(mut self, layer: usize, layers: usize) -> Self {
        self.phase = (layer * GROW_TOKENS as usize / layers.max(1)) as i32;
        self
    }

    /// What it takes for so many tokens.
    fn capacity(&self, tokens: i32) -> i32 {
        let over = (tokens - self.phase).max(0);
        (over + GROW_TOKENS - 1) / GROW_TOKENS * GROW_TOKENS + self.phase
    }

    /// How many tokens it has seen.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> i32 {
        self.len
    }

    /// Bytes of memory it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.stored.iter().flatten().map(Array::nbytes).sum()
    }

    /// A copy of its first `tokens` tokens, yet to be evaluated; `None` if they are not all there any
    /// more: where there is a window old ones are let go.
    ///
    /// # Errors
    /// What MLX says.
    pub fn beginning(&self, tokens: i32) -> Result<Option<Self>, Exception> {
        if self.window.is_some() || tokens > self.len || tokens < 1 {
            return Ok(None);
        }
        let capacity = self.capacity(tokens);
        let mut copy = Self { stored: [None, None], len: tokens, dropped: 0, ..*self };
        for (own, stored) in copy.stored.iter_mut().zip(&self.stored) {
            let Some(stored) = stored else { continue };
            let kept = stored.try_index((.., .., ..tokens, ..))?;
            let shape = [1, kept.dim(1), capacity - tokens, kept.dim(3)];
            let room = ops::zeros_dtype(&shape, kept.dtype())?;
            *own = Some(ops::concatenate(&[kept, room], 2)?);
        }
        Ok(Some(copy))
    }

    /// Forgets what came after its first `tokens` tokens. Says whether it could: see
    /// [`beginning`](Self::beginning).
    pub fn truncate(&mut self, tokens: i32) -> bool {
        if tokens == self.len {
            return true;
        }
        if self.window.is_some() || tokens > self.len || tokens < 1 {
            return false;
        }
        self.len = tokens;
        true
    }

    /// What it stores.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.stored.iter().flatten()
    }

    /// Appends `new` (`[1, kv_heads, tokens, width]` each) and gives back all that the new rows may
    /// see: the last of it is their own.
    ///
    /// # Errors
    /// What MLX says.
    pub fn update<const N: usize>(&mut self, new: [&Array; N]) -> Result<[Array; N], Exception> {
        let rows = new[0].dim(2);
        let wanted = self.window.map_or(self.len, |window| self.len.min(window - 1));
        let mut start = self.len - self.dropped;
        let full = |stored: &Option<Array>| {
            stored.as_ref().is_none_or(|stored| start + rows > stored.dim(2))
        };
        if full(&self.stored[0]) {
            // Moved to a new buffer: without what nobody will see again.
            let capacity = match self.window {
                // As many as it holds from now on, and the next move is no sooner than any other's.
                Some(window) if wanted == window - 1 => wanted + rows + GROW_TOKENS,
                _ => self.capacity(wanted + rows),
            };
            for (stored, new) in self.stored.iter_mut().zip(new) {
                let shape = [1, new.dim(1), capacity - wanted, new.dim(3)];
                let room = ops::zeros_dtype(&shape, new.dtype())?;
                *stored = Some(match stored.take() {
                    Some(old) if wanted > 0 => {
                        let kept = old.try_index((.., .., start - wanted..start, ..))?;
                        ops::concatenate(&[kept, room], 2)?
                    }
                    _ => room,
                });
            }
            self.dropped = self.len - wanted;
            start = wanted;
        }
        let (first, end) = (start - wanted, start + rows);
        self.len += rows;
        let mut seen = Vec::with_capacity(N);
        for (stored, new) in self.stored.iter_mut().zip(new) {
            let old = stored.take().ok_or_else(|| Exception::custom("a cache of fewer arrays"))?;
            let written = old.try_index_update((.., .., start..end, ..), new, UpdateMode::Replace);
            let written = written.map_err(|error| Exception::custom(error.to_string()))?;
            seen.push(written.try_index((.., .., first..end, ..))?);
            *stored = Some(written);
        }
        seen.try_into().map_err(|_| Exception::custom("a cache of fewer arrays"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(tokens: i32, value: f32) -> Array {
        ops::full::<f32>(&[1, 2, tokens, 4], Array::from_f32(value)).unwrap()
    }

    fn row(array: &Array) -> Vec<f32> {
        let row = array.try_index((0, 1, .., 0)).unwrap().contiguous().unwrap();
        row.eval().unwrap();
        row.as_slice::<f32>().to_vec()
    }

    #[test]
    fn it_grows_and_keeps_what_it_had() {
        let mut cache = KvCache::new(None);
        for (tokens, value) in [(3, 1.0), (1, 2.0), (GROW_TOKENS, 3.0), (1, 4.0)] {
            let new = block(tokens, value);
            let [keys, values] = cache.update([&new, &new]).unwrap();
            mlx_rs::transforms::eval([&keys, &values]).unwrap();
            assert_eq!(keys.shape(), &[1, 2, cache.len(), 4]);
            assert_eq!(values.shape(), keys.shape());
        }
        let [keys, _] = cache.update([&block(1, 5.0), &block(1, 5.0)]).unwrap();
        let row = row(&keys);
        assert_eq!(row.len() as i32, GROW_TOKENS + 6);
        assert_eq!((row[0], row[2], row[3], row[4]), (1.0, 1.0, 2.0, 3.0));
        assert_eq!(row[row.len() - 2..], [4.0, 5.0]);
    }

    #[test]
    fn layers_grow_in_turn() {
        let mut caches: Vec<KvCache> =
            (0..4).map(|layer| KvCache::new(None).of_layer(layer, 4)).collect();
        let mut bytes = vec![0; 4];
        for token in 1..=4 * GROW_TOKENS {
            let mut grown = 0;
            for (cache, bytes) in caches.iter_mut().zip(&mut bytes) {
                let [keys] = cache.update([&block(1, token as f32)]).unwrap();
                keys.eval().unwrap();
                grown += u32::from(cache.bytes() > *bytes);
                *bytes = cache.bytes();
            }
            assert!(grown <= 1 || token == 1, "token {token}: {grown} layers");
        }
        for cache in &mut caches {
            let all = row(&cache.update([&block(1, 0.0)]).unwrap()[0]);
            assert!(all[..1024].iter().zip(1..).all(|(&got, want)| got == want as f32));
        }
    }

    #[test]
    fn a_copy_of_its_beginning_goes_its_own_way() {
        let mut cache = KvCache::new(None);
        for value in [1.0, 2.0, 3.0] {
            let [keys] = cache.update([&block(200, value)]).unwrap();
            keys.eval().unwrap();
        }
        let mut copy = cache.beginning(300).unwrap().unwrap();
        mlx_rs::transforms::eval(copy.arrays()).unwrap();
        let [copied] = copy.update([&block(1, 7.0)]).unwrap();
        let copied = row(&copied);
        assert_eq!((copied.len(), copied[0], copied[299], copied[300]), (301, 1.0, 2.0, 7.0));
        let [own] = cache.update([&block(1, 8.0)]).unwrap();
        let own = row(&own);
        assert_eq!((own.len(), own[300], own[599], own[600]), (601, 2.0, 3.0, 8.0));
        assert!(cache.truncate(250) && !cache.truncate(251));
        let [own] = cache.update([&block(2, 9.0)]).unwrap();
        let own = row(&own);
        assert_eq!((own.len(), own[249], own[250], own[251]), (252, 2.0, 9.0, 9.0));
        let mut windowed = KvCache::new(Some(40));
        row(&windowed.update([&block(100, 1.0)]).unwrap()[0]);
        assert!(windowed.beginning(50).unwrap().is_none());
        assert!(windowed.truncate(100) && !windowed.truncate(99));
    }

    #[test]
    fn with_a_window_it_keeps_no_more_than_it_needs() {
        let window = 40;
        let mut cache = KvCache::new(Some(window));
        let mut seen = Vec::new();
        for step in 0..1000 {
            let rows = 1 + step % 3;
            seen.extend((0..rows).map(|_| step as f32));
            let [keys] = cache.update([&block(rows, step as f32)]).unwrap();
            let wanted = seen.len().min((window - 1 + rows) as usize);
            assert_eq!(row(&keys), seen[seen.len() - wanted..], "step {step}");
        }
        assert_eq!(cache.len() as usize, seen.len());
        assert!(cache.bytes() <= 2 * 4 * 4 * 2 * GROW_TOKENS as usize, "{}", cache.bytes());
    }

    #[test]
    fn with_a_window_it_moves_no_more_often() {
        for layer in 0..8 {
            let mut cache = KvCache::new(Some(128)).of_layer(layer, 8);
            let (mut moves, mut dropped) = (0, 0);
            for _ in 0..2000 {
                let [keys] = cache.update([&block(1, 1.0)]).unwrap();
                keys.eval().unwrap();
                moves += u32::from(cache.dropped != dropped);
                dropped = cache.dropped;
            }
            assert!((6..=8).contains(&moves), "layer {layer}: {moves}");
        }
    }
}
