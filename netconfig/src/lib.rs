//! What is between the machines, and is it right?
//!
//! - [`snapshot`]: what the system says, and where it said it; plain values.
//! - [`system`]: where a snapshot comes from; the only place that asks the system.
//! - [`check`]: pure: a snapshot and an expectation in, findings with reasons and remedies out.
//! - [`plan`]: pure: findings in, steps out; and what leads back from any of them.
//! - [`apply`]: runs a plan so that it can be undone wherever it ends.
//! - [`facts`]: what one machine tells another of its end, and [`rtt`]: how long a packet takes.
//! - [`link`]: a validated link, the only key that opens a transport; and what becomes of it.

pub mod apply;
pub mod check;
mod evidence;
pub mod facts;
pub mod link;
pub mod plan;
pub mod rtt;
mod shell;
pub mod snapshot;
pub mod system;

pub use link::{Evidence, InterfaceChoice, Link, LinkError, LinkKind};
pub use snapshot::Snapshot;
