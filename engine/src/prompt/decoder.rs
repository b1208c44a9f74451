//! Which text is complete, now that this token came?

use std::sync::Arc;

use super::PromptModel;

/// Turns token ids into text as they come, never half a character.
///
/// What it has emitted when all ids are in and [`finish`](Self::finish) was called is the decoded
/// text of all of them: special tokens skipped, bytes that are no UTF-8 as U+FFFD.
#[derive(Debug, Clone)]
pub struct Decoder {
    model: Arc<PromptModel>,
    /// Bytes that may be the beginning of a character: at most 3.
    held: Vec<u8>,
    at_start: bool,
}

impl Decoder {
    pub(super) fn new(model: Arc<PromptModel>) -> Self {
        Self { model, held: Vec::new(), at_start: true }
    }

    /// The text that this token completes, if any. An id that is no token has no text.
    pub fn push(&mut self, id: u32) -> Option<String> {
        if self.model.is_special(id) {
            return None;
        }
        let mut bytes = self.model.token_bytes(id)?;
        if std::mem::take(&mut self.at_start)
            && self.model.strips_first_space()
            && bytes.first() == Some(&b' ')
        {
            bytes.remove(0);
        }
        self.held.extend(bytes);
        let text = take_complete(&mut self.held);
        (!text.is_empty()).then_some(text)
    }

    /// The ids are over: what is left is a broken character.
    pub fn finish(&mut self) -> Option<String> {
        let left = std::mem::take(&mut self.held);
        (!left.is_empty()).then(|| String::from_utf8_lossy(&left).into_owned())
    }
}

/// Takes all but an unfinished character off the front of `bytes`; what can be no character comes
/// as U+FFFD.
fn take_complete(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut held = Vec::new();
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid();
        let last = chunks.peek().is_none();
        if last && is_unfinished(invalid) {
            held = invalid.to_vec();
        } else if !invalid.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    *bytes = held;
    text
}

/// Whether more bytes could make a character of these.
fn is_unfinished(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn never_half_a_character() {
        let mut held = vec![0xe4, 0xbd];
        assert_eq!(take_complete(&mut held), "");
        held.push(0xa0);
        assert_eq!(take_complete(&mut held), "你");
        held.extend([b'a', 0xff, 0xe4, b'b', 0xf0, 0x9f]);
        assert_eq!(take_complete(&mut held), "a\u{fffd}\u{fffd}b");
        assert_eq!(held, [0xf0, 0x9f]);
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_whole(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), 0x80..0xc0u8, 0xe0..0xf8u8], 0..40),
        ) {
            let (mut text, mut held) = (String::new(), Vec::new());
            for &byte in &bytes {
                held.push(byte);
                text += &take_complete(&mut held);
                prop_assert!(held.len() <= 3);
            }
            text += &String::from_utf8_lossy(&held);
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
