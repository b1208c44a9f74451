//! What does this end of the link look like, for a peer that asks (PROTOCOL.md §6)?
//!
//! A Mac takes seconds to say what hangs on its cables, so the answers are made on a thread of their
//! own; the node's thread only carries bytes to it and back.

use std::{io, thread};

use crossbeam::channel::{self, Receiver, Sender};
use exo_exchange::{Malformed, ROOM, Reporter, reply};
use exo_netconfig::peer::Identity;
use exo_transport::NodeId;

/// Questions, and answers, that may wait. Who asks more at once is not answered, and asks again.
const WAITING_MAX: usize = 16;

struct Question {
    from: NodeId,
    interface: String,
    bytes: Vec<u8>,
}

/// What to send back for a question: nothing, if it was none.
#[derive(Debug)]
pub struct Said {
    pub(super) to: NodeId,
    pub(super) bytes: Result<Option<Vec<u8>>, Malformed>,
}

/// The thread that answers; it ends when this is dropped.
pub(super) struct Ends {
    questions: Sender<Question>,
    answers: Receiver<Said>,
}

impl Ends {
    /// Answers in this name.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(identity: Identity) -> io::Result<Self> {
        let (questions, asked) = channel::bounded::<Question>(WAITING_MAX);
        let (said, answers) = channel::bounded(WAITING_MAX);
        thread::Builder::new().name("ends".into()).spawn(move || {
            let mut reporter = Reporter::new(identity);
            for Question { from, interface, bytes } in asked {
                let bytes = reply(&bytes, |number| reporter.report(&interface, number));
                if said.send(Said { to: from, bytes }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { questions, answers })
    }

    pub(super) fn answers(&self) -> Receiver<Said> {
        self.answers.clone()
    }

    /// Takes a question about `interface`.
    ///
    /// # Errors
    /// It is longer than any message of the exchange.
    pub(super) fn ask(&self, from: NodeId, interface: &str, bytes: &[u8]) -> Result<(), Malformed> {
        if bytes.len() > ROOM {
            return Err(Malformed::TooLong { bytes: bytes.len() });
        }
        let question = Question { from, interface: interface.to_owned(), bytes: bytes.to_vec() };
        if self.questions.try_send(question).is_err() {
            tracing::debug!(%from, "too many questions about this end of the link: one is dropped");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use exo_exchange::message::{Message, decode, encode, report};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn ends() -> Ends {
        let identity =
            Identity { machine: "m".into(), name: "mini".into(), version: "0.1.0".into() };
        Ends::start(identity).unwrap()
    }

    #[test]
    fn a_question_is_answered_and_anything_else_refused() {
        let (ends, from) = (ends(), NodeId::from_bytes([7; 16]));
        let said = |bytes: &[u8]| {
            ends.ask(from, "lo", bytes).unwrap();
            ends.answers().recv_timeout(PATIENCE).unwrap()
        };
        let answer = said(&encode(&Message::Ask { number: 3 }));
        let bytes = answer.bytes.unwrap().unwrap();
        let Message::Answer { number: 3, report: value } = decode(&bytes).unwrap() else {
            panic!("no answer")
        };
        if cfg!(target_os = "linux") {
            let end = report(value).unwrap().unwrap();
            assert_eq!((end.interface.as_str(), end.identity.name.as_str()), ("lo", "mini"));
        }
        assert!(matches!(said(b"what?").bytes, Err(Malformed::Form { .. })));
        // An answer that nobody waited for is none of ours.
        assert!(matches!(said(&bytes).bytes, Ok(None)));
        let long = vec![b' '; ROOM + 1];
        assert_eq!(ends.ask(from, "lo", &long), Err(Malformed::TooLong { bytes: ROOM + 1 }));
    }

    #[test]
    fn who_asks_too_much_fills_no_memory() {
        let (ends, from) = (ends(), NodeId::from_bytes([7; 16]));
        let bytes = encode(&Message::Ask { number: 0 });
        for _ in 0..1_000 {
            ends.ask(from, "lo", &bytes).unwrap();
        }
        // What waits, on both sides, and the one in between.
        let mut answered = 0;
        while ends.answers().recv_timeout(Duration::from_secs(2)).is_ok() {
            answered += 1;
        }
        assert!((1..=1_000).contains(&answered), "{answered}");
        assert!(ends.questions.is_empty());
    }
}
