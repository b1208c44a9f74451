//! What each side says of itself inside the handshake (PROTOCOL.md §1.2).

use rkyv::rancor;
use rkyv::util::{Align, AlignedVec};
use rkyv::{Archive, Serialize};
use thiserror::Error;

use crate::limits::{
    EPOCH_MAX, FRAME_PAYLOAD_BYTES_MAX, FRAME_PAYLOAD_BYTES_MIN, NODE_NAME_BYTES_MAX,
    NOISE_MESSAGE_BYTES_MAX, SOFTWARE_BYTES_MAX,
};

/// The payload of Noise messages 2 and 3.
#[derive(Archive, Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who speaks.
    pub node: [u8; 16],
    /// Of the initiator: 0 for a new session, else the session that goes on over this socket.
    pub session: u64,
    /// Of the initiator: 1 for a new session, else the number of this socket, larger than that of
    /// any before.
    pub epoch: u32,
    /// Where this side listens, so that the other can find it again; 0 if it does not.
    pub port: u16,
    /// 1 if this side wants its frames sealed.
    pub encrypt: u8,
    /// Largest payload this side accepts in one frame, in bytes.
    pub frame_payload_max: u32,
    /// What people call the node.
    pub name: String,
    /// Version of the program, for people.
    pub software: String,
}

/// Why a hello cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HelloError {
    /// Not an archive of this shape.
    #[error("its hello is malformed")]
    Malformed,
    /// A field outside its bounds.
    #[error("its hello has {field} outside of its bounds")]
    OutOfBounds {
        /// The field's name.
        field: &'static str,
    },
    /// Its session and its epoch do not go together.
    #[error("it wants session {session:016x} in epoch {epoch}, which cannot be")]
    Epoch {
        /// The session.
        session: u64,
        /// The epoch.
        epoch: u32,
    },
}

impl Hello {
    /// The archive.
    pub fn encode(&self) -> AlignedVec {
        rkyv::to_bytes::<rancor::Error>(self).expect("a hello is small and holds no cycles")
    }

    /// Reads and checks an archive, wherever it lies.
    ///
    /// # Errors
    ///
    /// [`HelloError`], and nothing is believed of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, HelloError> {
        // The archive came out of a cipher into a buffer of no particular alignment.
        let mut aligned = Align([0; NOISE_MESSAGE_BYTES_MAX]);
        let aligned = aligned.0.get_mut(..bytes.len()).ok_or(HelloError::Malformed)?;
        aligned.copy_from_slice(bytes);
        let hello = rkyv::access::<ArchivedHello, rancor::Failure>(aligned)
            .map_err(|_| HelloError::Malformed)?;
        let frame_payload_max = hello.frame_payload_max.to_native();
        let bounds = [
            ("name", hello.name.len() <= NODE_NAME_BYTES_MAX),
            ("software", hello.software.len() <= SOFTWARE_BYTES_MAX),
            ("encrypt", hello.encrypt <= 1),
            (
                "frame_payload_max",
                (FRAME_PAYLOAD_BYTES_MIN..=FRAME_PAYLOAD_BYTES_MAX)
                    .contains(&(frame_payload_max as usize)),
            ),
        ];
        if let Some((field, _)) = bounds.into_iter().find(|(_, within)| !within) {
            return Err(HelloError::OutOfBounds { field });
        }
        let (session, epoch) = (hello.session.to_native(), hello.epoch.to_native());
        // A new session begins with epoch 1; one that goes on is past it.
        if (session == 0) != (epoch == 1) || epoch == 0 || epoch > EPOCH_MAX {
            return Err(HelloError::Epoch { session, epoch });
        }
        Ok(Self {
            node: hello.node,
            session,
            epoch,
            port: hello.port.to_native(),
            encrypt: hello.encrypt,
            frame_payload_max,
            name: printable(&hello.name),
            software: printable(&hello.software),
        })
    }
}

/// A peer's words end up on terminals: nothing in them may steer one.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The longest prefix of `text` that has at most `bytes_max` bytes.
pub(crate) fn truncated(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            node: [7; 16],
            session: 7,
            epoch: 2,
            port: 52_415,
            encrypt: 1,
            frame_payload_max: 1 << 17,
            name: "n".repeat(NODE_NAME_BYTES_MAX),
            software: "s".repeat(SOFTWARE_BYTES_MAX),
        }
    }

    #[test]
    fn the_longest_hello_fits_a_noise_message_and_comes_back() {
        let bytes = hello().encode();
        assert!(bytes.len() + 32 + 16 + 16 <= NOISE_MESSAGE_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Hello::decode(&bytes), Ok(hello()));
    }

    #[test]
    fn bounds_are_checked() {
        let long = Hello { name: "n".repeat(65), ..hello() }.encode();
        assert_eq!(Hello::decode(&long), Err(HelloError::OutOfBounds { field: "name" }));
        let huge = Hello { frame_payload_max: u32::MAX, ..hello() }.encode();
        assert!(Hello::decode(&huge).is_err());
        for (session, epoch) in [(0, 2), (7, 1), (7, 0), (0, 0), (7, EPOCH_MAX + 1)] {
            let impossible = Hello { session, epoch, ..hello() }.encode();
            assert_eq!(Hello::decode(&impossible), Err(HelloError::Epoch { session, epoch }));
        }
        assert_eq!(Hello::decode(&[0; 2000]), Err(HelloError::Malformed));
    }

    #[test]
    fn a_name_cannot_steer_a_terminal() {
        let rude = Hello { name: "a\u{1b}[2Jb".into(), ..hello() }.encode();
        assert_eq!(Hello::decode(&rude).unwrap().name, "a\u{fffd}[2Jb");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Hello::decode(&bytes);
        }

        #[test]
        fn no_flipped_bit_makes_it_panic(at in 0usize..10_000, bit in 0u8..8) {
            let mut bytes = hello().encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let _ = Hello::decode(&bytes);
        }
    }
}
