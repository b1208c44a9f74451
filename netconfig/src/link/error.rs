//! Why there is no link, and what to do next.

use crate::snapshot::{Platform, Source, Unknown};

use super::LinkKind;

/// Why an interface is not a link that a transport may use. Every variant names the interface (or
/// what was looked for) and [`LinkError::hint`] says what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No interface has that name.
    #[error("there is no interface called {interface}")]
    UnknownInterface {
        /// The name that was asked for.
        interface: String,
        /// The names that exist.
        existing: Vec<String>,
    },
    /// `auto` found no Thunderbolt link that can be used.
    #[error(
        "no usable Thunderbolt link: looked for {looked_for}{}",
        because(.unusable)
    )]
    NoThunderbolt {
        /// What counts as a Thunderbolt link here.
        looked_for: &'static str,
        /// Thunderbolt interfaces that were found, with what is wrong with each.
        unusable: Vec<String>,
        /// Interfaces with an address that could be named by hand.
        by_hand: Vec<String>,
    },
    /// `auto` found more than one usable Thunderbolt link.
    #[error("more than one Thunderbolt link is up: {}", .interfaces.join(", "))]
    SeveralThunderbolt {
        /// All of them.
        interfaces: Vec<String>,
    },
    /// The interface is administratively down.
    #[error("{interface} is switched off (not up)")]
    Down {
        /// The interface.
        interface: String,
        /// Where it was found.
        platform: Platform,
    },
    /// Nobody answers at the other end.
    #[error("{interface} has no carrier: nothing answers at the other end of the cable")]
    NoCarrier {
        /// The interface.
        interface: String,
        /// What sort of link it would be.
        kind: LinkKind,
    },
    /// The interface has no address that can be bound.
    #[error("{interface} has no usable IP address{}", belongs_to(.master))]
    NoAddress {
        /// The interface.
        interface: String,
        /// The bridge or bond it belongs to, on which addresses would be.
        master: Option<String>,
        /// Where it was found.
        platform: Platform,
    },
    /// The same choice now leads to a weaker kind of link.
    #[error("{interface} was a {was} link and is now {now}")]
    KindChanged {
        /// The interface.
        interface: String,
        /// What it was when it was opened.
        was: LinkKind,
        /// What it is now.
        now: LinkKind,
    },
    /// A source answered, but did not say what a link must know.
    #[error("{interface}: {what} is not known")]
    NotKnown {
        /// The interface.
        interface: String,
        /// What is not known.
        what: &'static str,
    },
    /// The system refuses to say.
    #[error("{interface}: not permitted to ask {asked}: {detail}")]
    Permission {
        /// The interface, or `auto`.
        interface: String,
        /// What was asked.
        asked: Source,
        /// The system's words.
        detail: String,
    },
    /// A source that decides did not answer.
    #[error("{interface}: cannot tell: {asked}: {why}")]
    SourceFailed {
        /// The interface, or `auto`.
        interface: String,
        /// What was asked.
        asked: Source,
        /// Why there is no answer.
        why: Unknown,
    },
}

fn because(unusable: &[String]) -> String {
    if unusable.is_empty() { String::new() } else { format!(" ({})", unusable.join("; ")) }
}

fn belongs_to(master: &Option<String>) -> String {
    master.as_ref().map(|m| format!(" (it belongs to {m})")).unwrap_or_default()
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

    /// What to do next, as a sentence for the user.
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownInterface { existing, .. } => {
                format!("these exist: {}", existing.join(", "))
            }
            Self::NoThunderbolt { unusable, by_hand, .. } => {
                let see = if unusable.is_empty() {
                    "connect the machines with a Thunderbolt cable and run `tbnet check`"
                } else {
                    "run `tbnet check` to see how to mend it"
                };
                if by_hand.is_empty() {
                    see.to_owned()
                } else {
                    format!(
                        "{see}, or name an interface by hand: {}",
                        by_hand
                            .iter()
                            .map(|name| format!("--interface {name}"))
                            .collect::<Vec<_>>()
                            .join(", ")
                    )
                }
            }
            Self::SeveralThunderbolt { interfaces } => {
                let first = interfaces.first().map_or("NAME", String::as_str);
                format!("say which one, for example --interface {first}")
            }
            Self::Down { interface, platform: Platform::Linux } => {
                format!("switch it on: sudo ip link set {interface} up")
            }
            Self::Down { interface, platform: Platform::MacOs } => format!(
                "switch its service on in System Settings > Network, or run: sudo ifconfig \
                 {interface} up"
            ),
            Self::NoCarrier { interface, kind: LinkKind::Thunderbolt } => format!(
                "check the cable (it must be a Thunderbolt cable) and that {interface}'s peer is \
                 awake with its bridge on; the link comes back by itself"
            ),
            Self::NoCarrier { interface, kind: LinkKind::ByHand } => {
                format!("connect {interface} and switch on the interface at its other end")
            }
            Self::NoAddress { master: Some(master), .. } => {
                format!("addresses are on the bridge: use --interface {master}")
            }
            Self::NoAddress { interface, platform: Platform::Linux, .. } => {
                format!("give it one: sudo ip address add 192.168.2.1/24 dev {interface}")
            }
            Self::NoAddress { platform: Platform::MacOs, .. } => {
                "give its service a manual address, for example: sudo networksetup -setmanual \
                 \"Thunderbolt Bridge\" 192.168.2.1 255.255.255.0 \"\""
                    .to_owned()
            }
            Self::KindChanged { interface, .. } => format!(
                "nothing shows any more that {interface} is a Thunderbolt cable; run `tbnet show`, \
                 and restart with --interface {interface} and a cluster key if that is meant"
            ),
            Self::NotKnown { interface, .. } => {
                format!("run `tbnet show` to see what is known about {interface}")
            }
            Self::Permission { interface, .. } => format!(
                "run it outside the sandbox or container that hides {interface}, or as a user who \
                 may ask"
            ),
            Self::SourceFailed { interface, asked, .. } => {
                format!("see what it says by itself: {asked} (needed to judge {interface})")
            }
        }
    }
}
