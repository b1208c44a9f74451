//! Has one of the client's stop strings come?
//!
//! Text arrives in pieces that know nothing of the strings, so the beginning of one may stand at
//! the end of a piece: it is held back until the next piece shows what it was. What is found does
//! not depend on where the pieces are cut: the string that is complete first ends the text, and
//! of two that are complete at the same character the longer one.

/// What is known after a piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// No stop string yet.
    No {
        /// Text that belongs to no stop string, whatever follows. May be empty.
        emit: String,
    },
    /// A stop string came; it and what follows it is not part of the text.
    Yes {
        /// The text before it that was not emitted yet.
        emit: String,
        /// Its position in the list given to [`StopStrings::new`].
        which: usize,
    },
}

/// Looks for stop strings in text that comes in pieces.
#[derive(Debug, Clone)]
pub struct StopStrings {
    stops: Vec<String>,
    /// The end of the text so far, as far as it may be the beginning of a stop string.
    held: String,
    found: Option<usize>,
}

impl StopStrings {
    /// Looks for any of `stops`. Empty strings among them never match.
    #[must_use]
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), found: None }
    }

    /// The next piece of text. After a `Yes` every piece is answered with `Yes` and nothing to
    /// emit.
    pub fn push(&mut self, text: &str) -> Stopped {
        if let Some(which) = self.found {
            return Stopped::Yes { emit: String::new(), which };
        }
        let mut text = std::mem::take(&mut self.held) + text;
        if let Some((start, which)) = self.first_complete(&text) {
            self.found = Some(which);
            text.truncate(start);
            return Stopped::Yes { emit: text, which };
        }
        self.held = text.split_off(text.len() - self.held_back(&text));
        Stopped::No { emit: text }
    }

    /// The text is over: what was held back is text after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Start and number of the stop string that is complete first.
    fn first_complete(&self, text: &str) -> Option<(usize, usize)> {
        self.stops
            .iter()
            .enumerate()
            .filter(|(_, stop)| !stop.is_empty())
            .filter_map(|(which, stop)| {
                text.find(stop.as_str()).map(|start| (start + stop.len(), start, which))
            })
            .min()
            .map(|(_, start, which)| (start, which))
    }

    /// How many bytes at the end of `text` are the beginning of a stop string.
    fn held_back(&self, text: &str) -> usize {
        self.stops
            .iter()
            .filter_map(|stop| {
                let longest = text.len().min(stop.len().saturating_sub(1));
                (1..=longest).rev().find(|&n| text.as_bytes().ends_with(&stop.as_bytes()[..n]))
            })
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stops(list: &[&str]) -> StopStrings {
        StopStrings::new(list.iter().map(|&stop| stop.to_owned()).collect())
    }

    fn feed(stops: &mut StopStrings, pieces: &[&str]) -> (String, Option<usize>) {
        let mut text = String::new();
        for piece in pieces {
            match stops.push(piece) {
                Stopped::No { emit } => text += &emit,
                Stopped::Yes { emit, which } => return (text + &emit, Some(which)),
            }
        }
        (text + &stops.finish(), None)
    }

    #[test]
    fn a_beginning_is_held_back_until_it_is_known() {
        let mut watch = stops(&["\n\nUser:"]);
        assert_eq!(watch.push("Hi\n"), Stopped::No { emit: "Hi".into() });
        assert_eq!(watch.push("\nUs"), Stopped::No { emit: String::new() });
        assert_eq!(watch.push("e it"), Stopped::No { emit: "\n\nUse it".into() });
        assert_eq!(watch.push("\n\nUser: x"), Stopped::Yes { emit: String::new(), which: 0 });
        assert_eq!(watch.push("more"), Stopped::Yes { emit: String::new(), which: 0 });
        assert_eq!(watch.finish(), "");
    }

    #[test]
    fn the_string_complete_first_wins_and_the_longer_of_two() {
        assert_eq!(feed(&mut stops(&["abcd", "bc"]), &["xabcd"]), ("xa".into(), Some(1)));
        assert_eq!(feed(&mut stops(&["c", "bc", ""]), &["abcd"]), ("a".into(), Some(1)));
        assert_eq!(feed(&mut stops(&[""]), &["ab"]), ("ab".into(), None));
        // Half a character of a stop string is no reason to cut one in the text.
        assert_eq!(feed(&mut stops(&["ééx"]), &["é", "é", "é"]), ("ééé".into(), None));
        assert_eq!(feed(&mut stops(&["è"]), &["é"]), ("é".into(), None));
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_does_not_matter(
            text in "[abcé]{0,40}",
            list in proptest::collection::vec("[abcé]{1,4}", 0..4),
            cuts in proptest::collection::vec(0usize..40, 0..10),
        ) {
            let whole = feed(&mut StopStrings::new(list.clone()), &[&text]);
            let characters: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> =
                cuts.into_iter().map(|cut| cut.min(characters.len())).collect();
            cuts.extend([0, characters.len()]);
            cuts.sort_unstable();
            let pieces: Vec<String> =
                cuts.windows(2).map(|cut| characters[cut[0]..cut[1]].iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(feed(&mut StopStrings::new(list.clone()), &pieces), whole.clone());
            if whole.1.is_none() {
                prop_assert_eq!(whole.0, text);
            }
        }
    }
}
