//! What the two ends of a set of rails say to each other: 32 bytes, little-endian.
//!
//! | bytes | |
//! |---|---|
//! | 0 | kind: 1 offer, 2 told |
//! | 1–3 | 0 |
//! | 4–7 | immediate of the message, of an offer |
//! | 8–15 | number of the message |
//! | 16–31 | key and length of the region, which is the message, of an offer |

use crate::memory::RemoteRegion;

pub(super) const MESSAGE_BYTES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The message may be read, over the rail that says so, from this region.
    Offer { number: u64, immediate: u32, from: RemoteRegion },
    /// All messages up to this one have arrived.
    Told { number: u64 },
}

impl Message {
    pub(super) fn encode(&self, into: &mut [u8]) {
        into[..MESSAGE_BYTES].fill(0);
        match self {
            Self::Offer { number, immediate, from } => {
                into[0] = 1;
                into[4..8].copy_from_slice(&immediate.to_le_bytes());
                into[8..16].copy_from_slice(&number.to_le_bytes());
                into[16..32].copy_from_slice(&from.to_bytes());
            }
            Self::Told { number } => {
                into[0] = 2;
                into[8..16].copy_from_slice(&number.to_le_bytes());
            }
        }
    }

    /// `None` if the bytes are no message: of another length, of another kind, or with something
    /// where nothing should be.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MESSAGE_BYTES] = bytes.try_into().ok()?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let number = word(8);
        let mut immediate = [0; 4];
        immediate.copy_from_slice(&bytes[4..8]);
        let from = RemoteRegion::new(word(16), word(24));
        let message = match bytes[0] {
            1 => Self::Offer { number, immediate: u32::from_le_bytes(immediate), from },
            2 => Self::Told { number },
            _ => return None,
        };
        let mut again = [0; MESSAGE_BYTES];
        message.encode(&mut again);
        (again == *bytes).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_nothing_else_is() {
        let from = RemoteRegion::new(7 << 40, 99);
        for message in
            [Message::Told { number: 3 }, Message::Offer { number: 1, immediate: 5, from }]
        {
            let mut bytes = [9; MESSAGE_BYTES];
            message.encode(&mut bytes);
            assert_eq!(Message::parse(&bytes), Some(message));
            assert_eq!(Message::parse(&bytes[1..]), None);
            for at in 1..4 {
                let mut wrong = bytes;
                wrong[at] = 1;
                assert_eq!(Message::parse(&wrong), None, "byte {at}");
            }
            bytes[0] = 3;
            assert_eq!(Message::parse(&bytes), None);
        }
        let mut told = [0; MESSAGE_BYTES];
        Message::Told { number: 3 }.encode(&mut told);
        told[20] = 1;
        assert_eq!(Message::parse(&told), None, "a message of no region names none");
    }
}
