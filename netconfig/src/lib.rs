//! What is between the machines, and is it right?
//!
//! - [`snapshot`]: what the system says, and where it said it; plain values.
//! - [`system`]: where a snapshot comes from; the only place that asks the system.
//! - [`check`]: pure: a snapshot and an expectation in, findings with reasons and remedies out.
//! - [`changes`]: pure: what changed between two snapshots.
//! - [`plan`]: pure: findings and a wish in, steps that mend them out; [`apply`] runs and undoes them.
//! - [`peer`]: what machines tell each other about their ends.
//! - [`rtt`]: how long a packet takes there and back.
//! - [`link`]: a validated link, the only key that opens a transport; and what becomes of it.
//! - [`text`]: every sentence that people read, in English and Korean.

mod address;
pub mod apply;
pub mod changes;
pub mod check;
mod evidence;
pub mod link;
pub mod peer;
pub mod plan;
pub mod rtt;
mod shell;
pub mod snapshot;
pub mod system;
pub mod text;

pub use link::{Evidence, InterfaceChoice, Link, LinkError, LinkKind};
pub use shell::quoted;
pub use snapshot::Snapshot;
