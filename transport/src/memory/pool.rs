//! Regions that are used again and again without allocating.

use std::sync::{Arc, Weak};

use crossbeam::queue::ArrayQueue;

use super::region::{Block, Region};

/// A fixed number of equal regions of our own pages.
///
/// Cloning gives another handle on the same pool. When the pool is dropped, regions that are still
/// out live on and are freed by their last holder.
#[derive(Clone)]
pub struct RegionPool {
    free: Arc<ArrayQueue<Box<Block>>>,
    len: usize,
}

/// The way back of a block to its pool.
pub(super) struct Home(Weak<ArrayQueue<Box<Block>>>);

impl Home {
    /// The pool, if it still stands.
    pub(super) fn standing(&self) -> Option<StandingPool> {
        self.0.upgrade().map(StandingPool)
    }
}

/// A pool that will stand until this is dropped.
pub(super) struct StandingPool(Arc<ArrayQueue<Box<Block>>>);

impl StandingPool {
    pub(super) fn take_back(&self, block: Box<Block>) {
        // There are as many places as blocks, so there is always room.
        let full = self.0.push(block);
        debug_assert!(full.is_ok(), "a block came home twice");
    }
}

impl RegionPool {
    /// `count` regions of `len` bytes, allocated now.
    ///
    /// # Panics
    ///
    /// If `count` is 0.
    pub fn new(count: usize, len: usize) -> Self {
        let free = Arc::new(ArrayQueue::new(count));
        for _ in 0..count {
            let block = Block::pooled(len, Home(Arc::downgrade(&free)));
            free.push(block).ok().expect("there is a place for each");
        }
        Self { free, len }
    }

    /// A region, or `None` if all are out. Its bytes are whatever the last holder left there.
    pub fn lease(&self) -> Option<Region> {
        self.free.pop().map(Region::lease)
    }

    /// Regions that could be leased now.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Bytes of each region.
    pub fn region_len(&self) -> usize {
        self.len
    }
}

impl std::fmt::Debug for RegionPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegionPool")
            .field("available", &self.available())
            .field("count", &self.free.capacity())
            .field("region_len", &self.len)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_leased_again() {
        let pool = RegionPool::new(2, 100);
        let one = pool.lease().unwrap();
        let two = pool.lease().unwrap().freeze();
        assert!(pool.lease().is_none());
        drop(one);
        let part = two.slice(5..10);
        drop(two);
        assert_eq!(pool.available(), 1);
        drop(part);
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn a_region_survives_its_pool() {
        let pool = RegionPool::new(1, 100);
        let mut region = pool.lease().unwrap();
        drop(pool);
        region.as_mut_slice()[0] = 1;
    }

    #[test]
    fn slices_dropped_at_once_come_home_exactly_once() {
        let pool = RegionPool::new(1, 8);
        for _ in 0..2_000 {
            let slice = pool.lease().unwrap().freeze();
            let other = slice.clone();
            std::thread::scope(|scope| {
                scope.spawn(|| drop(slice));
                scope.spawn(|| drop(other));
            });
            assert_eq!(pool.available(), 1);
        }
    }
}
