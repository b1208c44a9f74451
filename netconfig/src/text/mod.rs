//! Every sentence that people read, in every language: one catalogue.
//!
//! A [`Text`] says the same thing in each [`Lang`]; whoever prints it chooses. The catalogue is
//! made of the files of this folder, one per subject, each a list of entries:
//!
//! ```text
//! catalogue! {
//!     link_down(name) {
//!         en: "{name} is switched off",
//!         ko: "{name} 인터페이스가 꺼져 있습니다",
//!     }
//! }
//! ```
//!
//! An entry becomes a function of that name: `link_down("bridge0")`. An argument is anything that
//! can be displayed, or another `Text`. An entry without one of the languages, or with a name in
//! braces that is no argument, does not compile; the tests see to it that both languages use the
//! same arguments.
//!
//! Finding ids, commands, paths, addresses and what the system itself said are in no language:
//! [`Text::verbatim`].

#[macro_use]
mod macros;

pub mod address;
pub mod apply;
pub mod cable;
pub mod help;
pub mod link;
pub mod live;
pub mod peers;
pub mod plan;
pub mod route;
pub mod service;
pub mod subject;
pub mod tool;
pub mod usage;
pub mod words;

use std::{fmt, str::FromStr};

/// A language that the catalogue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Korean.
    Ko,
}

impl Lang {
    /// Every language there is.
    pub const ALL: [Self; 2] = [Self::En, Self::Ko];

    /// Its ISO 639 code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ko => "ko",
        }
    }

    /// The language of a POSIX locale (`ko_KR.UTF-8`); English for one that the catalogue lacks.
    pub fn of_locale(locale: &str) -> Self {
        let language = locale.split(['_', '-', '.', '@']).next().unwrap_or_default();
        language.parse().unwrap_or_default()
    }

    /// The language of this process's environment: the first of `LC_ALL`, `LC_MESSAGES` and `LANG`
    /// that is set decides, as POSIX asks.
    pub fn of_environment() -> Self {
        ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .map_or_else(Self::default, |locale| Self::of_locale(&locale))
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A language that the catalogue does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no language \"{0}\"; there are en and ko")]
pub struct UnknownLang(String);

impl FromStr for Lang {
    type Err = UnknownLang;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|lang| lang.code().eq_ignore_ascii_case(code));
        known.ok_or_else(|| UnknownLang(code.to_owned()))
    }
}

/// The same words in every language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    en: String,
    ko: String,
}

impl Text {
    /// What is in no language: a name, an address, a command, the system's own words.
    pub fn verbatim(words: impl fmt::Display) -> Self {
        Self::made(|_| words.to_string())
    }

    /// Several texts as one, for example a list with `", "` between its items.
    pub fn joined<T: Say>(texts: impl IntoIterator<Item = T>, between: &str) -> Self {
        let texts: Vec<T> = texts.into_iter().collect();
        Self::made(|lang| texts.iter().map(|text| text.say(lang)).collect::<Vec<_>>().join(between))
    }

    fn made(words: impl Fn(Lang) -> String) -> Self {
        Self { en: words(Lang::En), ko: words(Lang::Ko) }
    }

    /// The words in one language.
    pub fn words(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Ko => &self.ko,
        }
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.en.is_empty() && self.ko.is_empty()
    }
}

/// What can be put into a sentence: anything that can be displayed, and other texts.
pub trait Say {
    /// The words in one language.
    fn say(&self, lang: Lang) -> String;
}

impl<T: fmt::Display + ?Sized> Say for T {
    fn say(&self, _: Lang) -> String {
        self.to_string()
    }
}

impl Say for Text {
    fn say(&self, lang: Lang) -> String {
        self.words(lang).to_owned()
    }
}

impl Say for &Text {
    fn say(&self, lang: Lang) -> String {
        self.words(lang).to_owned()
    }
}

/// An entry of the catalogue, for those who look at it as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub key: &'static str,
    /// What it is given.
    pub args: &'static [&'static str],
    /// The English words, arguments in braces.
    pub en: &'static str,
    /// The Korean words, arguments in braces.
    pub ko: &'static str,
}

/// The whole catalogue.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    [
        address::ENTRIES,
        apply::ENTRIES,
        cable::ENTRIES,
        help::ENTRIES,
        link::ENTRIES,
        live::ENTRIES,
        peers::ENTRIES,
        plan::ENTRIES,
        route::ENTRIES,
        service::ENTRIES,
        subject::ENTRIES,
        tool::ENTRIES,
        usage::ENTRIES,
        words::ENTRIES,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests;
