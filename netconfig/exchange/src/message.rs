//! What is said: one question, one answer.
//!
//! JSON, unlike the engine's messages: two ends of *different* versions must understand each other
//! here, as that is one of the things to be found out. Fields that a side does not know are passed
//! over, and the report carries a schema number of its own. It is said a few times in a machine's
//! life, so its size does not matter.

use exo_netconfig::peer::{Cable, END_REPORT_SCHEMA, EndReport};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `immediate` of every message of the exchange, on lane 3.
pub const IMMEDIATE: u32 = 5;

/// Room for one message, in bytes. What a node says by itself on that lane fits, too.
pub const ROOM: usize = 64 << 10;

/// Longest text of a report, in bytes; longer ones are cut.
const TEXT_BYTES_MAX: usize = 128;
/// Longest list of a report: no machine of ours has as many links or ports.
const ITEMS_MAX: usize = 64;

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// What is your end like?
    Ask {
        /// Comes back with the answer. 0 is the first of several: it is answered with what is so now,
        /// the others, that measure the way, with what was so a moment ago.
        number: u32,
    },
    /// My end is like this.
    Answer {
        /// Of the question.
        number: u32,
        /// An [`EndReport`], or `null`: not known just now. [`report`] reads it.
        #[serde(default)]
        report: Value,
    },
}

/// Bytes that are no message of the exchange, or none that this version understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Too many bytes.
    #[error("a message of {bytes} bytes; at most {ROOM} may be")]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// Not JSON, or not of this form.
    #[error("not a message of the exchange: {words}")]
    Form {
        /// What is wrong with it.
        words: String,
    },
    /// A report of another schema, in which fields may mean something else.
    #[error("a report of schema {theirs}; this program knows schema {END_REPORT_SCHEMA}")]
    Schema {
        /// Its number.
        theirs: u64,
    },
}

/// The bytes of a message.
///
/// # Panics
/// Never for these types.
pub fn encode(message: &Message) -> Vec<u8> {
    serde_json::to_vec(message).expect("plain data serialises")
}

/// The message in `bytes`.
///
/// # Errors
/// [`Malformed`].
pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
    if bytes.len() > ROOM {
        return Err(Malformed::TooLong { bytes: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|error| Malformed::Form { words: error.to_string() })
}

/// What an answer reports; `None` if its sender does not know just now. Texts and lists are cut, and
/// control characters replaced: a stranger's words end up in a terminal.
///
/// # Errors
/// [`Malformed`].
pub fn report(value: Value) -> Result<Option<EndReport>, Malformed> {
    if value.is_null() {
        return Ok(None);
    }
    let theirs = value.get("schema").and_then(Value::as_u64).unwrap_or(0);
    if theirs != u64::from(END_REPORT_SCHEMA) {
        return Err(Malformed::Schema { theirs });
    }
    let report = serde_json::from_value(value)
        .map_err(|error| Malformed::Form { words: error.to_string() })?;
    Ok(Some(bounded(report)))
}

/// The answering side: what to send back for a message that was received with [`IMMEDIATE`]; nothing
/// for an answer that nobody here waits for. `own` is called for a question alone, with its number.
///
/// # Errors
/// [`Malformed`]: its sender has broken the protocol.
pub fn reply(
    bytes: &[u8],
    own: impl FnOnce(u32) -> Option<EndReport>,
) -> Result<Option<Vec<u8>>, Malformed> {
    match decode(bytes)? {
        Message::Ask { number } => {
            let report = serde_json::to_value(own(number).map(bounded)).unwrap_or_default();
            Ok(Some(encode(&Message::Answer { number, report })))
        }
        Message::Answer { .. } => Ok(None),
    }
}

fn bounded(report: EndReport) -> EndReport {
    let mut report = report;
    for part in [
        &mut report.identity.machine,
        &mut report.identity.name,
        &mut report.identity.version,
        &mut report.system,
        &mut report.interface,
    ] {
        *part = text(part);
    }
    report.addresses.truncate(ITEMS_MAX);
    report.other_networks.truncate(ITEMS_MAX);
    report.cables.truncate(ITEMS_MAX);
    report.domains.truncate(ITEMS_MAX);
    for domain in &mut report.domains {
        *domain = text(domain);
    }
    for Cable { port, own_domain, far_domain, .. } in &mut report.cables {
        *port = text(port);
        for domain in [own_domain, far_domain].into_iter().flatten() {
            *domain = text(domain);
        }
    }
    report
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
    use exo_netconfig::peer::Identity;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn end() -> EndReport {
        EndReport {
            schema: END_REPORT_SCHEMA,
            identity: Identity {
                machine: "m".into(),
                name: "mini".into(),
                version: "0.1.0".into(),
            },
            system: "macOS 26.2".into(),
            interface: "bridge0".into(),
            addresses: vec!["192.168.2.1/24".parse().unwrap(), "fe80::1/64".parse().unwrap()],
            other_networks: vec!["10.0.0.0/8".parse().unwrap()],
            mtu: Some(9000),
            cables: vec![Cable {
                port: "1".into(),
                own_domain: Some("A".into()),
                far_domain: Some("B".into()),
                bridged: Some(true),
                generation: Some(5),
                gbps: Some(80),
            }],
            domains: vec!["A".into(), "C".into()],
            clock_ms: 1_764_000_000_000,
        }
    }

    #[test]
    fn a_question_is_answered_with_what_is_known_and_an_answer_is_not() {
        let asked = encode(&Message::Ask { number: 7 });
        let answer = reply(&asked, |_| Some(end())).unwrap().unwrap();
        let Message::Answer { number: 7, report: said } = decode(&answer).unwrap() else {
            panic!("no answer")
        };
        assert_eq!(report(said).unwrap(), Some(end()));
        assert!(reply(&answer, |_| panic!("nobody asked")).unwrap().is_none());
        let unknown = decode(&reply(&asked, |_| None).unwrap().unwrap()).unwrap();
        let Message::Answer { number: 7, report: said } = unknown else { panic!("no answer") };
        assert_eq!(report(said), Ok(None));
    }

    #[test]
    fn another_version_is_understood_as_far_as_it_can_be() {
        // A later version of the same schema says more.
        let mut value = serde_json::to_value(end()).unwrap();
        value["battery"] = json!({ "percent": 80 });
        value["cables"][0]["colour"] = json!("white");
        assert_eq!(report(value.clone()).unwrap(), Some(end()));
        // An earlier one did not say everything.
        for key in ["other_networks", "cables"] {
            value.as_object_mut().unwrap().remove(key);
        }
        assert_eq!(report(value.clone()).unwrap().unwrap().cables, []);
        // Another schema may mean something else by the same names.
        value["schema"] = json!(2);
        assert_eq!(report(value.clone()), Err(Malformed::Schema { theirs: 2 }));
        value.as_object_mut().unwrap().remove("schema");
        assert_eq!(report(value), Err(Malformed::Schema { theirs: 0 }));
        let question = br#"{"ask":{"number":1,"why":"curious"}}"#;
        assert_eq!(decode(question), Ok(Message::Ask { number: 1 }));
    }

    #[test]
    fn what_a_stranger_says_is_bounded() {
        let mut big = end();
        big.identity.name = format!("\x1b[31m{}", "x".repeat(1000));
        big.cables = vec![big.cables[0].clone(); 1000];
        big.cables[0].far_domain = Some("y\n".repeat(1000));
        big.addresses = vec![big.addresses[0]; 1000];
        let read = report(serde_json::to_value(&big).unwrap()).unwrap().unwrap();
        assert!(read.identity.name.len() <= TEXT_BYTES_MAX && !read.identity.name.contains('\x1b'));
        assert!(!read.cables[0].far_domain.as_ref().unwrap().contains('\n'));
        assert_eq!((read.cables.len(), read.addresses.len()), (ITEMS_MAX, ITEMS_MAX));
        // And so is what we say: it always fits.
        let asked = encode(&Message::Ask { number: u32::MAX });
        assert!(reply(&asked, |_| Some(big)).unwrap().unwrap().len() <= ROOM);
        assert_eq!(decode(&[b' '; ROOM + 1]), Err(Malformed::TooLong { bytes: ROOM + 1 }));
        let deep = "[".repeat(60_000);
        assert!(matches!(decode(deep.as_bytes()), Err(Malformed::Form { .. })));
        for prefix in ["192.168.2.1/33", "nonsense", "::1/200"] {
            let mut value = serde_json::to_value(end()).unwrap();
            value["addresses"][0] = json!(prefix);
            assert!(matches!(report(value), Err(Malformed::Form { .. })), "{prefix}");
        }
    }

    proptest! {
        #[test]
        fn damaged_messages_are_refused_or_read_but_never_panic(
            at in 0usize..2000, with: u8, cut in 0usize..2000,
        ) {
            let value = serde_json::to_value(end()).unwrap();
            let mut bytes = encode(&Message::Answer { number: 1, report: value });
            let at = at % bytes.len();
            bytes[at] = with;
            if let Ok(Message::Answer { report: said, .. }) = decode(&bytes) {
                let _ = report(said);
            }
            let cut = cut % bytes.len();
            prop_assert!(reply(&bytes[..cut], |_| None).is_err());
        }

        #[test]
        fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
