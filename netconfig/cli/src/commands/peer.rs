//! Reaching over the link: what a peer says of its end, and how long packets take.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use exo_exchange::{AskOptions, Hold, ask, hold};
use exo_netconfig::{
    InterfaceChoice, Link, LinkKind, Snapshot,
    check::Expectation,
    peer::{Contact, EndReport, Exchange, Identity as Named, LargeEcho, RoundTrips, Silence},
    quoted,
    rtt::Rtt,
    system::{
        self,
        icmp::{self, Echo},
        recorded,
    },
    text::{Text, live as say},
};
use exo_transport::{
    ClusterKey, Endpoint, EndpointConfig, Identity, KeyFileError, OpenError, Trust,
};

use super::mistake;
use crate::{
    args::{PeerAddress, PeerArgs},
    output::Mistake,
};

/// Echoes that stand in for a peer that does not answer.
const ECHOES: u32 = 10;
/// Nobody is there: ten waits would tell no more than these.
const SILENT_MAX: usize = 3;
/// Bound on each.
const ECHO_LIMIT: Duration = Duration::from_millis(500);

/// Program and version, as peers hear it.
const SOFTWARE: &str = concat!("tbnet/", env!("CARGO_PKG_VERSION"));

/// Adds what talking to the peers brings: now, or when a set was recorded.
pub(crate) fn add_exchange(
    expectation: &mut Expectation,
    snapshot: &mut Snapshot,
    from: Option<&Path>,
    peers: &[PeerAddress],
    args: &PeerArgs,
) -> anyhow::Result<()> {
    let Some(peer) = peers.first() else { return Ok(()) };
    let exchange = match from {
        Some(folder) => {
            let recorded = recorded::exchange(folder, peer.ip).map_err(mistake)?;
            recorded.unwrap_or_else(|| unasked(Silence::NotRecorded))
        }
        None => {
            let talk = talk(snapshot, &expectation.interface, peers, args)?;
            let Some(exchange) = talk else { return Ok(()) };
            if matches!(exchange.contact, Contact::Silent { why: Silence::HostUnreachable, .. }) {
                system::ask_refusals_again(snapshot);
            }
            exchange
        }
    };
    expectation.own = exchange.own;
    expectation.contact = Some(exchange.contact);
    expectation.others = exchange.others;
    expectation.silent_others = exchange.silent_others;
    Ok(())
}

fn unasked(why: Silence) -> Exchange {
    let contact = Contact::Silent { why, round_trips: None, large_echo: None, system_ping: None };
    Exchange { own: None, contact, others: Vec::new(), silent_others: Vec::new() }
}

/// Asks the peer, then the others; measures the way to the peer by ICMP if it does not answer. The
/// first of `peers` is the peer.
///
/// # Errors
/// If a file of this machine stands in the way: that is no fault of the peer's.
pub(crate) fn talk(
    snapshot: &Snapshot,
    choice: &InterfaceChoice,
    peers: &[PeerAddress],
    args: &PeerArgs,
) -> Result<Option<Exchange>, Mistake> {
    let Some((peer, others)) = peers.split_first() else { return Ok(None) };
    let link = match Link::from_snapshot(snapshot, &peer.narrow(choice)) {
        Ok(link) => link,
        Err(error) => {
            return Ok(Some(unasked(Silence::LinkUnusable { detail: error.to_string() })));
        }
    };
    let is_on_link =
        |ip: IpAddr| link.contains(ip) && link.addresses().iter().all(|own| own.addr() != ip);
    // Nothing is opened for those who cannot be asked.
    if !peers.iter().any(|peer| is_on_link(peer.ip)) {
        let off = others.iter().map(|other| (other.ip, Silence::NotOnLink));
        let silent_others = off.collect();
        return Ok(Some(Exchange { silent_others, ..unasked(Silence::NotOnLink) }));
    }
    let voice = match Voice::open(&link, 0, args) {
        Err(NoVoice::Files(mistake)) => return Err(mistake),
        voice => voice,
    };
    let reach = |ip: IpAddr| match is_on_link(ip) {
        true => hear(&voice, &link, ip, args.port),
        false => Err(Silence::NotOnLink),
    };
    let name = voice.as_ref().map(|voice| voice.name.clone()).unwrap_or_else(|_| named(None));
    let own = EndReport::of(snapshot, link.name(), name, SystemTime::now());
    let mut contact = reach(peer.ip).unwrap_or_else(|why| {
        let round_trips = (why != Silence::NotOnLink).then(|| echoes(&link, peer.ip)).flatten();
        let is_there = round_trips.as_ref().is_some_and(|trips| trips.count > 0);
        let large_echo = is_there.then(|| large_echo(&link, peer.ip)).flatten();
        let system_ping = (why == Silence::HostUnreachable && !is_there)
            .then(|| icmp::by_system(&link, peer.ip, ECHO_LIMIT))
            .flatten();
        Contact::Silent { why, round_trips, large_echo, system_ping }
    });
    if let Contact::Answered { large_echo: echo, .. } = &mut contact {
        *echo = large_echo(&link, peer.ip);
    }
    let (mut reports, mut silent_others) = (Vec::new(), Vec::new());
    for other in others.iter().map(|other| other.ip) {
        match reach(other) {
            Ok(Contact::Answered { report, .. }) => reports.push(*report),
            Ok(Contact::Silent { why, .. }) | Err(why) => silent_others.push((other, why)),
        }
    }
    Ok(Some(Exchange { own: Some(own), contact, others: reports, silent_others }))
}

fn hear(
    voice: &Result<Voice, NoVoice>,
    link: &Link,
    peer: IpAddr,
    port: u16,
) -> Result<Contact, Silence> {
    let voice = match voice {
        Ok(voice) => voice,
        Err(NoVoice::KeyNeeded) => return Err(Silence::KeyNeeded),
        Err(NoVoice::NodeRuns) => return Err(Silence::NodeRuns),
        // No word of the peer's: it was not asked.
        Err(NoVoice::Files(mistake) | NoVoice::Link(mistake)) => {
            return Err(Silence::LinkUnusable { detail: mistake.to_string() });
        }
    };
    let addr = link.peer_addr(peer, port);
    let answer = ask(&voice.endpoint, addr, &AskOptions::default());
    let answer = answer.map_err(|error| error.silence())?;
    Ok(Contact::Answered {
        report: Box::new(answer.report),
        round_trips: answer.rtt.map(|rtt| rtt.round_trips("transport")),
        clock_ahead_ms: Some(answer.clock_ahead_ms),
        large_echo: None,
    })
}

/// `None` if this user may not echo: nothing can be said then.
fn echoes(link: &Link, peer: IpAddr) -> Option<RoundTrips> {
    let mut echo = Echo::open(link, peer, icmp::PAYLOAD_MIN).ok()?;
    let (mut times, mut lost) = (Vec::new(), 0);
    for _ in 0..ECHOES {
        match echo.once(ECHO_LIMIT).ok()? {
            Some(time) => times.push(time),
            None => lost += 1,
        }
        if times.is_empty() && lost == SILENT_MAX {
            break;
        }
    }
    let silent = RoundTrips {
        by: "icmp".to_owned(),
        count: 0,
        lost: u32::try_from(lost).unwrap_or(u32::MAX),
        p50_us: 0,
        p99_us: 0,
    };
    Some(Rtt::of(&times, lost).map_or(silent, |rtt| rtt.round_trips("icmp")))
}

/// One as large as the link's largest packet, a few times: two ends with different MTUs lose just
/// those. `None` if no such packet can be sent.
fn large_echo(link: &Link, peer: IpAddr) -> Option<LargeEcho> {
    let (echo, bytes) = Echo::of_largest_packet(link, peer)?;
    let mut echo = echo.ok()?;
    let mut came_back = false;
    for _ in 0..SILENT_MAX {
        came_back = echo.once(ECHO_LIMIT).ok()?.is_some();
        if came_back {
            break;
        }
    }
    Some(LargeEcho { bytes, came_back })
}

/// An endpoint on the link that believes whom exo-node believes.
pub(crate) struct Voice {
    pub(crate) endpoint: Endpoint,
    /// Who this machine says it is.
    pub(crate) name: Named,
    _hold: Option<Hold>,
}

/// Why there is none.
pub(crate) enum NoVoice {
    KeyNeeded,
    /// Another program speaks under this machine's own key.
    NodeRuns,
    /// A file of this machine's: the key of the cluster or its own.
    Files(Mistake),
    /// The link does not bear a connection.
    Link(Mistake),
}

impl NoVoice {
    /// For a command that can do nothing without it.
    pub(crate) fn mistake(self, link: &Link) -> Mistake {
        match self {
            Self::KeyNeeded => {
                let why = exo_netconfig::text::peers::silent_key_needed();
                Mistake { text: say::cannot_open(link.name(), why), hint: say::key_needed_do() }
            }
            Self::NodeRuns => {
                let why = say::already_answers();
                Mistake { text: say::cannot_open(link.name(), why), hint: say::port_in_use_do() }
            }
            Self::Files(mistake) | Self::Link(mistake) => mistake,
        }
    }
}

impl Voice {
    /// Listens on `listen`, or on any port that is free if it is 0.
    pub(crate) fn open(link: &Link, listen: u16, args: &PeerArgs) -> Result<Self, NoVoice> {
        // Before any file is written: nobody can be asked over such a link.
        if args.cluster_key_file.is_none() && link.kind() != LinkKind::Thunderbolt {
            return Err(NoVoice::KeyNeeded);
        }
        let words = |error: &dyn std::fmt::Display, hint: Text| {
            let text = say::cannot_open(link.name(), error.to_string());
            Mistake { text, hint }
        };
        let files =
            |error: &dyn std::fmt::Display| NoVoice::Files(words(error, say::look_at_files_do()));
        let folder = data_folder(args);
        let key_file = folder.as_ref().map(|folder| folder.join("identity.key"));
        let own = key_file.as_ref().map(|file| Identity::load_or_create(file));
        let own =
            own.transpose().map_err(|error| NoVoice::Files(spoilt(&error, say::key_own_do)))?;
        let name = named(own.as_ref());
        let (identity, trust, hold) = match (&args.cluster_key_file, folder, key_file, own) {
            // Who knows the key is believed whoever it is: with a key of its own this does not stand
            // in the way of this machine's exo-node.
            (Some(file), ..) => {
                let key = ClusterKey::from_file(file);
                let key = key.map_err(|error| NoVoice::Files(spoilt(&error, say::key_make_do)))?;
                (Identity::generate(), Trust::ClusterKey(key), None)
            }
            (None, Some(folder), Some(file), Some(own)) => {
                let held = hold(&file).map_err(|error| files(&error))?;
                let hold = held.ok_or(NoVoice::NodeRuns)?;
                (own, Trust::FirstUse { store: folder.join("pinned-peer") }, Some(hold))
            }
            _ => {
                let (text, hint) = (say::no_home(), say::no_home_do());
                return Err(NoVoice::Files(Mistake { text, hint }));
            }
        };
        let config = EndpointConfig {
            listen,
            software: SOFTWARE.into(),
            ..EndpointConfig::new(&name.name, trust)
        };
        let endpoint = Endpoint::open(link.clone(), identity, config);
        let endpoint = endpoint.map_err(|error| match error {
            OpenError::PortInUse { .. } => NoVoice::NodeRuns,
            other => NoVoice::Link(words(&other, say::look_at_link_do())),
        })?;
        Ok(Self { endpoint, name, _hold: hold })
    }
}

/// What is wrong with a key's file, in the reader's language; `anew` says how to get another key.
fn spoilt(error: &KeyFileError, anew: fn(String) -> Text) -> Mistake {
    // As a shell wants it.
    let path = |path: &Path| quoted(&path.display().to_string());
    match error {
        KeyFileError::Missing { path: file } => {
            Mistake { text: say::key_missing(path(file)), hint: anew(path(file)) }
        }
        KeyFileError::Mode { path: file, mode } => Mistake {
            text: say::key_mode(path(file), format!("{mode:03o}")),
            hint: say::key_mode_do(path(file)),
        },
        KeyFileError::Malformed { path: file } => {
            Mistake { text: say::key_malformed(path(file)), hint: anew(path(file)) }
        }
        KeyFileError::Io { path: file, source, .. } => {
            Mistake { text: say::key_unreadable(path(file), source), hint: say::look_at_files_do() }
        }
        other => Mistake { text: Text::verbatim(other), hint: say::look_at_files_do() },
    }
}

fn data_folder(args: &PeerArgs) -> Option<PathBuf> {
    args.data.clone().or_else(|| {
        let dirs = directories::ProjectDirs::from("", "", "exo-node")?;
        Some(dirs.data_dir().to_owned())
    })
}

/// Who this machine is: by its own key if it has one, and by what people call it, without a domain.
fn named(own: Option<&Identity>) -> Named {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let name = host.as_deref().and_then(|name| name.split('.').next()).unwrap_or_default();
    let name = if name.is_empty() { "tbnet" } else { name };
    Named {
        machine: own.map_or_else(|| name.to_owned(), |own| own.node_id().to_string()),
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, path::Path, thread};

    use exo_netconfig::snapshot::{Address, Driver, Interface, Platform, Reading, Source};

    use super::*;

    /// `lo`, said by a snapshot to be a cable or not: what no namespace can show.
    fn lo(driver: &str) -> Link {
        let source = Source::new("a test");
        let interface = Interface {
            name: "lo".into(),
            index: NonZeroU32::new(1),
            up: Some(true),
            carrier: Some(true),
            mtu: Some(65_536),
            addresses: Some(vec![Address::new("127.0.0.1/8".parse().unwrap())]),
            driver: Some(Driver { name: driver.into(), source: source.clone() }),
            ..Interface::default()
        };
        let mut snapshot = Snapshot::empty(Platform::Linux);
        snapshot.interfaces = Reading::known(vec![interface], source);
        Link::from_snapshot(&snapshot, &InterfaceChoice::Named("lo".into())).unwrap()
    }

    fn args(data: &Path) -> PeerArgs {
        PeerArgs { port: 0, cluster_key_file: None, data: Some(data.to_owned()) }
    }

    #[test]
    fn a_cable_needs_no_key_and_the_first_peer_is_remembered() {
        let folders = [0; 3].map(|_| tempfile::tempdir().unwrap());
        let [us, them, stranger] = folders.each_ref().map(|folder| args(folder.path()));
        let cable = lo("thunderbolt-net");
        let serving = Voice::open(&cable, 0, &them).ok().unwrap();
        let port = serving.endpoint.local_addr().port();
        thread::spawn(move || {
            let mut reporter = exo_exchange::Reporter::new(serving.name.clone());
            let own = |number| reporter.report("lo", number);
            exo_exchange::serve(&serving.endpoint, None, own, |_| {});
        });
        let ask = |args: &PeerArgs| {
            let voice = Voice::open(&cable, 0, args);
            hear(&voice, &cable, "127.0.0.1".parse().unwrap(), port)
        };
        for _ in 0..2 {
            let contact = ask(&us).unwrap();
            assert!(
                matches!(&contact, Contact::Answered { report, .. } if report.interface == "lo")
            );
        }
        let refused = ask(&stranger);
        assert!(matches!(refused, Err(Silence::NotTrusted { .. })), "{refused:?}");
    }

    #[test]
    fn beside_a_node_that_runs_nothing_is_opened_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (cable, args) = (lo("thunderbolt-net"), args(folder.path()));
        let node = Voice::open(&cable, 0, &args).ok().unwrap();
        let second = Voice::open(&cable, 0, &args);
        assert!(matches!(second, Err(NoVoice::NodeRuns)));
        let heard = hear(&second, &cable, "127.0.0.1".parse().unwrap(), 1);
        assert_eq!(heard, Err(Silence::NodeRuns));
        drop(node);
        assert!(Voice::open(&cable, 0, &args).is_ok());
    }

    #[test]
    fn what_is_no_cable_needs_the_clusters_key() {
        let folder = tempfile::tempdir().unwrap();
        let by_hand = lo("ixgbe");
        let voice = Voice::open(&by_hand, 0, &args(folder.path()));
        assert!(matches!(voice, Err(NoVoice::KeyNeeded)));
        // And nothing is written for it.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
