//! Memory that the transport may send from or receive into.
//!
//! Contract: ownership is a type. A [`Region`] is an exclusive lease: only its holder reads or
//! writes it. [`Region::freeze`] turns it into a [`RegionSlice`]: shared and immutable. Nothing
//! turns a slice into something writable while another slice of the same region lives, so bytes
//! that the kernel may still read are never written.
//!
//! A region can be granted to a peer, to be read or to be written but not both, and is then not in
//! its owner's hands until the grant is taken back: see `grant`.
//!
//! Layout: `backing` says what kinds of memory there are, `region` what may be done with them,
//! `pool` gives regions out again without allocating, `split` cuts one into several,
//! `grant` says what a peer may touch.

mod backing;
#[cfg(test)]
pub(crate) mod fenced;
mod grant;
mod pool;
mod region;
mod split;

pub use backing::{Backing, PAGE_BYTES};
pub use grant::{GrantError, RemoteRegion};
pub(crate) use grant::{Granted, Grants};
pub use pool::RegionPool;
pub use region::{Region, RegionSlice};
pub(crate) use split::Split;
