//! Which merges are those scores?
//!
//! A SentencePiece vocabulary has no merges: its tokenizer joins the two neighbours whose token has
//! the highest score, again and again. The `tokenizers` library joins by a list of merges in
//! order, so every way to make a token of two others becomes a merge, the highest score first;
//! that is how Hugging Face's converter does it, and what published files hold.

use std::collections::HashMap;

use serde_json::{Value, json};

/// Written for a space.
const SPACE: &str = "▁";

/// Merges of a vocabulary's ordinary tokens, given as (token, id, score).
pub(super) fn merges(tokens: &[(&str, usize, f32)]) -> Vec<Value> {
    let ids: HashMap<&str, usize> = tokens.iter().map(|&(token, id, _)| (token, id)).collect();
    let mut merges = Vec::new();
    for &(token, _, score) in tokens {
        let start = merges.len();
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&first), Some(&second)) = (ids.get(left), ids.get(right)) {
                merges.push((score, first, second, left, right));
            }
        }
        merges[start..].sort_unstable_by_key(|&(_, first, second, ..)| (first, second));
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: equal scores stay in the tokens' order
    merges.into_iter().map(|(.., left, right)| json!([left, right])).collect()
}

/// Spaces are written as `▁`, and one is put before the text if `prefix`.
pub(super) fn normalizer(prefix: bool) -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    if prefix {
        let prepend = json!({"type": "Prepend", "prepend": SPACE});
        json!({"type": "Sequence", "normalizers": [prepend, replace]})
    } else {
        replace
    }
}

/// The way back: spaces, bytes, and without the one that was put first if `prefix`.
pub(super) fn decoder(prefix: bool) -> Value {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_is_joined_first_and_every_way_is_a_merge() {
        let tokens = [
            ("a", 0, -9.0),
            ("b", 1, -9.0),
            ("ab", 2, -2.0),
            ("aab", 3, -1.0),
            ("é", 4, -9.0),
            ("aa", 5, -3.0),
            ("aé", 6, -2.0),
        ];
        let expected =
            [["a", "ab"], ["aa", "b"], ["a", "b"], ["a", "é"], ["a", "a"]].map(|pair| json!(pair));
        assert_eq!(merges(&tokens), expected);
    }
}
