//! Work requests and completions.
//!
//! Contract: a work request that was accepted completes exactly once, in the completion queue that
//! it named, where posting has reserved its place. Nothing here waits for the network.
//!
//! Layout: `payload` gathers slices, `work` is what is posted, `completion` what comes of it,
//! `wake` how threads and tasks hear of it.

mod completion;
mod payload;
mod wake;
mod work;

pub use completion::{Completion, CompletionQueue, NextCompletion, Opcode, WaitTimeout, WorkError};
pub use payload::Payload;
pub use work::{PostError, Read, ReadRefusal, Send, WorkId, Write};

pub(crate) use work::{Arrived, OutWork, Outcome, ReadWork, RecvWork, Verb, check_range, complete};
