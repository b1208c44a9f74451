//! Why there is no link, and what to do next.

use std::fmt;

use crate::{
    snapshot::{Platform, Source, Unknown},
    text::{Lang, Text, link as say},
};

use super::LinkKind;

/// Why an interface is not a link that a transport may use. Every variant names the interface (or
/// what was looked for) and [`LinkError::hint`] says what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkError {
    /// No interface has that name.
    UnknownInterface {
        /// The name that was asked for.
        interface: String,
        /// The names that exist.
        existing: Vec<String>,
    },
    /// `auto` found no Thunderbolt link that can be used.
    NoThunderbolt {
        /// Where it was looked for.
        platform: Platform,
        /// What is wrong with each Thunderbolt interface that was found.
        unusable: Vec<LinkError>,
        /// Interfaces with an address that could be named by hand.
        by_hand: Vec<String>,
    },
    /// `auto` found more than one usable Thunderbolt link.
    SeveralThunderbolt {
        /// All of them.
        interfaces: Vec<String>,
    },
    /// The interface is administratively down.
    Down {
        /// The interface.
        interface: String,
        /// Where it was found.
        platform: Platform,
    },
    /// Nobody answers at the other end.
    NoCarrier {
        /// The interface.
        interface: String,
        /// What sort of link it would be.
        kind: LinkKind,
    },
    /// The interface has no address that can be bound.
    NoAddress {
        /// The interface.
        interface: String,
        /// The bridge or bond it belongs to, on which addresses would be.
        master: Option<String>,
        /// Where it was found.
        platform: Platform,
    },
    /// The same choice now leads to a weaker kind of link.
    KindChanged {
        /// The interface.
        interface: String,
        /// What it was when it was opened.
        was: LinkKind,
        /// What it is now.
        now: LinkKind,
    },
    /// A source answered, but did not say what a link must know.
    NotKnown {
        /// The interface.
        interface: String,
        /// What is not known.
        what: Text,
    },
    /// The system refuses to say.
    Permission {
        /// The interface, or `auto`.
        interface: String,
        /// What was asked.
        asked: Source,
        /// The system's words.
        detail: String,
    },
    /// A source that decides did not answer.
    SourceFailed {
        /// The interface, or `auto`.
        interface: String,
        /// What was asked.
        asked: Source,
        /// Why there is no answer.
        why: Unknown,
    },
}

impl LinkError {
    /// Builds the error for a source that did not answer.
    pub(crate) fn unanswered(interface: &str, asked: Source, why: Unknown) -> Self {
        match why {
            Unknown::Permission { detail } => {
                Self::Permission { interface: interface.to_owned(), asked, detail }
            }
            why => Self::SourceFailed { interface: interface.to_owned(), asked, why },
        }
    }

    /// What is wrong, in every language.
    pub fn text(&self) -> Text {
        match self {
            Self::UnknownInterface { interface, .. } => say::unknown_interface(interface),
            Self::NoThunderbolt { platform, unusable, .. } => {
                let looked_for = match platform {
                    Platform::Linux => say::looked_for_linux(),
                    Platform::MacOs => say::looked_for_mac(),
                };
                let unusable = match &unusable[..] {
                    [] => Text::default(),
                    all => say::in_brackets(Text::joined(all.iter().map(Self::text), "; ")),
                };
                say::no_thunderbolt(looked_for, unusable)
            }
            Self::SeveralThunderbolt { interfaces } => {
                say::several_thunderbolt(interfaces.join(", "))
            }
            Self::Down { interface, .. } => say::down(interface),
            Self::NoCarrier { interface, .. } => say::no_carrier(interface),
            Self::NoAddress { interface, master, .. } => {
                let belongs = master.as_ref().map(say::belongs_to).unwrap_or_default();
                say::no_address(interface, belongs)
            }
            Self::KindChanged { interface, was, now } => say::kind_changed(interface, was, now),
            Self::NotKnown { interface, what } => say::not_known(interface, what),
            Self::Permission { interface, asked, detail } => {
                say::permission(interface, asked, detail)
            }
            Self::SourceFailed { interface, asked, why } => {
                say::source_failed(interface, asked, why.text())
            }
        }
    }

    /// What to do next, in every language.
    pub fn advice(&self) -> Text {
        match self {
            Self::UnknownInterface { existing, .. } => {
                say::unknown_interface_do(existing.join(", "))
            }
            Self::NoThunderbolt { unusable, by_hand, .. } => {
                let see = match unusable.is_empty() {
                    true => say::plug_in_and_check(),
                    false => say::check_how_to_mend(),
                };
                let named = by_hand.iter().map(|name| format!("--interface {name}"));
                match by_hand.is_empty() {
                    true => see,
                    false => say::or_by_hand(see, named.collect::<Vec<_>>().join(", ")),
                }
            }
            Self::SeveralThunderbolt { interfaces } => {
                say::several_thunderbolt_do(interfaces.first().map_or("NAME", String::as_str))
            }
            Self::Down { interface, platform: Platform::Linux } => say::down_do_linux(interface),
            Self::Down { interface, platform: Platform::MacOs } => say::down_do_mac(interface),
            Self::NoCarrier { interface, kind: LinkKind::Thunderbolt } => {
                say::no_carrier_do_cable(interface)
            }
            Self::NoCarrier { interface, kind: LinkKind::ByHand } => {
                say::no_carrier_do_by_hand(interface)
            }
            Self::NoAddress { master: Some(master), .. } => say::no_address_do_master(master),
            Self::NoAddress { interface, platform: Platform::Linux, .. } => {
                say::no_address_do_linux(interface)
            }
            Self::NoAddress { platform: Platform::MacOs, .. } => say::no_address_do_mac(),
            Self::KindChanged { interface, .. } => say::kind_changed_do(interface),
            Self::NotKnown { interface, .. } => say::not_known_do(interface),
            Self::Permission { interface, .. } => say::permission_do(interface),
            Self::SourceFailed { interface, asked, .. } => say::source_failed_do(asked, interface),
        }
    }

    /// What to do next, as an English sentence.
    pub fn hint(&self) -> String {
        self.advice().words(Lang::En).to_owned()
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

impl std::error::Error for LinkError {}
