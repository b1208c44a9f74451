//! What a packet says, and how we say it: the part of RFC 6762 and RFC 6763 that nodes need.
//!
//! A node is an instance of the service `_exo-node._tcp.local.`. It says so in one packet that
//! stands for itself: PTR (service to instance), SRV (instance to host and port), TXT (instance to
//! `id`, `name` and `v`) and A or AAAA (host to addresses). A record whose partners are not in the
//! same packet means nothing to us, so nothing has to be put together from several packets.
//!
//! Labels carry the node's id, so they are unique without probing (RFC 6762 §8.1). Bytes come from
//! whoever is on the link: whatever is wrong with them is an [`Ignored`], never a panic.

use std::net::IpAddr;

use exo_transport::NodeId;
use simple_dns::{
    CLASS, Label, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord,
    TYPE,
    rdata::{A, AAAA, PTR, RData, SRV, TXT},
};
use thiserror::Error;

/// Largest packet of multicast DNS, in bytes (RFC 6762 §17).
pub(super) const PACKET_BYTES_MAX: usize = 9000;
/// Longest name of a node, in bytes.
pub(super) const NAME_BYTES_MAX: usize = exo_transport::limits::NODE_NAME_BYTES_MAX;
/// Nodes that one packet may speak of.
const NODES_PER_PACKET_MAX: usize = 32;
/// Addresses that are announced, or looked at, per node.
const ADDRESSES_MAX: usize = 16;

/// Lifetimes in seconds (RFC 6762 §10): of records that name a host, and of all others.
const HOST_TTL_S: u32 = 120;
const OTHER_TTL_S: u32 = 4500;

/// The version that nodes state. Another one is another protocol.
const VERSION: &str = "1";
/// Bytes of a header, and of the shortest question and record: name (root), type, class; and TTL
/// and length.
const HEADER_BYTES: usize = 12;
const QUESTION_BYTES_MIN: usize = 5;
const RECORD_BYTES_MIN: usize = 11;

const SERVICE: [&[u8]; 3] = [b"_exo-node", b"_tcp", b"local"];
/// Longest label, in bytes (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// What a packet says about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// It is there.
    Here { node: NodeId, name: String, port: u16, addresses: Vec<IpAddr> },
    /// It goes.
    Gone { node: NodeId },
}

/// What a packet means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// Somebody asks; `us`: after something that we have to answer.
    Query { us: bool },
    /// Somebody answers, unasked or not.
    Response(Vec<Result<Said, Ignored>>),
}

/// Why a packet, or what it says of one node, is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Ignored {
    #[error("its sender is not on the link")]
    SenderElsewhere,
    #[error("it does not come from the mDNS port")]
    WrongPort,
    #[error("it is longer than {PACKET_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is malformed")]
    Malformed,
    #[error("it is a DNS operation or an error that mDNS does not have")]
    NotMdns,
    #[error("it speaks of more than {NODES_PER_PACKET_MAX} nodes")]
    TooManyNodes,
    #[error("records of the node are missing in it")]
    Incomplete,
    #[error("its node states another version")]
    OtherVersion,
    #[error("its node's id is not 32 hexadecimal digits")]
    BadId,
    #[error("its node's name is too long or holds control characters")]
    BadName,
    #[error("its node's port is 0")]
    NoPort,
    #[error("none of its node's addresses is inside the link's networks")]
    AddressElsewhere,
    #[error("its node is this one")]
    Ourselves,
    #[error("its node is another one, but at this node's own address and port")]
    AtOurAddress,
}

/// Whether people may be shown this as the name of a node.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// A node's names in DNS, and what it says under them.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    id: String,
    name: String,
    port: u16,
    service: Name<'static>,
    instance: Name<'static>,
    host: Name<'static>,
}

impl Identity {
    /// The name has passed [`is_name`].
    pub(super) fn new(node: NodeId, name: &str, port: u16) -> Self {
        let id = hex::encode(node.as_bytes());
        // Two machines called alike are two instances all the same.
        let suffix = format!(" ({})", &id[..8]);
        let room = LABEL_BYTES_MAX - suffix.len();
        let label = format!("{}{suffix}", &name[..name.floor_char_boundary(room)]);
        let instance = [&[label.as_bytes()], &SERVICE[..]].concat();
        let host = dns_name(&[format!("exo-{id}").as_bytes(), b"local"]);
        Self {
            id,
            name: name.to_owned(),
            port,
            service: dns_name(&SERVICE),
            instance: dns_name(&instance),
            host,
        }
    }

    /// The packet that asks who is there. It states our own pointer as an answer already known
    /// (RFC 6762 §7.1), so that we need not answer when it comes back to ourselves.
    pub(super) fn query(&self) -> Vec<u8> {
        let mut packet = Packet::new_query(0);
        packet.questions.push(Question::new(
            self.service.clone(),
            TYPE::PTR.into(),
            CLASS::IN.into(),
            false,
        ));
        packet.answers.push(self.pointer(OTHER_TTL_S));
        encode(&packet)
    }

    /// The packet that says where we are.
    pub(super) fn announcement(&self, addresses: &[IpAddr]) -> Vec<u8> {
        self.response(addresses, OTHER_TTL_S, HOST_TTL_S)
    }

    /// The packet that takes it back (RFC 6762 §10.1).
    pub(super) fn goodbye(&self, addresses: &[IpAddr]) -> Vec<u8> {
        self.response(addresses, 0, 0)
    }

    fn pointer(&self, ttl: u32) -> ResourceRecord<'_> {
        // Many share the service's name: no cache-flush bit (RFC 6762 §10.2).
        let data = RData::PTR(PTR(self.instance.clone()));
        ResourceRecord::new(self.service.clone(), CLASS::IN, ttl, data)
    }

    fn response(&self, addresses: &[IpAddr], ttl: u32, host_ttl: u32) -> Vec<u8> {
        let ours = |name: &Name<'static>, ttl, data| {
            ResourceRecord::new(name.clone(), CLASS::IN, ttl, data).with_cache_flush(true)
        };
        let service = SRV { priority: 0, weight: 0, port: self.port, target: self.host.clone() };
        let mut text = TXT::new();
        for (key, value) in [("v", VERSION), ("id", &self.id), ("name", &self.name)] {
            text.add_attribute(key, Some(value.as_bytes()))
                .expect("the longest value, a name, is within a string's 255 bytes");
        }
        let mut packet = Packet::new_reply(0);
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        packet.answers = vec![
            self.pointer(ttl),
            ours(&self.instance, host_ttl, RData::SRV(service)),
            ours(&self.instance, ttl, RData::TXT(text)),
        ];
        packet.answers.extend(addresses.iter().take(ADDRESSES_MAX).map(|ip| {
            let data = match *ip {
                IpAddr::V4(ip) => RData::A(A::from(ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA::from(ip)),
            };
            ours(&self.host, host_ttl, data)
        }));
        encode(&packet)
    }

    /// What `bytes` mean to this node.
    ///
    /// # Errors
    ///
    /// [`Ignored`], if they are not a packet of multicast DNS.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Message, Ignored> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(Ignored::TooLong);
        }
        if !holds_what_it_counts(bytes) {
            return Err(Ignored::Malformed);
        }
        let packet = Packet::parse(bytes).map_err(|_| Ignored::Malformed)?;
        // RFC 6762 §18.3 and §18.11.
        if packet.opcode() != OPCODE::StandardQuery || packet.rcode() != RCODE::NoError {
            return Err(Ignored::NotMdns);
        }
        if packet.has_flags(PacketFlag::RESPONSE) {
            Ok(Message::Response(self.read_response(&packet)))
        } else {
            Ok(Message::Query { us: self.has_to_answer(&packet) })
        }
    }

    fn has_to_answer(&self, query: &Packet<'_>) -> bool {
        let known = query.answers.iter().any(|record| {
            record.ttl >= OTHER_TTL_S / 2
                && record.name == self.service
                && matches!(&record.rdata, RData::PTR(PTR(target)) if *target == self.instance)
        });
        query.questions.iter().any(|question| {
            let asks = |wanted: TYPE| match question.qtype {
                QTYPE::ANY => true,
                QTYPE::TYPE(asked) => asked == wanted,
                _ => false,
            };
            let name = &question.qname;
            matches!(question.qclass, QCLASS::ANY | QCLASS::CLASS(CLASS::IN))
                && ((*name == self.service && asks(TYPE::PTR) && !known)
                    || (*name == self.instance && (asks(TYPE::SRV) || asks(TYPE::TXT)))
                    || (*name == self.host && (asks(TYPE::A) || asks(TYPE::AAAA))))
        })
    }

    fn read_response(&self, packet: &Packet<'_>) -> Vec<Result<Said, Ignored>> {
        let records: Vec<&ResourceRecord<'_>> =
            packet.answers.iter().chain(&packet.additional_records).collect();
        let mut said = Vec::new();
        for record in &records {
            let RData::PTR(PTR(instance)) = &record.rdata else { continue };
            if record.name != self.service {
                continue;
            }
            if said.len() == NODES_PER_PACKET_MAX {
                said.push(Err(Ignored::TooManyNodes));
                break;
            }
            said.push(read_node(&records, instance, record.ttl));
        }
        said
    }
}

/// Puts together what `records` say of one instance.
fn read_node<'a>(
    records: &'a [&'a ResourceRecord<'a>],
    instance: &'a Name<'a>,
    ttl: u32,
) -> Result<Said, Ignored> {
    let text = data_of(records, instance)
        .find_map(|data| if let RData::TXT(text) = data { Some(text) } else { None })
        .ok_or(Ignored::Incomplete)?;
    if value_of(text, "v") != Some(VERSION.as_bytes()) {
        return Err(Ignored::OtherVersion);
    }
    let mut id = [0; 16];
    let digits = value_of(text, "id").unwrap_or_default();
    hex::decode_to_slice(digits, &mut id).map_err(|_| Ignored::BadId)?;
    let node = NodeId::from_bytes(id);
    if ttl == 0 {
        return Ok(Said::Gone { node });
    }
    let name = std::str::from_utf8(value_of(text, "name").unwrap_or_default())
        .ok()
        .filter(|name| is_name(name))
        .ok_or(Ignored::BadName)?;
    let service = data_of(records, instance)
        .find_map(|data| if let RData::SRV(service) = data { Some(service) } else { None })
        .ok_or(Ignored::Incomplete)?;
    if service.port == 0 {
        return Err(Ignored::NoPort);
    }
    let addresses: Vec<IpAddr> = data_of(records, &service.target)
        .filter_map(|data| match data {
            RData::A(A { address }) => Some(IpAddr::V4((*address).into())),
            RData::AAAA(AAAA { address }) => Some(IpAddr::V6((*address).into())),
            _ => None,
        })
        .take(ADDRESSES_MAX)
        .collect();
    if addresses.is_empty() {
        return Err(Ignored::Incomplete);
    }
    Ok(Said::Here { node, name: name.to_owned(), port: service.port, addresses })
}

/// What `records` say under a name.
fn data_of<'a>(
    records: &'a [&'a ResourceRecord<'a>],
    name: &'a Name<'a>,
) -> impl Iterator<Item = &'a RData<'a>> {
    records.iter().filter(move |record| record.name == *name).map(|record| &record.rdata)
}

/// The value of a key: that of the first, if there are several (RFC 6763 §6.4).
fn value_of<'a>(text: &'a TXT<'_>, key: &str) -> Option<&'a [u8]> {
    let (_, value) =
        text.iter_raw().find(|(found, _)| found.eq_ignore_ascii_case(key.as_bytes()))?;
    value
}

/// Whether the records that a header counts could be in the packet at all. The parser makes room
/// by these counts: twelve bytes must not make it allocate megabytes.
fn holds_what_it_counts(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return false };
    let [.., q0, q1, a0, a1, n0, n1, x0, x1] = *header;
    let questions = usize::from(u16::from_be_bytes([q0, q1]));
    let records: usize = [[a0, a1], [n0, n1], [x0, x1]]
        .into_iter()
        .map(|n| usize::from(u16::from_be_bytes(n)))
        .sum();
    questions * QUESTION_BYTES_MIN + records * RECORD_BYTES_MIN <= bytes.len() - HEADER_BYTES
}

fn dns_name(labels: &[&[u8]]) -> Name<'static> {
    let labels: Vec<Label<'static>> =
        labels.iter().map(|label| Label::new_unchecked(label.to_vec())).collect();
    Name::new_with_labels(&labels)
}

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    packet.build_bytes_vec_compressed().expect("a packet of a few short records can be written")
}

#[cfg(test)]
mod tests;
