//! Both languages say the same things.

use std::collections::BTreeSet;

use super::*;

/// The names in braces.
fn placeholders(words: &str) -> BTreeSet<&str> {
    words.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect()
}

fn without_placeholders(words: &str) -> String {
    words.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)).collect()
}

fn is_hangul(c: char) -> bool {
    ('\u{ac00}'..='\u{d7a3}').contains(&c)
}

#[test]
fn every_entry_uses_its_arguments_in_both_languages() {
    for entry in entries() {
        let args: BTreeSet<&str> = entry.args.iter().copied().collect();
        assert_eq!(placeholders(entry.en), args, "{}, English", entry.key);
        assert_eq!(placeholders(entry.ko), args, "{}, Korean", entry.key);
    }
}

#[test]
fn every_entry_is_korean_in_korean_and_english_in_english() {
    for entry in entries() {
        assert!(!entry.en.trim().is_empty() && !entry.ko.trim().is_empty(), "{}", entry.key);
        // What is nothing but arguments and international words may be the same in both.
        let same = entry.ko == entry.en;
        let wordless = !without_placeholders(entry.ko).contains(char::is_alphabetic);
        let korean = entry.ko.contains(is_hangul);
        assert!(same || wordless || korean, "{} has no Korean words", entry.key);
        assert!(
            !same || entry.en.split_whitespace().count() < 4,
            "{} is not translated",
            entry.key
        );
        assert!(!entry.en.chars().any(is_hangul), "{} has Korean words in English", entry.key);
        // What a person is told ends politely, or is a label.
        assert!(!entry.ko.contains("하세요"), "{}: 합니다 style", entry.key);
        // Both forms of a particle are a sign that the sentence has to be built otherwise.
        for fixed in ["}가 ", "}이 ", "}를 ", "}을 ", "}는 ", "}은 ", "}와 ", "}과 "] {
            assert!(!entry.ko.contains(fixed), "{}: which particle depends on the word", entry.key);
        }
        for both in ["이(가)", "은(는)", "을(를)", "와(과)"] {
            assert!(!entry.ko.contains(both), "{}: {both}", entry.key);
        }
    }
}

#[test]
fn the_locale_chooses_the_language() {
    for (locale, lang) in [
        ("ko_KR.UTF-8", Lang::Ko),
        ("ko", Lang::Ko),
        ("ko-KR", Lang::Ko),
        ("en_GB.UTF-8", Lang::En),
        ("C", Lang::En),
        ("ja_JP.UTF-8", Lang::En),
        ("", Lang::En),
        // Konkani begins like Korean.
        ("kok_IN", Lang::En),
    ] {
        assert_eq!(Lang::of_locale(locale), lang, "{locale}");
    }
    assert_eq!("KO".parse(), Ok(Lang::Ko));
    assert!("kr".parse::<Lang>().unwrap_err().to_string().contains("en and ko"));
}

#[test]
fn texts_nest_and_join() {
    let words = Text::joined([Text::verbatim("en1"), Text::verbatim("en2")], ", ");
    let text = address::address_missing(&words);
    assert_eq!(text.words(Lang::En), "en1, en2 has no address of its own");
    assert!(text.words(Lang::Ko).starts_with("en1, en2 "));
}
