//! What a finding is made of.

use std::fmt;

use serde::Serialize;

use crate::{
    snapshot::{Reading, Source},
    text::Text,
};

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
    /// Two cables to one computer under one bridge, or a ring of bridges over several computers.
    Loop = "loop",
    /// The largest packet.
    Mtu = "mtu",
    /// exo has taken the bridge away (macOS).
    RemovedByExo = "removed-by-exo",
    /// No computer is seen on the Thunderbolt bus (Linux).
    XdomainMissing = "xdomain-missing",
    /// The configured ports of the bridge are not those it has (macOS).
    PortsRenumbered = "ports-renumbered",
    /// The link has dropped and will take its address again by itself (macOS).
    LinkDropped = "link-dropped",
    /// The cable is slower than its ports.
    SlowCable = "slow-cable",
    /// The address is on a USB-C Ethernet port instead of the Thunderbolt link (macOS).
    AddressOnWrongPort = "address-on-wrong-port",
    /// The kernel refuses to send to the peer.
    RouteRejected = "route-rejected",
    /// A link-local IPv6 address without its interface.
    ScopeMissing = "scope-missing",
    /// The firewall refuses incoming connections (macOS).
    Firewall = "firewall",
    /// RDMA over Thunderbolt is on; it and the bridge exclude each other (macOS).
    RdmaExcludesBridge = "rdma-excludes-bridge",
    /// A program may not use the local network (macOS).
    LocalNetwork = "local-network",
    /// The peer does not answer.
    PeerSilent = "peer-silent",
    /// The peer has another subnet or mask.
    MaskMismatch = "mask-mismatch",
    /// The peer has another MTU.
    MtuMismatch = "mtu-mismatch",
    /// The peer runs another version.
    PeerVersion = "peer-version",
    /// The peer's clock differs.
    ClockSkew = "clock-skew",
    /// How long round trips take.
    Latency = "latency",
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What was seen.
    pub what: Text,
    /// The command or file that said so.
    pub source: Source,
}

/// How to mend it. Any one of the clicks or commands is one step; steps come in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// What to click or do by hand, step by step.
    pub clicks: Vec<Text>,
    /// Exact commands as a person can paste them: they do the same where a command can, else they
    /// show more, or whether it helped.
    pub commands: Vec<String>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its stable name.
    pub id: FindingId,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub title: Text,
    /// What was seen, and where.
    pub seen: Vec<Seen>,
    /// Why it matters.
    pub why: Text,
    /// How to mend it; empty if there is nothing to mend.
    pub remedy: Remedy,
    /// It is not known, and an error could hide behind it: no verdict can be given.
    pub withholds_verdict: bool,
}

impl Finding {
    /// A finding with nothing but its name, severity and sentence.
    pub(super) fn new(id: FindingId, severity: Severity, title: Text) -> Self {
        Self {
            id,
            severity,
            title,
            seen: Vec::new(),
            why: Text::default(),
            remedy: Remedy::default(),
            withholds_verdict: false,
        }
    }

    /// For something that could not be decided because `reading` is not known.
    pub(super) fn unknown<T>(
        id: FindingId,
        title: Text,
        reading: &Reading<T>,
        withholds_verdict: bool,
    ) -> Self {
        let mut finding = Self::new(id, Severity::Unknown, title);
        finding.withholds_verdict = withholds_verdict;
        if let Reading::Unknown { source, why } = reading {
            finding = finding.seen(why.text(), source);
        }
        finding
    }

    pub(super) fn seen(mut self, what: Text, source: &Source) -> Self {
        self.seen.push(Seen { what, source: source.clone() });
        self
    }

    /// As [`Finding::seen`], with the source of a reading that is known.
    pub(super) fn seen_in<T>(self, what: Text, reading: &Reading<T>) -> Self {
        match reading.source() {
            Some(source) => self.seen(what, source),
            None => self,
        }
    }

    pub(super) fn why(mut self, why: Text) -> Self {
        self.why = why;
        self
    }

    pub(super) fn click(mut self, click: Text) -> Self {
        self.remedy.clicks.push(click);
        self
    }

    pub(super) fn command(mut self, command: impl Into<String>) -> Self {
        self.remedy.commands.push(command.into());
        self
    }

    pub(super) fn commands(mut self, commands: impl IntoIterator<Item = String>) -> Self {
        self.remedy.commands.extend(commands);
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

    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.0.extend(findings);
    }

    /// Takes back what has since been seen better.
    pub(super) fn remove(&mut self, id: FindingId) {
        self.0.retain(|f| f.id != id);
    }

    pub(super) fn has(&self, id: FindingId) -> bool {
        self.0.iter().any(|f| f.id == id && f.severity != Severity::Unknown)
    }

    pub(super) fn has_error(&self) -> bool {
        self.0.iter().any(|f| f.severity == Severity::Error)
    }

    /// Worst first; among equals in the order in which they were found.
    pub(super) fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|f| f.severity);
        self.0
    }
}
