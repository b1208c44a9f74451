//! Work requests and completions.
//!
//! Contract: a work request that was accepted completes exactly once, in the completion queue that
//! it named, where posting has reserved its place. Nothing here waits for the network.
//!
//! Layout: `payload` gathers slices, `work` is what is posted, `completion` what comes of it.

mod completion;
mod payload;
mod work;

pub use completion::{Completion, CompletionQueue, Opcode, WaitTimeout, WorkError};
pub use payload::Payload;
pub use work::{PostError, Send, WorkId};

pub(crate) use work::{Outcome, RecvWork, SendWork, complete};
