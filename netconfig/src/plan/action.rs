//! What a step can be, the exact commands of each, and how to see that it took effect.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{
    shell,
    snapshot::{ConfigMethod, Platform, Snapshot},
    text::{Text, plan as say},
};

/// Where `tbnet setup` keeps its systemd-networkd profiles.
const NETWORKD: &str = "/etc/systemd/network";

/// A command as it is run: no shell is involved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// What is written to its standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Only root may run it.
    pub root: bool,
}

impl CommandLine {
    /// A command that only root may run.
    pub(crate) fn root<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self { argv: words.into_iter().map(Into::into).collect(), stdin: None, root: true }
    }

    /// Writes `text` to the file `path`.
    pub(crate) fn write(path: &str, text: &str) -> Self {
        Self { stdin: Some(text.to_owned()), ..Self::root(["tee", path]) }
    }
}

impl CommandLine {
    /// The words as the system gets them: through `sudo` if only root may and we are not.
    pub(crate) fn words(&self, is_root: bool) -> Vec<&str> {
        let sudo = (self.root && !is_root).then_some("sudo");
        sudo.into_iter().chain(self.argv.iter().map(String::as_str)).collect()
    }
}

/// As a person would type it, `sudo` included.
impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.root {
            f.write_str("sudo ")?;
        }
        f.write_str(&shell::command(self.argv.iter().map(String::as_str)))?;
        match &self.stdin {
            Some(text) => write!(f, " <<'END'\n{text}END"),
            None => Ok(()),
        }
    }
}

/// What a step does. Each is complete in itself: its commands, its check, and (with the saved
/// [`State`](super::State)) its undoing follow from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Linux: switches an interface on.
    SwitchOn {
        /// The interface.
        interface: String,
    },
    /// Linux: sets the largest packet.
    SetMtu {
        /// The interface.
        interface: String,
        /// Bytes.
        mtu: u32,
    },
    /// Linux: takes an address away.
    DropAddress {
        /// The interface.
        interface: String,
        /// The address.
        net: Ipv4Net,
    },
    /// Linux: gives an address.
    AddAddress {
        /// The interface.
        interface: String,
        /// The address.
        net: Ipv4Net,
    },
    /// Linux: takes a default route away from the cable.
    DropDefaultRoute {
        /// The interface.
        interface: String,
    },
    /// Linux: a host route to the peer over the link, before any other of the same length. The other
    /// link's route stays as it is.
    PreferRoute {
        /// The peer.
        peer: Ipv4Addr,
        /// The interface.
        interface: String,
        /// This end's address.
        own: Ipv4Addr,
    },
    /// Linux: writes a profile that brings all this back after a restart.
    KeepNetworkd {
        /// The interface.
        interface: String,
        /// The text of the file.
        text: String,
    },
    /// Linux: makes a NetworkManager profile that brings all this back after a restart.
    KeepNetworkManager {
        /// The interface.
        interface: String,
        /// The address.
        net: Ipv4Net,
        /// The IPv6 addresses that it has and keeps.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        inet6: Vec<Ipv6Net>,
        /// The largest packet, if it is set.
        mtu: Option<u32>,
        /// The profile is there and is changed.
        has_profile: bool,
    },
    /// macOS: switches a network service on.
    EnableService {
        /// The service.
        service: String,
    },
    /// macOS: makes a network service.
    CreateService {
        /// Its name.
        service: String,
        /// Its device.
        device: String,
    },
    /// macOS: brings an interface up.
    BringUp {
        /// The interface.
        interface: String,
    },
    /// macOS: sets a manual address with a blank router.
    SetManual {
        /// The service.
        service: String,
        /// The address.
        net: Ipv4Net,
    },
    /// macOS: takes a fixed address away from a service that should not have it.
    SetDhcp {
        /// The service.
        service: String,
    },
    /// macOS: sets the service order.
    Order {
        /// Every service, first wins.
        services: Vec<String>,
    },
    /// macOS: sets the largest packet of a device.
    SetDeviceMtu {
        /// The device.
        device: String,
        /// Bytes.
        mtu: u32,
    },
    /// macOS: removes a route that refuses to send to the peer.
    DropRejectRoute {
        /// The peer.
        peer: Ipv4Addr,
    },
}

/// The file of an interface's systemd-networkd profile.
pub(crate) fn networkd_file(interface: &str) -> String {
    format!("{NETWORKD}/10-tbnet-{interface}.network")
}

/// What a step sets in a NetworkManager profile besides the addresses. An address comes before the
/// method that needs it.
pub(crate) const PROFILE_SETTINGS: [&str; 5] =
    ["802-3-ethernet.mtu", "ipv4.method", "ipv4.never-default", "ipv6.addresses", "ipv6.method"];

/// The name of an interface's NetworkManager profile.
pub(crate) fn profile_name(interface: &str) -> String {
    format!("tbnet-{interface}")
}

const NETWORKSETUP: &str = "/usr/sbin/networksetup";
const IFCONFIG: &str = "/sbin/ifconfig";
const ROUTE: &str = "/sbin/route";

/// `networksetup` with its arguments.
pub(crate) fn networksetup<S: Into<String>>(words: impl IntoIterator<Item = S>) -> CommandLine {
    CommandLine::root(
        std::iter::once(NETWORKSETUP.to_owned()).chain(words.into_iter().map(Into::into)),
    )
}

/// `ifconfig DEVICE up|down`.
pub(crate) fn ifconfig(device: &str, state: &str) -> CommandLine {
    CommandLine::root([IFCONFIG, device, state])
}

/// `ip` with its arguments.
pub(crate) fn ip<S: Into<String>>(words: impl IntoIterator<Item = S>) -> CommandLine {
    CommandLine::root(std::iter::once("ip".to_owned()).chain(words.into_iter().map(Into::into)))
}

impl Action {
    /// The commands, in order.
    pub fn commands(&self) -> Vec<CommandLine> {
        let one = |command| vec![command];
        match self {
            Self::SwitchOn { interface } => one(ip(["link", "set", "dev", interface, "up"])),
            Self::SetMtu { interface, mtu } => {
                one(ip(["link", "set", "dev", interface, "mtu", &mtu.to_string()]))
            }
            Self::DropAddress { interface, net } => {
                one(ip(["address", "del", &net.to_string(), "dev", interface]))
            }
            Self::AddAddress { interface, net } => {
                one(ip(["address", "add", &net.to_string(), "dev", interface]))
            }
            Self::DropDefaultRoute { interface } => {
                one(ip(["route", "del", "default", "dev", interface]))
            }
            Self::PreferRoute { peer, interface, own } => one(ip([
                "route",
                "prepend",
                &format!("{peer}/32"),
                "dev",
                interface,
                "src",
                &own.to_string(),
            ])),
            Self::KeepNetworkd { interface, text } => vec![
                CommandLine::write(&networkd_file(interface), text),
                CommandLine::root(["networkctl", "reload"]),
            ],
            Self::KeepNetworkManager { interface, net, inet6, mtu, has_profile } => {
                network_manager(interface, *net, inet6, *mtu, *has_profile)
            }
            Self::EnableService { service } => {
                one(networksetup(["-setnetworkserviceenabled", service, "on"]))
            }
            Self::CreateService { service, device } => {
                one(networksetup(["-createnetworkservice", service, device]))
            }
            Self::BringUp { interface } => one(ifconfig(interface, "up")),
            Self::SetManual { service, net } => one(networksetup([
                "-setmanual",
                service,
                &net.addr().to_string(),
                &net.netmask().to_string(),
                "",
            ])),
            Self::SetDhcp { service } => one(networksetup(["-setdhcp", service])),
            Self::Order { services } => {
                let words = std::iter::once("-ordernetworkservices".to_owned());
                one(networksetup(words.chain(services.iter().cloned())))
            }
            Self::SetDeviceMtu { device, mtu } => {
                one(networksetup(["-setMTU", device, &mtu.to_string()]))
            }
            Self::DropRejectRoute { peer } => {
                one(CommandLine::root([ROUTE, "-n", "delete", &peer.to_string()]))
            }
        }
    }

    /// What it changes, in words.
    pub fn text(&self) -> Text {
        match self {
            Self::SwitchOn { interface } | Self::BringUp { interface } => {
                say::switches_on(interface)
            }
            Self::SetMtu { interface, mtu } | Self::SetDeviceMtu { device: interface, mtu } => {
                say::sets_mtu(interface, mtu)
            }
            Self::DropAddress { interface, net } => say::takes_address(net, interface),
            Self::AddAddress { interface, net } => say::gives_address(interface, net),
            Self::DropDefaultRoute { interface } => say::takes_default_route(interface),
            Self::PreferRoute { peer, interface, .. } => say::prefers_route(peer, interface),
            Self::KeepNetworkd { interface, .. } => say::keeps_networkd(interface),
            Self::KeepNetworkManager { interface, has_profile: true, .. } => {
                say::changes_profile(interface)
            }
            Self::KeepNetworkManager { interface, .. } => say::adds_profile(interface),
            Self::EnableService { service } => say::enables_service(service),
            Self::CreateService { service, device } => say::creates_service(service, device),
            Self::SetManual { service, net } => {
                say::sets_manual(service, net.addr(), net.netmask())
            }
            Self::SetDhcp { service } => say::sets_dhcp(service),
            Self::Order { services } => {
                say::orders_services(services.first().map(String::as_str).unwrap_or_default())
            }
            Self::DropRejectRoute { peer } => say::drops_reject_route(peer),
        }
    }

    /// Whether the step has taken effect; `None` if the snapshot does not say.
    pub fn holds(&self, snapshot: &Snapshot) -> Option<bool> {
        match self {
            Self::SwitchOn { interface } | Self::BringUp { interface } => {
                snapshot.interface(interface)?.up
            }
            Self::SetMtu { interface, mtu } | Self::SetDeviceMtu { device: interface, mtu } => {
                Some(snapshot.interface(interface)?.mtu? == *mtu)
            }
            Self::DropAddress { interface, net } => Some(!has_address(snapshot, interface, *net)?),
            Self::AddAddress { interface, net } => has_address(snapshot, interface, *net),
            Self::KeepNetworkManager { interface, net, .. } => {
                has_address(snapshot, interface, *net)
            }
            Self::DropDefaultRoute { interface } => {
                let routes = snapshot.routes.value()?;
                Some(!routes.iter().any(|route| {
                    route.destination.prefix_len() == 0
                        && route.destination.addr().is_ipv4()
                        && route.interface.as_ref() == Some(interface)
                }))
            }
            Self::PreferRoute { peer, interface, .. } => {
                let route = snapshot.peer_routes.get(&(*peer).into())?.value()?;
                Some(route.interface.as_ref() == Some(interface) && !route.rejected)
            }
            Self::DropRejectRoute { peer } => {
                let route = snapshot.peer_routes.get(&(*peer).into())?.value()?;
                Some(!route.rejected)
            }
            // The file was written or the command failed; what it says holds by the steps before.
            Self::KeepNetworkd { .. } => Some(true),
            Self::EnableService { service } => Some(find(snapshot, service)?.enabled),
            Self::CreateService { service, device } => {
                Some(find(snapshot, service).is_some_and(|s| s.device.as_ref() == Some(device)))
            }
            Self::SetManual { service, net } => {
                let config = find(snapshot, service)?.config.value()?;
                Some(
                    config.method == ConfigMethod::Manual
                        && config.address == Some(net.addr())
                        && config.mask == Some(net.netmask())
                        && config.router.is_none(),
                )
            }
            Self::SetDhcp { service } => {
                Some(find(snapshot, service)?.config.value()?.method == ConfigMethod::Dhcp)
            }
            Self::Order { services } => {
                let now = snapshot.services.value()?;
                Some(now.iter().map(|s| &s.name).eq(services))
            }
        }
    }

    /// The interface whose IPv6 addresses and routes may go by it or by its undoing: whoever keeps an
    /// interface takes away what it does not know of, and so does switching it off.
    pub(crate) fn loses_inet6_of(&self) -> Option<&str> {
        match self {
            Self::KeepNetworkManager { interface, .. }
            | Self::KeepNetworkd { interface, .. }
            | Self::SwitchOn { interface } => Some(interface),
            _ => None,
        }
    }

    /// Whether a link may come up by it.
    pub(crate) fn switches_a_link_on(&self) -> bool {
        matches!(
            self,
            Self::SwitchOn { .. }
                | Self::BringUp { .. }
                | Self::EnableService { .. }
                | Self::CreateService { .. }
        )
    }

    /// Whether it is one of the platform's.
    pub fn is_for(&self, platform: Platform) -> bool {
        let linux = matches!(
            self,
            Self::SwitchOn { .. }
                | Self::SetMtu { .. }
                | Self::DropAddress { .. }
                | Self::AddAddress { .. }
                | Self::DropDefaultRoute { .. }
                | Self::PreferRoute { .. }
                | Self::KeepNetworkd { .. }
                | Self::KeepNetworkManager { .. }
        );
        linux == (platform == Platform::Linux)
    }
}

fn has_address(snapshot: &Snapshot, interface: &str, net: Ipv4Net) -> Option<bool> {
    let addresses = snapshot.interface(interface)?.addresses.as_ref()?;
    Some(addresses.iter().any(|a| a.net == IpNet::V4(net) && !a.tentative))
}

fn find<'a>(snapshot: &'a Snapshot, service: &str) -> Option<&'a crate::snapshot::Service> {
    snapshot.services.value()?.iter().find(|s| s.name == service)
}

fn network_manager(
    interface: &str,
    net: Ipv4Net,
    inet6: &[Ipv6Net],
    mtu: Option<u32>,
    has_profile: bool,
) -> Vec<CommandLine> {
    let name = profile_name(interface);
    let mut words: Vec<String> = if has_profile {
        ["nmcli", "connection", "modify", &name].map(str::to_owned).to_vec()
    } else {
        ["nmcli", "connection", "add", "type", "ethernet", "con-name", &name, "ifname", interface]
            .map(str::to_owned)
            .to_vec()
    };
    let address = net.to_string();
    for (key, value) in [
        ("ipv4.method", "manual"),
        ("ipv4.addresses", address.as_str()),
        ("ipv4.never-default", "yes"),
    ] {
        words.extend([key.to_owned(), value.to_owned()]);
    }
    let inet6 = inet6.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let inet6 = match (inet6.is_empty(), has_profile) {
        (false, _) => vec!["ipv6.addresses", &inet6, "ipv6.method", "manual"],
        (true, false) => vec!["ipv6.method", "link-local"],
        // A link that is down has lost what its profile may still have.
        (true, true) => Vec::new(),
    };
    words.extend(inet6.into_iter().map(str::to_owned));
    if let Some(mtu) = mtu {
        words.extend(["802-3-ethernet.mtu".to_owned(), mtu.to_string()]);
    }
    vec![CommandLine::root(words), CommandLine::root(["nmcli", "connection", "up", &name])]
}
