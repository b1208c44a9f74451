//! Whose keys and values lie in the ring's memory: of sequences that run, and of some that are over,
//! because another may begin with the same tokens.
//!
//! Every stage keeps them in step with what is decided here, since all that is ordered travels in
//! order with the activations. Memory is counted in tokens, in whole blocks.

use std::collections::BTreeMap;

use crate::request::RequestId;

/// Tokens of a block: a layer's cache grows by so many.
pub const BLOCK_TOKENS: u64 = 256;
/// Fewer tokens are not worth keeping, nor taking over.
const WORTH_TOKENS: usize = 32;
/// Sequences that are over and kept at most.
const KEPT_MAX: usize = 256;

/// What of a cache another sequence may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Any beginning of it.
    Prefix,
    /// All of it or nothing: a model whose layers forget what is far behind.
    Whole,
    /// Nothing is kept.
    Never,
}

/// Where a sequence gets the keys and values of its first tokens from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The sequence that has them.
    pub sequence: RequestId,
    /// How many tokens.
    pub tokens: usize,
    /// Whether it is over and gives its cache away: else it is copied.
    pub take: bool,
}

#[derive(Debug)]
struct Kept {
    tokens: Vec<u32>,
    used: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pool {
    reuse: Reuse,
    capacity: u64,
    running: u64,
    kept: BTreeMap<RequestId, Kept>,
    uses: u64,
}

/// What caches of so many tokens take, in whole blocks. Layers grow in turn, so on average they are
/// half a block ahead.
pub(super) fn blocks(tokens: usize) -> u64 {
    (tokens as u64 + BLOCK_TOKENS / 2).next_multiple_of(BLOCK_TOKENS)
}

/// The longest sequence whose caches fit into so much.
pub(super) fn longest(capacity: u64) -> u64 {
    (capacity / BLOCK_TOKENS * BLOCK_TOKENS).saturating_sub(BLOCK_TOKENS / 2)
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Pool {
    pub(super) fn new(capacity: u64, reuse: Reuse) -> Self {
        Self { reuse, capacity, running: 0, kept: BTreeMap::new(), uses: 0 }
    }

    /// Tokens there is room for.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn used(&self) -> u64 {
        self.running + self.kept.values().map(|kept| blocks(kept.tokens.len())).sum::<u64>()
    }

    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn reserve(&mut self, tokens: u64) {
        self.running += tokens;
    }

    pub(super) fn release(&mut self, tokens: u64) {
        self.running = self.running.saturating_sub(tokens);
    }

    /// Gives up what is kept, what was used longest ago first, until `more` tokens fit beside the
    /// rest; not `source`. Says what was given up; whether it is enough, [`fits`](Self::fits) says.
    pub(super) fn make_room(&mut self, more: u64, source: Option<Source>) -> Vec<RequestId> {
        let except = source.map(|source| source.sequence);
        let mut gone = Vec::new();
        while !self.fits(more, source) {
            let others = self.kept.iter().filter(|(id, _)| Some(**id) != except);
            let Some(oldest) = others.min_by_key(|(_, kept)| kept.used).map(|(&id, _)| id) else {
                break;
            };
            self.kept.remove(&oldest);
            gone.push(oldest);
        }
        gone
    }

    /// Whether `more` tokens fit beside the rest; what is taken over from `source` needs no more.
    pub(super) fn fits(&self, more: u64, source: Option<Source>) -> bool {
        let taken = source.filter(|source| source.take);
        let taken = taken.and_then(|source| self.kept.get(&source.sequence));
        let taken = taken.map_or(0, |kept| blocks(kept.tokens.len()));
        self.used() + more <= self.capacity + taken
    }

    /// A sequence of these tokens is over and its cache holds them all. Says whether it is kept, and
    /// which others are given up for it.
    pub(super) fn keep(&mut self, id: RequestId, tokens: Vec<u32>) -> (bool, Vec<RequestId>) {
        if self.reuse == Reuse::Never || tokens.len() < WORTH_TOKENS {
            return (false, Vec::new());
        }
        // What it goes on from nobody needs beside it; but where only a whole one can be used, the
        // shorter one may be whose next turn comes.
        let covered = |kept: &Kept| {
            self.reuse == Reuse::Prefix && common(&kept.tokens, &tokens) == kept.tokens.len()
        };
        let mut gone: Vec<RequestId> =
            self.kept.iter().filter(|(_, kept)| covered(kept)).map(|(&id, _)| id).collect();
        for id in &gone {
            self.kept.remove(id);
        }
        gone.extend(self.make_room(blocks(tokens.len()), None));
        if !self.fits(blocks(tokens.len()), None) {
            return (false, gone);
        }
        if self.kept.len() >= KEPT_MAX
            && let Some(oldest) = self.kept.iter().min_by_key(|(_, kept)| kept.used)
        {
            let oldest = *oldest.0;
            self.kept.remove(&oldest);
            gone.push(oldest);
        }
        self.uses += 1;
        self.kept.insert(id, Kept { tokens, used: self.uses });
        (true, gone)
    }

    /// The longest beginning of `tokens` that lies in some cache: of a sequence that is over, or of
    /// one of `running`, of which the tokens that have been computed are given. One token at least
    /// is left to compute.
    pub(super) fn find<'a>(
        &mut self,
        tokens: &[u32],
        running: impl Iterator<Item = (RequestId, &'a [u32])>,
    ) -> Option<Source> {
        let most = tokens.len().saturating_sub(1);
        let usable = |has: &[u32]| {
            let common = common(has, tokens).min(most);
            let whole = common == has.len();
            (common >= WORTH_TOKENS && (whole || self.reuse == Reuse::Prefix)).then_some(common)
        };
        if self.reuse == Reuse::Never {
            return None;
        }
        let kept = self.kept.iter().filter_map(|(&id, kept)| {
            let tokens = usable(&kept.tokens)?;
            // Most of it is wanted: what is left of it is not worth a copy.
            let take = self.reuse == Reuse::Whole || tokens * 4 >= kept.tokens.len() * 3;
            Some(Source { sequence: id, tokens, take })
        });
        // One that runs goes on, so a whole one cannot be had from it.
        let running = running.filter(|_| self.reuse == Reuse::Prefix);
        let running = running.filter_map(|(id, has)| {
            Some(Source { sequence: id, tokens: usable(has)?, take: false })
        });
        let found = kept.chain(running).max_by_key(|source| (source.tokens, source.take))?;
        self.uses += 1;
        if let Some(kept) = self.kept.get_mut(&found.sequence) {
            kept.used = self.uses;
        }
        Some(found)
    }

    /// What was kept of a sequence is another's, or nobody's. Says whether something was.
    pub(super) fn taken(&mut self, id: RequestId) -> bool {
        self.kept.remove(&id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(from: u32, count: u32) -> Vec<u32> {
        (from..from + count).collect()
    }

    const NOBODY: [(RequestId, &[u32]); 0] = [];

    #[test]
    fn a_second_turn_takes_over_the_first() {
        let mut pool = Pool::new(4096, Reuse::Prefix);
        assert!(pool.keep(RequestId(1), tokens(0, 400)).0);
        let mut second = tokens(0, 400);
        second.extend(tokens(9000, 20));
        let found = pool.find(&second, NOBODY.into_iter()).unwrap();
        assert_eq!(found, Source { sequence: RequestId(1), tokens: 400, take: true });
        // The very same prompt again: its last token is left to compute.
        let again = pool.find(&tokens(0, 400), NOBODY.into_iter()).unwrap();
        assert_eq!((again.tokens, again.take), (399, true));
        pool.taken(RequestId(1));
        assert_eq!((pool.used(), pool.find(&second, NOBODY.into_iter())), (0, None));
    }

    #[test]
    fn what_many_begin_with_is_copied() {
        let mut pool = Pool::new(1 << 20, Reuse::Prefix);
        pool.keep(RequestId(1), tokens(0, 3000));
        let mut other = tokens(0, 500);
        other.extend(tokens(9000, 20));
        let found = pool.find(&other, NOBODY.into_iter()).unwrap();
        assert_eq!(found, Source { sequence: RequestId(1), tokens: 500, take: false });
        let runs = tokens(0, 510);
        let mut longer = tokens(0, 510);
        longer.push(7);
        let running = [(RequestId(5), runs.as_slice())];
        let mut empty = Pool::new(1 << 20, Reuse::Prefix);
        let found = empty.find(&longer, running.into_iter()).unwrap();
        assert_eq!(found, Source { sequence: RequestId(5), tokens: 510, take: false });
    }

    #[test]
    fn where_layers_forget_only_a_whole_cache_will_do() {
        let mut pool = Pool::new(4096, Reuse::Whole);
        pool.keep(RequestId(1), tokens(0, 400));
        assert_eq!(pool.find(&tokens(0, 400), NOBODY.into_iter()), None, "one token too many");
        let found = pool.find(&tokens(0, 401), NOBODY.into_iter()).unwrap();
        assert_eq!((found.tokens, found.take), (400, true));
        let mut never = Pool::new(4096, Reuse::Never);
        assert!(!never.keep(RequestId(1), tokens(0, 400)).0);
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut pool = Pool::new(3 * BLOCK_TOKENS, Reuse::Prefix);
        for id in 1..=3 {
            assert_eq!(pool.keep(RequestId(id), tokens(1000 * id as u32, 100)), (true, vec![]));
        }
        pool.find(&tokens(1000, 120), NOBODY.into_iter()).unwrap();
        let (kept, gone) = pool.keep(RequestId(4), tokens(9000, 100));
        assert_eq!((kept, gone), (true, vec![RequestId(2)]));
        pool.reserve(2 * BLOCK_TOKENS);
        let source = Source { sequence: RequestId(1), tokens: 100, take: true };
        assert_eq!(pool.make_room(0, Some(source)), [RequestId(3)]);
        assert_eq!(pool.make_room(0, None), [RequestId(1)]);
        assert!(pool.fits(0, None) && !pool.fits(1, None));
        // What goes on from another replaces it.
        pool.release(2 * BLOCK_TOKENS);
        assert_eq!(pool.keep(RequestId(5), tokens(9000, 140)), (true, vec![RequestId(4)]));
        assert!(!pool.keep(RequestId(6), tokens(1, 10)).0, "too short");
    }
}
