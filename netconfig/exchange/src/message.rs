//! What is said: one question, one answer. rkyv archives, checked before use and bounded after.

#![allow(missing_docs, reason = "rkyv repeats the fields of enums without their docs")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use exo_netconfig::{
    LinkKind,
    facts::{self, Facts, ITEMS_MAX},
    snapshot::Platform,
};
use ipnet::IpNet;
use rkyv::{Archive, Deserialize, Serialize, rancor, util::AlignedVec};

/// `immediate` of every message of the exchange, on lane 3.
pub const IMMEDIATE: u32 = 5;

/// Room for one message, in bytes. A node's own first message fits too.
pub const ROOM: usize = 64 << 10;

/// Longest text of a message, in bytes; longer ones are cut.
const TEXT_BYTES_MAX: usize = 128;

/// A message.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub enum Message {
    /// What is your end like?
    Ask {
        /// Comes back with the answer.
        number: u32,
    },
    /// My end is like this.
    Answer {
        /// Of the question.
        number: u32,
        /// `None`: not known just now.
        end: Option<End>,
    },
}

/// One end of the link.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct End {
    /// What people call the machine.
    pub name: String,
    /// Program and version.
    pub software: String,
    /// 1 macOS, 2 Linux.
    pub platform: u8,
    /// Its interface.
    pub interface: String,
    /// 1 Thunderbolt, 2 by hand.
    pub kind: u8,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Addresses of the interface with their networks.
    pub addresses: Vec<Net>,
    /// Networks of the machine's other links.
    pub other_networks: Vec<Net>,
    /// Milliseconds since 1970.
    pub clock_ms: u64,
    /// Thunderbolt cables with a computer at their end.
    pub cables: Vec<Cable>,
}

/// An address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Net {
    /// 4 or 6.
    pub family: u8,
    /// The address, IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Bits.
    pub prefix: u8,
}

/// One end of a cable.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Cable {
    /// Domain UUID of the port.
    pub own: String,
    /// Domain UUID at the other end.
    pub far: Option<String>,
    /// 0 not bridged, 1 bridged, 2 not known.
    pub bridged: u8,
}

/// Bytes that are no message of the exchange.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message of the exchange: {0}")]
pub struct Malformed(String);

/// The bytes of a message.
///
/// # Panics
/// Never for these types: they need no shared pointers.
pub fn encode(message: &Message) -> AlignedVec {
    rkyv::to_bytes::<rancor::Error>(message).expect("plain data serialises")
}

/// The message in `bytes`.
///
/// # Errors
/// [`Malformed`].
pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
    if bytes.len() > ROOM {
        return Err(Malformed(format!("{} bytes", bytes.len())));
    }
    // Where it was received is aligned to pages; where it was copied to, perhaps not.
    let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    rkyv::from_bytes::<Message, rancor::Error>(&aligned)
        .map_err(|error| Malformed(error.to_string()))
}

/// The answering side: what to send back for a message that was received with [`IMMEDIATE`]; nothing
/// for an answer that nobody here waits for. `facts` is called for a question alone.
///
/// # Errors
/// [`Malformed`]: its sender has broken the protocol.
pub fn reply(
    bytes: &[u8],
    facts: impl FnOnce() -> Option<Facts>,
) -> Result<Option<AlignedVec>, Malformed> {
    match decode(bytes)? {
        Message::Ask { number } => {
            let end = facts().map(|facts| End::from(&facts));
            Ok(Some(encode(&Message::Answer { number, end })))
        }
        Message::Answer { .. } => Ok(None),
    }
}

impl From<&Facts> for End {
    fn from(facts: &Facts) -> Self {
        let nets = |nets: &[IpNet]| nets.iter().take(ITEMS_MAX).map(Net::from).collect();
        Self {
            name: text(&facts.name),
            software: text(&facts.software),
            platform: match facts.platform {
                Platform::MacOs => 1,
                Platform::Linux => 2,
            },
            interface: text(&facts.interface),
            kind: match facts.kind {
                LinkKind::Thunderbolt => 1,
                LinkKind::ByHand => 2,
            },
            mtu: facts.mtu,
            addresses: nets(&facts.addresses),
            other_networks: nets(&facts.other_networks),
            clock_ms: facts.clock_ms,
            cables: facts
                .cables
                .iter()
                .take(ITEMS_MAX)
                .map(|cable| Cable {
                    own: text(&cable.own),
                    far: cable.far.as_deref().map(text),
                    bridged: match cable.bridged {
                        Some(false) => 0,
                        Some(true) => 1,
                        None => 2,
                    },
                })
                .collect(),
        }
    }
}

impl TryFrom<End> for Facts {
    type Error = Malformed;

    fn try_from(end: End) -> Result<Self, Malformed> {
        let unknown = |what: &str, value: u8| Malformed(format!("{what} {value}"));
        let nets = |nets: Vec<Net>| -> Result<Vec<IpNet>, Malformed> {
            nets.into_iter().take(ITEMS_MAX).map(IpNet::try_from).collect()
        };
        Ok(Self {
            name: text(&end.name),
            software: text(&end.software),
            platform: match end.platform {
                1 => Platform::MacOs,
                2 => Platform::Linux,
                other => return Err(unknown("platform", other)),
            },
            interface: text(&end.interface),
            kind: match end.kind {
                1 => LinkKind::Thunderbolt,
                2 => LinkKind::ByHand,
                other => return Err(unknown("kind of link", other)),
            },
            mtu: end.mtu,
            addresses: nets(end.addresses)?,
            other_networks: nets(end.other_networks)?,
            clock_ms: end.clock_ms,
            cables: end
                .cables
                .into_iter()
                .take(ITEMS_MAX)
                .map(|cable| facts::Cable {
                    own: text(&cable.own),
                    far: cable.far.as_deref().map(text),
                    bridged: match cable.bridged {
                        0 => Some(false),
                        1 => Some(true),
                        _ => None,
                    },
                })
                .collect(),
        })
    }
}

impl From<&IpNet> for Net {
    fn from(net: &IpNet) -> Self {
        let mut address = [0; 16];
        let family = match net.addr() {
            IpAddr::V4(ip) => {
                address[..4].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                address = ip.octets();
                6
            }
        };
        Self { family, address, prefix: net.prefix_len() }
    }
}

impl TryFrom<Net> for IpNet {
    type Error = Malformed;

    fn try_from(net: Net) -> Result<Self, Malformed> {
        let [a, b, c, d, ..] = net.address;
        let ip: IpAddr = match net.family {
            4 => Ipv4Addr::new(a, b, c, d).into(),
            6 => Ipv6Addr::from(net.address).into(),
            other => return Err(Malformed(format!("address family {other}"))),
        };
        Self::new(ip, net.prefix).map_err(|_| Malformed(format!("prefix of {} bits", net.prefix)))
    }
}

/// Text that may be shown: short, and without control characters.
fn text(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }) {
        if out.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts() -> Facts {
        Facts {
            name: "mini".into(),
            software: "tbnet/0.1.0".into(),
            platform: Platform::MacOs,
            interface: "bridge0".into(),
            kind: LinkKind::Thunderbolt,
            mtu: 9000,
            addresses: vec!["192.168.2.1/24".parse().unwrap(), "fe80::1/64".parse().unwrap()],
            other_networks: vec!["10.0.0.0/8".parse().unwrap()],
            clock_ms: 1_700_000_000_000,
            cables: vec![facts::Cable {
                own: "A".into(),
                far: Some("B".into()),
                bridged: Some(true),
            }],
        }
    }

    #[test]
    fn a_question_is_answered_with_what_is_known_and_an_answer_is_not() {
        let asked = encode(&Message::Ask { number: 7 });
        let answer = reply(&asked, || Some(facts())).unwrap().unwrap();
        let Message::Answer { number: 7, end: Some(end) } = decode(&answer).unwrap() else {
            panic!("no answer")
        };
        assert_eq!(Facts::try_from(end).unwrap(), facts());
        assert!(reply(&answer, || panic!("nobody asked")).unwrap().is_none());
        let unknown = reply(&asked, || None).unwrap().unwrap();
        assert_eq!(decode(&unknown), Ok(Message::Answer { number: 7, end: None }));
    }

    #[test]
    fn what_a_stranger_says_is_bounded() {
        let mut end = End::from(&facts());
        end.name = format!("\x1b[31m{}", "x".repeat(1000));
        end.cables = vec![end.cables[0].clone(); 1000];
        let facts = Facts::try_from(end.clone()).unwrap();
        assert!(facts.name.len() <= TEXT_BYTES_MAX && !facts.name.contains('\x1b'));
        assert_eq!(facts.cables.len(), ITEMS_MAX);
        end.addresses[0].prefix = 33;
        assert!(Facts::try_from(end.clone()).is_err());
        end.addresses[0].family = 5;
        assert!(Facts::try_from(end).is_err());
    }

    proptest! {
        #[test]
        fn damaged_messages_are_refused_or_read_but_never_panic(
            at in 0usize..2000, with: u8, cut in 0usize..2000,
        ) {
            let end = Some(End::from(&facts()));
            let mut bytes = encode(&Message::Answer { number: 1, end }).to_vec();
            let at = at % bytes.len();
            bytes[at] = with;
            if let Ok(Message::Answer { end: Some(end), .. }) = decode(&bytes) {
                let _ = Facts::try_from(end);
            }
            let cut = cut % bytes.len();
            let _ = reply(&bytes[..cut], || None);
        }
    }
}
