//! What a finding is made of.

use std::fmt;

use serde::Serialize;

use crate::snapshot::{Reading, Source};

macro_rules! finding_ids {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// The stable name of a finding: scripts and documents refer to it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum FindingId { $($(#[$doc])* $variant,)+ }

        impl FindingId {
            /// Every id there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name as scripts see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

finding_ids! {
    /// There is no Thunderbolt bridge (macOS).
    BridgeMissing = "bridge-missing",
    /// The bridge has no Thunderbolt port in it (macOS).
    BridgeEmpty = "bridge-empty",
    /// The named interface, or on Linux any Thunderbolt interface, does not exist.
    InterfaceMissing = "interface-missing",
    /// More than one Thunderbolt link: one has to be named.
    SeveralLinks = "several-links",
    /// The interface was named by hand; nothing shows that it is a cable.
    NotThunderbolt = "not-thunderbolt",
    /// The bridge has no network service (macOS).
    ServiceMissing = "service-missing",
    /// The network service is switched off (macOS).
    ServiceDisabled = "service-disabled",
    /// The service comes after Wi-Fi in the service order (macOS).
    ServiceBelowWifi = "service-below-wifi",
    /// The interface is not up.
    LinkDown = "link-down",
    /// Nothing is plugged in.
    NoCable = "no-cable",
    /// No computer answers at the other end.
    NoPeer = "no-peer",
    /// The address comes, or is meant to come, from DHCP.
    AddressDhcp = "address-dhcp",
    /// The address is a self-assigned one, 169.254/16.
    AddressSelfAssigned = "address-self-assigned",
    /// There is no address.
    AddressMissing = "address-missing",
    /// A router is set on the link.
    RouterSet = "router-set",
    /// Another link has an overlapping subnet.
    SubnetOverlap = "subnet-overlap",
    /// A virtual machine network has an overlapping subnet (macOS).
    VmnetClash = "vmnet-clash",
    /// Internet Sharing hands out addresses on the link (macOS).
    InternetSharing = "internet-sharing",
    /// The peer's address is this machine's own.
    SameAddress = "same-address",
    /// The peer's address is outside the link's subnet.
    PeerOutsideSubnet = "peer-outside-subnet",
    /// The kernel would send the peer's packets over another interface, or not at all.
    WrongRoute = "wrong-route",
    /// Two cables to one computer under one bridge.
    Loop = "loop",
    /// The largest packet.
    Mtu = "mtu",
    /// Nobody answers at the peer's address.
    PeerSilent = "peer-silent",
    /// The two ends have different largest packets.
    MtuMismatch = "mtu-mismatch",
    /// The two ends have different masks.
    MaskMismatch = "mask-mismatch",
    /// The two ends run different versions.
    VersionMismatch = "version-mismatch",
    /// The clocks of the two ends differ.
    ClockSkew = "clock-skew",
    /// How long a packet takes there and back.
    RoundTrip = "round-trip",
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FindingId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does not work, or not the way it looks.
    Error,
    /// It works, but will bite.
    Warning,
    /// It could not be decided.
    Unknown,
    /// Worth knowing.
    Info,
}

/// A fact that led to a finding, and where it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// What was seen.
    pub what: String,
    /// The command or file that said so.
    pub source: Source,
}

/// How to mend it. Any one of the clicks or commands is one step; steps come in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// What to click or do by hand, step by step.
    pub clicks: Vec<String>,
    /// The exact commands that do the same, as a person can paste them.
    pub commands: Vec<String>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its stable name.
    pub id: FindingId,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub title: String,
    /// What was seen, and where.
    pub seen: Vec<Seen>,
    /// Why it matters.
    pub why: String,
    /// How to mend it; empty if there is nothing to mend.
    pub remedy: Remedy,
    /// It is not known, and an error could hide behind it: no verdict can be given.
    pub withholds_verdict: bool,
}

impl Finding {
    /// A finding with nothing but its name, severity and sentence.
    pub(super) fn new(id: FindingId, severity: Severity, title: impl Into<String>) -> Self {
        Self {
            id,
            severity,
            title: title.into(),
            seen: Vec::new(),
            why: String::new(),
            remedy: Remedy::default(),
            withholds_verdict: false,
        }
    }

    /// For something that could not be decided because `reading` is not known.
    pub(super) fn unknown<T>(
        id: FindingId,
        title: impl Into<String>,
        reading: &Reading<T>,
        withholds_verdict: bool,
    ) -> Self {
        let mut finding = Self::new(id, Severity::Unknown, title);
        finding.withholds_verdict = withholds_verdict;
        if let Reading::Unknown { source, why } = reading {
            finding = finding.seen(why.to_string(), source);
        }
        finding
    }

    pub(super) fn seen(mut self, what: impl Into<String>, source: &Source) -> Self {
        self.seen.push(Seen { what: what.into(), source: source.clone() });
        self
    }

    /// As [`Finding::seen`], with the source of a reading that is known.
    pub(super) fn seen_in<T>(self, what: impl Into<String>, reading: &Reading<T>) -> Self {
        match reading.source() {
            Some(source) => self.seen(what, source),
            None => self,
        }
    }

    pub(super) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    pub(super) fn click(mut self, click: impl Into<String>) -> Self {
        self.remedy.clicks.push(click.into());
        self
    }

    pub(super) fn command(mut self, command: impl Into<String>) -> Self {
        self.remedy.commands.push(command.into());
        self
    }
}

/// Findings as they are made.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    pub(super) fn has(&self, id: FindingId) -> bool {
        self.0.iter().any(|f| f.id == id && f.severity != Severity::Unknown)
    }

    /// Worst first; among equals in the order in which they were found.
    pub(super) fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|f| f.severity);
        self.0
    }
}
