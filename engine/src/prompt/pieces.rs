//! Which bytes is this one token?
//!
//! A tokenizer's decoder is a list of steps over the written forms of tokens. Every family in use
//! does one of two things, and both can be done token by token: *byte-level* vocabularies (GPT-2's:
//! Llama 3, Qwen, DeepSeek, SmolLM) write each byte as one printable character; *SentencePiece*
//! ones (Llama 2, Mistral, Gemma, Phi 3) write `▁` for a space and `<0x0A>` for a byte that is no
//! character. A decoder with any other step is refused, not approximated.

use serde_json::Value;

/// The decoder's steps, read from the tokenizer's file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    steps: Vec<Step>,
    /// Whether a space that begins the whole text is not part of it.
    pub(super) strips_first_space: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    ByteLevel,
    Replace { from: String, to: String },
    ByteFallback,
}

impl Pieces {
    /// Reads the `decoder` entry of a tokenizer.json.
    ///
    /// # Errors
    /// The name of a step that is not known.
    pub(super) fn read(decoder: &Value) -> Result<Self, String> {
        let mut pieces = Self::default();
        pieces.add(decoder)?;
        Ok(pieces)
    }

    fn add(&mut self, decoder: &Value) -> Result<(), String> {
        let text = |key: &str| decoder.get(key).and_then(Value::as_str);
        let Some(kind) = text("type") else {
            return if decoder.is_null() { Ok(()) } else { Err("a decoder without type".into()) };
        };
        match kind {
            "ByteLevel" => self.steps.push(Step::ByteLevel),
            "ByteFallback" => self.steps.push(Step::ByteFallback),
            "Fuse" => {}
            "Replace" => {
                let from = decoder.pointer("/pattern/String").and_then(Value::as_str);
                let (Some(from), Some(to)) = (from, text("content")) else {
                    return Err("Replace by a regular expression".to_owned());
                };
                self.steps.push(Step::Replace { from: from.to_owned(), to: to.to_owned() });
            }
            "Metaspace" => {
                let from = text("replacement").unwrap_or("▁").to_owned();
                self.steps.push(Step::Replace { from, to: " ".to_owned() });
                self.strips_first_space = text("prepend_scheme") != Some("never");
            }
            "Strip" => {
                let count = |key: &str| decoder.get(key).and_then(Value::as_u64);
                if text("content") != Some(" ") || count("stop") != Some(0) {
                    return Err("Strip of anything but a first space".to_owned());
                }
                self.strips_first_space = count("start").is_some_and(|n| n > 0);
            }
            "Sequence" => {
                for step in decoder.get("decoders").and_then(Value::as_array).into_iter().flatten()
                {
                    self.add(step)?;
                }
            }
            other => return Err(other.to_owned()),
        }
        Ok(())
    }

    /// The bytes of a token of the vocabulary, by its written form.
    pub(super) fn bytes(&self, token: &str) -> Vec<u8> {
        let mut text = token.to_owned();
        for step in &self.steps {
            match step {
                Step::ByteLevel => {
                    let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
                    return bytes.unwrap_or_else(|| text.into_bytes());
                }
                Step::Replace { from, to } => text = text.replace(from.as_str(), to),
                Step::ByteFallback => {
                    let byte = text
                        .strip_prefix("<0x")
                        .and_then(|rest| rest.strip_suffix('>'))
                        .filter(|digits| digits.len() == 2)
                        .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                    if let Some(byte) = byte {
                        return vec![byte];
                    }
                }
            }
        }
        text.into_bytes()
    }
}

/// The byte that a character stands for in GPT-2's vocabulary: printable bytes of Latin-1 stand
/// for themselves, the other 68 for the characters from U+0100 on, in order.
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn byte_level_characters_are_all_256_bytes() {
        let mut seen: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..=255).collect::<Vec<u8>>());
        let pieces = Pieces::read(&json!({"type": "ByteLevel"})).unwrap();
        assert_eq!(pieces.bytes("Ġhi"), b" hi");
        assert_eq!(pieces.bytes("Ċ"), b"\n");
        assert_eq!(pieces.bytes("Ń"), [0xad]);
        assert_eq!(pieces.bytes("你"), "你".as_bytes());
    }

    #[test]
    fn sentence_pieces() {
        let decoder = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        let pieces = Pieces::read(&decoder).unwrap();
        assert!(pieces.strips_first_space);
        assert_eq!(pieces.bytes("▁a▁b"), b" a b");
        assert_eq!(pieces.bytes("<0xE4>"), [0xe4]);
        assert_eq!(pieces.bytes("<0xE42>"), b"<0xE42>");
    }

    #[test]
    fn an_unknown_step_is_refused_by_name() {
        assert_eq!(Pieces::read(&json!({"type": "WordPiece"})), Err("WordPiece".to_owned()));
        let regex = json!({"type": "Replace", "pattern": {"Regex": "a"}, "content": ""});
        assert!(Pieces::read(&regex).is_err());
    }
}
