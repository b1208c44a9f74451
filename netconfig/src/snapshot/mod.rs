//! What the system says, and where it said it.
//!
//! A [`Snapshot`] is a plain value: no part of it asks the system anything. Each section is a
//! [`Reading`]: known together with its source, not known together with the reason, or not a thing
//! this platform has. Inside a section a field that its source did not mention is `None`. Nothing
//! here is ever filled in by a guess: "not known" must stay visible to whoever judges the snapshot.

mod links;
mod macos;
mod reading;
mod thunderbolt;

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::Serialize;

pub use self::{links::*, macos::*, reading::*, thunderbolt::*};

/// Whose words a snapshot is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// macOS: networksetup, ifconfig, system_profiler and property lists.
    MacOs,
    /// Linux: netlink, sysfs and if-addrs.
    Linux,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MacOs => "macOS",
            Self::Linux => "Linux",
        })
    }
}

/// Everything one machine said about its links at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Whose words these are.
    pub platform: Platform,
    /// Network interfaces as the kernel has them.
    pub interfaces: Reading<Vec<Interface>>,
    /// macOS: hardware ports, that is what each device is.
    pub hardware_ports: Reading<Vec<HardwarePort>>,
    /// macOS: network services in service order (row order, first wins).
    pub services: Reading<Vec<Service>>,
    /// macOS: what the preferences configure, whether or not the kernel has it yet.
    pub preferences: Reading<Preferences>,
    /// Thunderbolt ports of this machine and what is plugged into them.
    pub thunderbolt_ports: Reading<Vec<ThunderboltPort>>,
    /// The routing table.
    pub routes: Reading<Vec<Route>>,
    /// What the kernel would do with a packet to each peer that was asked about.
    pub peer_routes: BTreeMap<IpAddr, Reading<PeerRoute>>,
    /// macOS: Internet Sharing.
    pub internet_sharing: Reading<InternetSharing>,
    /// The version of the system: of macOS, or of the Linux kernel.
    pub os_version: Reading<String>,
    /// macOS: links in the order in which the system prefers them.
    pub preferred: Reading<Vec<PreferredLink>>,
    /// macOS: the application firewall. Linux: never asked.
    pub firewall: Reading<Firewall>,
    /// macOS: RDMA over Thunderbolt, which excludes the bridge.
    pub rdma: Reading<Rdma>,
    /// macOS: exo's network daemon, which takes the bridge away, is installed.
    pub exo_daemon: Reading<bool>,
    /// macOS: who was refused the local network lately. Asked only together with a peer: no other
    /// sign of that permission can be read, and an empty list does not prove that it is given.
    pub local_network_refusals: Reading<Vec<LocalNetworkRefusal>>,
}

impl Snapshot {
    /// A snapshot in which nothing is known yet and nothing was asked.
    pub fn empty(platform: Platform) -> Self {
        fn not_asked<T>(source: &str) -> Reading<T> {
            Reading::Unknown { source: Source::new(source), why: Unknown::NotAsked }
        }
        fn mac_only<T>(platform: Platform, source: &str) -> Reading<T> {
            match platform {
                Platform::MacOs => not_asked(source),
                Platform::Linux => Reading::NotApplicable,
            }
        }
        Self {
            platform,
            interfaces: not_asked("interfaces"),
            hardware_ports: mac_only(platform, "hardware ports"),
            services: mac_only(platform, "service order"),
            preferences: mac_only(platform, "network preferences"),
            thunderbolt_ports: not_asked("Thunderbolt ports"),
            routes: not_asked("routing table"),
            peer_routes: BTreeMap::new(),
            internet_sharing: mac_only(platform, "Internet Sharing"),
            os_version: not_asked("system version"),
            preferred: mac_only(platform, "preferred links"),
            firewall: not_asked(match platform {
                Platform::MacOs => "firewall",
                // It needs root, and its rules are not judged.
                Platform::Linux => "sudo nft list ruleset",
            }),
            rdma: mac_only(platform, "RDMA"),
            exo_daemon: mac_only(platform, "exo's network daemon"),
            local_network_refusals: mac_only(platform, "Local Network permission"),
        }
    }

    /// The interface of that name, if interfaces are known and it is among them.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.items().iter().find(|i| i.name == name)
    }

    /// What shows that the interface is, or is not, a Thunderbolt link
    /// ([`Evidence::ChosenByHand`](crate::Evidence) if nothing does); `None` if there is no such
    /// interface or a source that decides did not answer.
    pub fn evidence(&self, name: &str) -> Option<crate::Evidence> {
        let found = crate::evidence::of(self, self.interface(name)?).ok()?;
        Some(found.unwrap_or(crate::Evidence::ChosenByHand))
    }

    /// The device behind a Thunderbolt port. macOS: by the number of its receptacle: hardware port
    /// `Thunderbolt 3` is receptacle 3, whatever number its `enN` has. Linux: the interface whose
    /// cable is plugged in there, where the kernel says it.
    pub fn device_of(&self, port: &ThunderboltPort) -> Option<&str> {
        if self.platform == Platform::Linux {
            let is_at = |i: &&Interface| i.cable_port.as_ref().is_some_and(|at| at.is(port));
            return Some(self.interfaces.items().iter().find(is_at)?.name.as_str());
        }
        let receptacle = port.receptacle.as_deref()?;
        crate::evidence::device_at(self, receptacle)
    }

    /// The hardware port that `device` is, if ports are known and it is among them.
    pub fn hardware_port(&self, device: &str) -> Option<&HardwarePort> {
        self.hardware_ports.items().iter().find(|p| p.device.as_deref() == Some(device))
    }
}
