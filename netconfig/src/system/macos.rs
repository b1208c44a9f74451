//! macOS: which questions are asked, and how the answers become a snapshot.
//!
//! A [`Query`] is one question: a command (or a file) together with the name under which its
//! answer is recorded. Whoever can [`Answer`] queries can fill a snapshot: the running Mac
//! ([`Live`]) or a recorded folder. The answers go through the same parsers.

use std::{collections::BTreeMap, fs, io, net::IpAddr, num::NonZeroU32, thread, time::Duration};

use super::{Request, command, parse};
use crate::snapshot::{
    InternetSharing, LocalNetworkRefusal, PeerRoute, Platform, Rdma, Reading, Service,
    ServiceConfig, Snapshot, Source, Unknown,
};

const SYSTEM_CONFIGURATION: &str = "/Library/Preferences/SystemConfiguration";

/// What exo installs to take the bridge apart at every start.
const EXO_DAEMON: &str = "/Library/LaunchDaemons/io.exo.networksetup.plist";

/// Bound on a source that normally answers in milliseconds.
const QUICK_LIMIT: Duration = Duration::from_secs(5);
/// system_profiler walks the whole machine: seconds are normal.
const SLOW_LIMIT: Duration = Duration::from_secs(20);

/// One question to macOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Query {
    /// Services in order.
    ServiceOrder,
    /// What each device is.
    HardwarePorts,
    /// How one service gets its address.
    ServiceInfo(String),
    /// The kernel's interfaces.
    Ifconfig,
    /// Thunderbolt ports and what is plugged in.
    Thunderbolt,
    /// Which way a packet to a peer would go.
    RouteGet(IpAddr),
    /// The routing table.
    Routes,
    /// Internet Sharing.
    InternetSharing,
    /// What is configured.
    Preferences,
    /// The version of macOS.
    OsVersion,
    /// Links as the system prefers them.
    Preferred,
    /// The application firewall.
    Firewall,
    /// Whether RDMA is switched on.
    RdmaStatus,
    /// Its devices.
    RdmaDevices,
    /// Whether exo's network daemon is installed.
    ExoDaemon,
    /// Who was refused the local network lately.
    LocalNetworkLog,
}

impl Query {
    /// The command as it is run; `None` if the answer is a file.
    fn command(&self) -> Option<(&'static str, Vec<String>)> {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        Some(match self {
            Self::ServiceOrder => ("/usr/sbin/networksetup", words(&["-listnetworkserviceorder"])),
            Self::HardwarePorts => ("/usr/sbin/networksetup", words(&["-listallhardwareports"])),
            Self::ServiceInfo(service) => ("/usr/sbin/networksetup", words(&["-getinfo", service])),
            Self::Ifconfig => ("/sbin/ifconfig", Vec::new()),
            Self::Thunderbolt => {
                ("/usr/sbin/system_profiler", words(&["SPThunderboltDataType", "-json"]))
            }
            Self::RouteGet(peer @ IpAddr::V4(_)) => {
                ("/sbin/route", words(&["-n", "get", &peer.to_string()]))
            }
            Self::RouteGet(peer @ IpAddr::V6(_)) => {
                ("/sbin/route", words(&["-n", "get", "-inet6", &peer.to_string()]))
            }
            Self::Routes => ("/usr/sbin/netstat", words(&["-rn"])),
            Self::OsVersion => ("/usr/bin/sw_vers", words(&["-productVersion"])),
            Self::Preferred => ("/usr/sbin/scutil", words(&["--nwi"])),
            Self::Firewall => {
                ("/usr/libexec/ApplicationFirewall/socketfilterfw", words(&["--getglobalstate"]))
            }
            Self::RdmaStatus => ("/usr/bin/rdma_ctl", words(&["status"])),
            Self::RdmaDevices => ("/usr/bin/ibv_devices", Vec::new()),
            Self::LocalNetworkLog => {
                let predicate =
                    format!("eventMessage CONTAINS \"{}\"", parse::local_network::PROHIBITED);
                let args = ["show", "--last", "10m", "--style", "syslog", "--predicate"];
                let mut args: Vec<String> = words(&args);
                args.push(predicate);
                ("/usr/bin/log", args)
            }
            Self::InternetSharing | Self::Preferences | Self::ExoDaemon => return None,
        })
    }

    /// The file whose contents are the answer; `None` if the answer is a command's.
    fn file(&self) -> Option<String> {
        match self {
            Self::InternetSharing => Some(format!("{SYSTEM_CONFIGURATION}/com.apple.nat.plist")),
            Self::Preferences => Some(format!("{SYSTEM_CONFIGURATION}/preferences.plist")),
            Self::ExoDaemon => Some(EXO_DAEMON.to_owned()),
            _ => None,
        }
    }

    /// How long to wait for it: the slow ones have to look through much.
    fn limit(&self) -> Duration {
        match self {
            Self::Thunderbolt | Self::LocalNetworkLog => SLOW_LIMIT,
            _ => QUICK_LIMIT,
        }
    }

    /// What a person would type to see the answer.
    pub(super) fn source(&self) -> Source {
        let text = match (self.command(), self.file()) {
            (Some((program, args)), _) => {
                let program = program.rsplit('/').next().unwrap_or(program);
                let mut text = program.to_owned();
                for arg in &args {
                    text.push(' ');
                    text.push_str(&crate::shell::quoted(arg));
                }
                text
            }
            (None, file) => file.unwrap_or_default(),
        };
        Source::new(text)
    }

    /// The name of the answer in a recorded folder.
    pub(super) fn recorded_as(&self) -> String {
        match self {
            Self::ServiceOrder => "networksetup-listnetworkserviceorder.txt".into(),
            Self::HardwarePorts => "networksetup-listallhardwareports.txt".into(),
            // A slash cannot be in a file's name: it is written as a colon, as the Finder does.
            Self::ServiceInfo(service) => {
                format!("networksetup-getinfo/{}.txt", service.replace('/', ":"))
            }
            Self::Ifconfig => "ifconfig.txt".into(),
            Self::Thunderbolt => "system_profiler-SPThunderboltDataType.json".into(),
            Self::RouteGet(peer) => format!("route-get-{peer}.txt"),
            Self::Routes => "netstat-rn.txt".into(),
            Self::InternetSharing => "com.apple.nat.plist.txt".into(),
            Self::Preferences => "preferences.plist.txt".into(),
            Self::OsVersion => "sw_vers-productVersion.txt".into(),
            Self::Preferred => "scutil-nwi.txt".into(),
            Self::Firewall => "socketfilterfw-getglobalstate.txt".into(),
            Self::RdmaStatus => "rdma_ctl-status.txt".into(),
            Self::RdmaDevices => "ibv_devices.txt".into(),
            Self::ExoDaemon => "io.exo.networksetup.plist.txt".into(),
            Self::LocalNetworkLog => "log-local-network.txt".into(),
        }
    }
}

/// Whoever can answer queries.
pub(super) trait Answer: Sync {
    /// The raw answer.
    fn answer(&self, query: &Query) -> Result<Vec<u8>, Unknown>;

    /// The kernel's index of each interface, by name, where the system can be asked: `ifconfig`
    /// does not print them.
    fn indices(&self) -> BTreeMap<String, NonZeroU32> {
        BTreeMap::new()
    }

    /// Whether every answer is at hand: then even the slow ones are read unasked.
    fn is_recorded(&self) -> bool {
        false
    }
}

/// The running Mac.
pub(super) struct Live;

impl Answer for Live {
    fn answer(&self, query: &Query) -> Result<Vec<u8>, Unknown> {
        if let Some((program, args)) = query.command() {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            return match command::run(program, &args, query.limit()) {
                // A system older than RDMA over Thunderbolt: that is an answer.
                Err(Unknown::Missing { .. }) if *query == Query::RdmaStatus => {
                    Ok(parse::rdma::ABSENT.into())
                }
                answer => answer,
            };
        }
        if *query == Query::ExoDaemon {
            let there = fs::exists(EXO_DAEMON)
                .map_err(|error| super::recorded::unreadable(EXO_DAEMON, &error))?;
            let word = if there { parse::word::PRESENT } else { parse::word::ABSENT };
            return Ok(word.into());
        }
        let path = query.file().unwrap_or_default();
        match fs::read(&path) {
            Ok(bytes) => Ok(bytes),
            // A Mac that never shared its connection has no such file: that is an answer.
            Err(e) if e.kind() == io::ErrorKind::NotFound && *query == Query::InternetSharing => {
                Ok(b"{}".to_vec())
            }
            Err(e) => Err(super::recorded::unreadable(&path, &e)),
        }
    }

    fn indices(&self) -> BTreeMap<String, NonZeroU32> {
        let listed = if_addrs::get_if_addrs().unwrap_or_default();
        listed
            .into_iter()
            .filter_map(|address| Some((address.name, NonZeroU32::new(address.index?)?)))
            .collect()
    }
}

/// The sources that answer in milliseconds: enough to validate a link.
pub(super) fn quick(asked: &dyn Answer) -> Snapshot {
    let mut snapshot = Snapshot::empty(Platform::MacOs);
    thread::scope(|scope| {
        let ports =
            scope.spawn(|| text(asked, &Query::HardwarePorts, parse::hardware_ports::parse));
        let services = scope.spawn(|| services(asked, Depth::OrderOnly));
        let preferences =
            scope.spawn(|| bytes(asked, &Query::Preferences, parse::preferences::parse));
        snapshot.interfaces = interfaces(asked);
        snapshot.hardware_ports = joined(ports.join(), &Query::HardwarePorts);
        snapshot.services = joined(services.join(), &Query::ServiceOrder);
        snapshot.preferences = joined(preferences.join(), &Query::Preferences);
    });
    snapshot
}

/// What can be configured: services with their addresses, and the kernel's interfaces. Without the
/// slow sources: it is asked after every step of a setup.
pub(super) fn settings(asked: &dyn Answer, request: &Request) -> Snapshot {
    let mut snapshot = quick(asked);
    snapshot.services = services(asked, Depth::WithConfig);
    for peer in &request.peers {
        snapshot.peer_routes.insert(*peer, peer_route(asked, *peer));
    }
    snapshot
}

/// Every source, beside each other.
pub(super) fn full(asked: &dyn Answer, request: &Request) -> Snapshot {
    let mut snapshot = Snapshot::empty(Platform::MacOs);
    thread::scope(|scope| {
        let thunderbolt =
            scope.spawn(|| text(asked, &Query::Thunderbolt, parse::thunderbolt_json::parse));
        let ports =
            scope.spawn(|| text(asked, &Query::HardwarePorts, parse::hardware_ports::parse));
        let services = scope.spawn(|| services(asked, Depth::WithConfig));
        let routes = scope.spawn(|| text(asked, &Query::Routes, parse::netstat::parse));
        let version = scope.spawn(|| text(asked, &Query::OsVersion, parse::word::parse_version));
        let preferred = scope.spawn(|| text(asked, &Query::Preferred, parse::scutil_nwi::parse));
        let firewall = scope.spawn(|| text(asked, &Query::Firewall, parse::firewall::parse));
        let rdma = scope.spawn(|| rdma(asked));
        // The log is long: without a peer to be refused it is left alone.
        let refusals = (!request.peers.is_empty() || asked.is_recorded())
            .then(|| scope.spawn(|| refusals(asked)));
        let peers: Vec<_> = request
            .peers
            .iter()
            .map(|peer| (*peer, scope.spawn(|| peer_route(asked, *peer))))
            .collect();
        snapshot.interfaces = interfaces(asked);
        snapshot.internet_sharing = internet_sharing(asked);
        snapshot.exo_daemon = text(asked, &Query::ExoDaemon, parse::word::parse);
        snapshot.preferences = bytes(asked, &Query::Preferences, parse::preferences::parse);
        snapshot.hardware_ports = joined(ports.join(), &Query::HardwarePorts);
        snapshot.services = joined(services.join(), &Query::ServiceOrder);
        snapshot.routes = joined(routes.join(), &Query::Routes);
        snapshot.thunderbolt_ports = joined(thunderbolt.join(), &Query::Thunderbolt);
        snapshot.os_version = joined(version.join(), &Query::OsVersion);
        snapshot.preferred = joined(preferred.join(), &Query::Preferred);
        snapshot.firewall = joined(firewall.join(), &Query::Firewall);
        snapshot.rdma = joined(rdma.join(), &Query::RdmaStatus);
        if let Some(refusals) = refusals {
            snapshot.local_network_refusals = joined(refusals.join(), &Query::LocalNetworkLog);
        }
        for (peer, route) in peers {
            snapshot.peer_routes.insert(peer, joined(route.join(), &Query::RouteGet(peer)));
        }
    });
    snapshot
}

/// A thread that panicked is a source that did not answer, not the end of the program.
fn joined<T>(result: thread::Result<Reading<T>>, query: &Query) -> Reading<T> {
    result.unwrap_or_else(|_| Reading::Unknown {
        source: query.source(),
        why: Unknown::Failed { detail: "the reader panicked".into() },
    })
}

fn text<T>(
    asked: &dyn Answer,
    query: &Query,
    parse: impl Fn(&str) -> Result<T, parse::ParseError>,
) -> Reading<T> {
    // Names may be in any encoding; the shape of every format is ASCII.
    bytes(asked, query, |bytes| parse(&String::from_utf8_lossy(bytes)))
}

fn bytes<T>(
    asked: &dyn Answer,
    query: &Query,
    parse: impl Fn(&[u8]) -> Result<T, parse::ParseError>,
) -> Reading<T> {
    let source = query.source();
    match asked.answer(query).and_then(|bytes| parse(&bytes).map_err(Unknown::from)) {
        Ok(value) => Reading::known(value, source),
        Err(why) => Reading::Unknown { source, why },
    }
}

fn interfaces(asked: &dyn Answer) -> Reading<Vec<crate::snapshot::Interface>> {
    let mut reading = text(asked, &Query::Ifconfig, parse::ifconfig::parse);
    if let Reading::Known { value, .. } = &mut reading {
        let indices = asked.indices();
        for interface in value {
            interface.index = indices.get(&interface.name).copied().or(interface.index);
        }
    }
    reading
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    OrderOnly,
    WithConfig,
}

fn services(asked: &dyn Answer, depth: Depth) -> Reading<Vec<Service>> {
    let rows = text(asked, &Query::ServiceOrder, parse::service_order::parse);
    let (rows, source) = match rows {
        Reading::Known { value, source } => (value, source),
        Reading::Unknown { source, why } => return Reading::Unknown { source, why },
        Reading::NotApplicable => return Reading::NotApplicable,
    };
    let config = |name: &str, has_device: bool| -> Reading<ServiceConfig> {
        let query = Query::ServiceInfo(name.to_owned());
        if depth == Depth::OrderOnly || !has_device {
            return Reading::Unknown { source: query.source(), why: Unknown::NotAsked };
        }
        text(asked, &query, parse::service_info::parse)
    };
    let services = thread::scope(|scope| {
        let waiting: Vec<_> = rows
            .iter()
            .map(|row| scope.spawn(|| config(&row.name, row.device.is_some())))
            .collect();
        rows.iter()
            .zip(waiting)
            .map(|(row, config)| Service {
                name: row.name.clone(),
                hardware_port: row.hardware_port.clone(),
                device: row.device.clone(),
                enabled: row.enabled,
                config: joined(config.join(), &Query::ServiceInfo(row.name.clone())),
            })
            .collect()
    });
    Reading::known(services, source)
}

fn internet_sharing(asked: &dyn Answer) -> Reading<InternetSharing> {
    bytes(asked, &Query::InternetSharing, parse::nat::parse)
}

/// Who was refused the local network until now.
pub(super) fn refusals(asked: &dyn Answer) -> Reading<Vec<LocalNetworkRefusal>> {
    text(asked, &Query::LocalNetworkLog, parse::local_network::parse)
}

fn rdma(asked: &dyn Answer) -> Reading<Rdma> {
    match text(asked, &Query::RdmaStatus, parse::rdma::parse_status) {
        Reading::Known { value: enabled, source } => {
            let devices = text(asked, &Query::RdmaDevices, parse::rdma::parse_devices);
            Reading::known(Rdma { enabled, devices: devices.value().cloned() }, source)
        }
        Reading::Unknown { source, why } => Reading::Unknown { source, why },
        Reading::NotApplicable => Reading::NotApplicable,
    }
}

fn peer_route(asked: &dyn Answer, peer: IpAddr) -> Reading<PeerRoute> {
    let query = Query::RouteGet(peer);
    // `route` ends in failure when there is no route: that is an answer too.
    let answer = asked.answer(&query).or_else(|why| match why {
        Unknown::Failed { detail } if detail.contains("not in table") => Ok(detail.into_bytes()),
        why => Err(why),
    });
    let source = query.source();
    let parsed = answer.and_then(|bytes| {
        parse::route_get::parse(&String::from_utf8_lossy(&bytes)).map_err(Unknown::from)
    });
    match parsed {
        Ok(value) => Reading::known(value, source),
        Err(why) => Reading::Unknown { source, why },
    }
}

/// Every question whose answer is recorded; those about services come after the service order.
pub(super) fn queries(request: &Request) -> Vec<Query> {
    let mut queries = vec![
        Query::ServiceOrder,
        Query::HardwarePorts,
        Query::Ifconfig,
        Query::Thunderbolt,
        Query::Routes,
        Query::InternetSharing,
        Query::Preferences,
        Query::OsVersion,
        Query::Preferred,
        Query::Firewall,
        Query::RdmaStatus,
        Query::RdmaDevices,
        Query::ExoDaemon,
        Query::LocalNetworkLog,
    ];
    queries.extend(request.peers.iter().map(|peer| Query::RouteGet(*peer)));
    queries
}

/// Every answer as it is recorded, by the name of its file.
pub(super) fn answers(
    asked: &dyn Answer,
    request: &Request,
) -> Vec<(String, Result<Vec<u8>, Unknown>)> {
    let mut queries = queries(request);
    if let Reading::Known { value, .. } = services(asked, Depth::OrderOnly) {
        let with_device = value.into_iter().filter(|service| service.device.is_some());
        queries.extend(with_device.map(|service| Query::ServiceInfo(service.name)));
    }
    thread::scope(|scope| {
        let waiting: Vec<_> =
            queries.iter().map(|query| scope.spawn(|| reduced(asked, query))).collect();
        queries
            .iter()
            .zip(waiting)
            .map(|(query, answer)| {
                let answer = answer.join().unwrap_or_else(|_| {
                    Err(Unknown::Failed { detail: "the reader panicked".into() })
                });
                (query.recorded_as(), answer)
            })
            .collect()
    })
}

/// A property list holds far more than a check reads: only that is kept.
fn reduced(asked: &dyn Answer, query: &Query) -> Result<Vec<u8>, Unknown> {
    let bytes = asked.answer(query)?;
    match query {
        Query::InternetSharing => Ok(parse::nat::write(&parse::nat::parse(&bytes)?)),
        Query::Preferences => Ok(parse::preferences::write(&parse::preferences::parse(&bytes)?)),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests;
