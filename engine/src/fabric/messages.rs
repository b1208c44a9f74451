//! What nodes say to each other beside activations (PROTOCOL.md §4). rkyv archives, checked on
//! arrival; whoever sends one that does not check is cut off.

#![allow(missing_docs, reason = "rkyv repeats the fields of enums without their docs")]

use rkyv::{Archive, Deserialize, Serialize, api::high, rancor, util::AlignedVec};

use super::record::{Facts, SignedRecord};
use crate::{
    cluster::Wish,
    model::ModelShape,
    request::{Priority, Sampling},
    scheduler::times::StepCount,
};

/// `immediate` of an activation, on lane 1.
pub const ACTIVATION: u32 = 1;
/// `immediate` of a [`StageMessage`], on lane 1.
pub const STAGE: u32 = 2;
/// `immediate` of a [`TokenMessage`], on lane 0.
pub const TOKEN: u32 = 3;
/// `immediate` of a [`ClusterMessage`], on lane 3.
pub const CLUSTER: u32 = 4;

/// From stage to stage, in order with the activations that it concerns.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub enum StageMessage {
    /// Before a sequence's first activation: what the last stage must know to sample.
    Open(OpenSequence),
    /// The sequence is over.
    Close {
        /// The placement it ran in.
        placement_epoch: u64,
        /// Which.
        sequence: u64,
        /// Whether its cache stays: another may begin with the same tokens.
        keep: bool,
    },
    /// The sequence begins with the first tokens of another's cache.
    Reuse {
        /// The placement they run in.
        placement_epoch: u64,
        /// Which begins.
        sequence: u64,
        /// Which start of it.
        attempt: u32,
        /// Whose cache.
        source: u64,
        /// How many tokens of it.
        tokens: u32,
        /// Whether it is over and gives its cache away; else it is copied.
        take: bool,
    },
    /// Free a sequence's cache; it may run or be over.
    Forget {
        /// The placement it is of.
        placement_epoch: u64,
        /// Which.
        sequence: u64,
    },
}

/// See [`StageMessage::Open`].
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct OpenSequence {
    /// The placement it runs in.
    pub placement_epoch: u64,
    /// Which.
    pub sequence: u64,
    /// Which start of it.
    pub attempt: u32,
    /// How its tokens are chosen.
    pub sampling: Sampling,
    /// The prompt's tokens, each once, if choosing looks at them. Stage 0 fills it in.
    pub prompt_tokens: Vec<u32>,
    /// What earlier starts of it have generated: it goes on behind these.
    pub generated: Vec<u32>,
    /// Tokens to generate at most, those in `generated` among them.
    pub max_tokens: u32,
    /// Tokens that end it.
    pub stop_tokens: Vec<u32>,
    /// The node whose client waits.
    pub entry: [u8; 16],
}

/// From the last stage, to stage 0 and to the entry node.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub enum TokenMessage {
    /// The next token of a sequence.
    Token {
        /// Which.
        sequence: u64,
        /// Which start of it.
        attempt: u32,
        /// How many were generated before it.
        index: u32,
        /// Its id.
        token: u32,
        /// The chosen token's and the likeliest tokens' log-probabilities, if asked for.
        logprobs: Option<(f32, Vec<(u32, f32)>)>,
        /// 0 = goes on, 1 = a stop token, 2 = as long as asked for.
        finish: u8,
    },
    /// A stage cannot go on with a sequence.
    Failed {
        /// Which.
        sequence: u64,
        /// Which start of it.
        attempt: u32,
        /// Name of the node.
        node: String,
        /// Why.
        cause: String,
    },
    /// Stage 0 has as many sequences as it takes: this one was not begun.
    Busy {
        /// Which.
        sequence: u64,
        /// Which start of it.
        attempt: u32,
        /// When it is worth trying again.
        retry_after_s: u32,
    },
    /// The node that was asked to run a sequence does not hold layer 0 of that placement (any more,
    /// or yet): it was not begun, and is worth submitting again.
    Moved {
        /// Which.
        sequence: u64,
        /// Which start of it.
        attempt: u32,
    },
    /// To stage 0, after the tokens of a step: it has gone all the way round.
    Round {
        /// The placement.
        placement_epoch: u64,
        /// The step's number.
        step: u64,
    },
}

/// Between all nodes.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub enum ClusterMessage {
    /// Who I am and what I offer. Between nodes it goes signed, see `Signed`.
    Record(Record),
    /// How a model lies over the nodes from now on.
    Place(Place),
    /// I hold my layers of that placement.
    Loaded {
        /// Which.
        placement_epoch: u64,
        /// Bytes of tensors read for it.
        bytes_read: u64,
    },
    /// I cannot.
    LoadFailed {
        /// Which.
        placement_epoch: u64,
        /// Why.
        cause: String,
    },
    /// From who places the model: load what you lack for this placement, beside the one that runs.
    Prepare(Place),
    /// I hold all that I need for it.
    Prepared {
        /// Which.
        placement_epoch: u64,
    },
    /// I cannot hold it.
    NotPrepared {
        /// Which.
        placement_epoch: u64,
        /// Why.
        cause: String,
    },
    /// I prepare another placement instead.
    Superseded {
        /// Which is not prepared.
        placement_epoch: u64,
        /// Which is.
        by: u64,
    },
    /// Whom I hear, and which placement I have given up. Said when it changes, and every second.
    Hearing(Hearing),
    /// From the entry node to stage 0: run this.
    Submit(Submit),
    /// From the entry node to stage 0: nobody waits for it any more.
    Cancel {
        /// Which.
        sequence: u64,
    },
    /// I lack layers of a model: who has all of it?
    WantShards {
        /// Its fingerprint.
        fingerprint: [u8; 32],
    },
    /// I have: this region of mine, which you may read, says which bytes it has and where.
    Shards {
        /// Its fingerprint.
        fingerprint: [u8; 32],
        /// Of the region with the offer.
        key: u64,
        /// Its length.
        len: u64,
    },
    /// I have not.
    NoShards {
        /// Its fingerprint.
        fingerprint: [u8; 32],
    },
    /// Hop times and bytes of my connections, for whoever asks me for the cluster's state.
    Report(Vec<LinkReport>),
    /// How long my steps of that placement take: stage 0 plans by it.
    Steps {
        /// Which.
        placement_epoch: u64,
        /// By size.
        counts: Vec<StepCount>,
    },
    /// Who I am and what I offer, in my own word. First message of every connection.
    Signed(SignedRecord),
    /// Who is there, and their records, as `foca` puts it.
    Gossip(Vec<u8>),
    /// How my machine is, for whoever asks me for the cluster's state.
    Condition(ConditionReport),
    /// Bytes that mean nothing: how long they take tells what the way carries.
    Probe(Vec<u8>),
}

/// See [`ClusterMessage::Record`].
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub node: [u8; 16],
    /// Its name.
    pub name: String,
    /// Bytes of memory it offers.
    pub memory: u64,
    /// The interface its link is pinned to.
    pub interface: String,
    /// `thunderbolt` or `by-hand`.
    pub link_kind: String,
    /// Where it listens for nodes: `address:port`.
    pub listen: String,
    /// Where its API listens.
    pub api: String,
    /// The model it wants placed, if any: name and fingerprint.
    pub wants: Option<(String, [u8; 32])>,
    /// The highest placement epoch it has heard of.
    pub placement_epoch: u64,
    /// It is about to leave: nothing is to be placed on it.
    pub leaving: bool,
    /// What it is and has, whatever the cluster does.
    pub facts: Facts,
}

/// See [`ClusterMessage::Place`].
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Place {
    /// The new epoch.
    pub placement_epoch: u64,
    /// Who says so: of two placements of one epoch that of the higher number holds.
    pub proposer: [u8; 16],
    /// The model's name.
    pub model: String,
    /// Its fingerprint: the same files.
    pub fingerprint: [u8; 32],
    /// Its layers.
    pub layers: u32,
    /// Node, first layer, one past the last layer; in ring order.
    pub ranges: Vec<([u8; 16], u32, u32)>,
    /// Its sizes: whoever is left can place it anew.
    pub shape: ModelShape,
    /// How it was wanted: whoever places it anew keeps to that.
    pub wish: Wish,
}

/// See [`ClusterMessage::Hearing`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Hearing {
    /// The nodes that are connected and not silent.
    pub nodes: Vec<[u8; 16]>,
    /// The placement that I go by; 0 for none.
    pub placed: u64,
    /// The highest placement epoch that cannot go on: a node of its ring was lost.
    pub given_up: u64,
    /// Why.
    pub cause: String,
    /// The placement that it has prepared; 0 for none.
    pub preparing: u64,
}

/// See [`ClusterMessage::Submit`].
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Submit {
    /// What the last stage must know.
    pub open: OpenSequence,
    /// The prompt.
    pub prompt: Vec<u32>,
    /// How urgent it is.
    pub priority: Priority,
}

/// One connection as its sender sees it.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct LinkReport {
    /// Name of the receiving node.
    pub to: String,
    /// Its number.
    pub to_node: [u8; 16],
    /// Interface at the sending end.
    pub interface: String,
    /// `thunderbolt` or `by-hand`.
    pub kind: String,
    /// Whether frames are sealed.
    pub encrypted: bool,
    /// Activations: count and microseconds at p50, p90, p99.
    pub hop: (u64, f64, f64, f64),
    /// Round trips over this kind of link: count and microseconds at p50, p90, p99.
    pub rtt: (u64, f64, f64, f64),
    /// What it carries: count and bytes per second at p10, p50, p90.
    pub rate: (u64, f64, f64, f64),
    /// Bytes sent and received.
    pub bytes: (u64, u64),
}

/// See [`ClusterMessage::Condition`].
#[derive(Debug, Clone, Default, PartialEq, Archive, Serialize, Deserialize)]
pub struct ConditionReport {
    /// Bytes that the transport has sent and received since the program was started.
    pub own: (u64, u64),
    /// Bytes that the interface has sent and received since then, by the system's count.
    pub carried: Option<(u64, u64)>,
    /// How the machine is kept awake, or why not.
    pub awake: String,
    /// Where its power comes from, if the system tells.
    pub power: String,
}

/// Bytes that are no message, or none that this version knows.
#[derive(Debug, thiserror::Error)]
#[error("not a message of this protocol: {0}")]
pub struct Malformed(String);

/// The bytes of a message.
///
/// # Panics
/// Never for these types: they need no shared pointers, and memory is the allocator's business.
pub fn encode<T>(message: &T) -> AlignedVec
where
    T: for<'a> Serialize<
        high::HighSerializer<AlignedVec, rkyv::ser::allocator::ArenaHandle<'a>, rancor::Error>,
    >,
{
    rkyv::to_bytes(message).expect("plain data serialises")
}

/// The message in `bytes`.
///
/// # Errors
/// [`Malformed`].
pub fn decode<T>(bytes: &[u8]) -> Result<T, Malformed>
where
    T: Archive,
    T::Archived: for<'a> rkyv::bytecheck::CheckBytes<high::HighValidator<'a, rancor::Error>>
        + Deserialize<T, high::HighDeserializer<rancor::Error>>,
{
    rkyv::from_bytes::<T, rancor::Error>(bytes).map_err(|error| Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn submit() -> ClusterMessage {
        let open = OpenSequence {
            placement_epoch: 3,
            sequence: 7,
            attempt: 1,
            sampling: Sampling {
                temperature: 0.5,
                top_p: 0.9,
                seed: 11,
                logit_bias: vec![(5, -1.5)],
                ..Sampling::default()
            },
            prompt_tokens: vec![1],
            generated: vec![4, 5],
            max_tokens: 64,
            stop_tokens: vec![2, 3],
            entry: [9; 16],
        };
        ClusterMessage::Submit(Submit {
            open,
            prompt: (0..100).collect(),
            priority: Priority::High,
        })
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let message = submit();
        assert_eq!(decode::<ClusterMessage>(&encode(&message)).unwrap(), message);
        let token = TokenMessage::Token {
            sequence: 1,
            attempt: 0,
            index: 4,
            token: 5,
            logprobs: Some((-0.5, vec![(1, -0.5), (2, -3.0)])),
            finish: 0,
        };
        assert_eq!(decode::<TokenMessage>(&encode(&token)).unwrap(), token);
    }

    proptest! {
        #[test]
        fn damaged_messages_are_refused_or_read_but_never_panic(
            at in 0usize..500, with: u8, cut in 0usize..500,
        ) {
            let mut bytes = encode(&submit());
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = decode::<ClusterMessage>(&bytes);
            let cut = cut % bytes.len();
            let mut short = AlignedVec::<16>::new();
            short.extend_from_slice(&bytes[..cut]);
            let _ = decode::<ClusterMessage>(&short);
        }
    }
}
