//! Reaching over the link: what a peer says of its end, and how long packets take.

use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use exo_exchange::{AskOptions, ask};
use exo_netconfig::{
    InterfaceChoice, Link, Snapshot,
    check::{Finding, Heard, Silence, compare},
    facts::Facts,
    rtt::{Rtt, Way},
    system::icmp::{self, Echo},
};
use exo_transport::{ClusterKey, Endpoint, EndpointConfig, Identity, Trust};

use crate::{args::PeerArgs, output::Hint};

/// Bound on asking one peer.
const ASK_LIMIT: Duration = Duration::from_secs(4);
/// Echoes that stand in for a peer that does not answer.
const ECHOES: u32 = 10;
/// Bound on each.
const ECHO_LIMIT: Duration = Duration::from_millis(500);

/// Program and version, as peers hear it.
pub(crate) const SOFTWARE: &str = concat!("tbnet/", env!("CARGO_PKG_VERSION"));

/// What people call this machine, without a domain.
pub(crate) fn name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    match name.as_deref().and_then(|name| name.split('.').next()) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "this machine".to_owned(),
    }
}

/// What there is to say of this end of the link.
pub(crate) fn own_facts(snapshot: &Snapshot, interface: &str) -> Option<Facts> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Facts::of(snapshot, interface, &name(), SOFTWARE, clock_ms)
}

/// An endpoint on the link that believes whom exo-node believes.
pub(crate) fn endpoint(link: Link, listen: u16, args: &PeerArgs) -> anyhow::Result<Endpoint> {
    let (identity, trust) = match &args.cluster_key_file {
        // Who knows the key is believed whoever it is: with a name of its own this does not stand
        // in the way of this machine's exo-node.
        Some(file) => (Identity::generate(), Trust::ClusterKey(ClusterKey::from_file(file)?)),
        None => {
            let data = data_folder(args)?;
            let store = data.join("pinned-peer");
            (Identity::load_or_create(&data.join("identity.key"))?, Trust::FirstUse { store })
        }
    };
    let config =
        EndpointConfig { listen, software: SOFTWARE.into(), ..EndpointConfig::new(name(), trust) };
    Ok(Endpoint::open(link, identity, config)?)
}

fn data_folder(args: &PeerArgs) -> anyhow::Result<PathBuf> {
    match &args.data {
        Some(folder) => Ok(folder.clone()),
        None => directories::ProjectDirs::from("", "", "exo-node")
            .map(|dirs| dirs.data_dir().to_owned())
            .context(Hint("name a folder with --data or EXO_DATA".into()))
            .context("this user has no home folder"),
    }
}

/// Asks the peer; measures by ICMP if it does not answer.
pub(crate) fn hear(choice: &InterfaceChoice, peer: IpAddr, args: &PeerArgs) -> Heard {
    let silent = |silence| Heard { peer, said: Err(silence), rtt: None };
    let link = match Link::open(choice) {
        Ok(link) => link,
        Err(error) => return silent(Silence::NotAsked(error.to_string())),
    };
    // Nothing would leave by this link, and every wait would be in vain.
    if link.addresses().iter().any(|net| net.addr() == peer) {
        return silent(Silence::NotAsked(format!("{peer} is this machine's own address")));
    }
    if !link.contains(peer) {
        let name = link.name();
        return silent(Silence::NotAsked(format!("{peer} is in no subnet of {name}")));
    }
    let silence = match endpoint(link.clone(), 0, args) {
        Err(error) => Silence::NotAsked(format!("{error:#}")),
        Ok(endpoint) => {
            let options = AskOptions { limit: ASK_LIMIT, ..AskOptions::default() };
            let answer = ask(&endpoint, link.peer_addr(peer, args.port), &options);
            endpoint.close();
            match answer {
                Ok(answer) => return Heard { peer, said: Ok(answer.facts), rtt: answer.rtt },
                Err(error) => Silence::Asked(error.to_string()),
            }
        }
    };
    match echoes(&link, peer) {
        Ok(rtt) => Heard { peer, said: Err(silence), rtt },
        // Without the right to echo nothing can be said either way.
        Err(error) => silent(Silence::NotAsked(format!("{error}; hint: {}", error.hint()))),
    }
}

fn echoes(link: &Link, peer: IpAddr) -> Result<Option<Rtt>, icmp::EchoError> {
    let mut echo = Echo::open(link, peer, icmp::PAYLOAD_MIN)?;
    let (mut times, mut lost) = (Vec::new(), 0);
    for _ in 0..ECHOES {
        match echo.once(ECHO_LIMIT)? {
            Some(time) => times.push(time),
            None => lost += 1,
        }
        // Nobody is there: ten waits would tell no more than three.
        if times.is_empty() && lost == 3 {
            break;
        }
    }
    Ok(Rtt::of(Way::Icmp, &times, lost))
}

/// What the peer at the other end of `interface` says, laid beside what this machine says.
pub(crate) fn findings(snapshot: &Snapshot, interface: &str, heard: &Heard) -> Vec<Finding> {
    own_facts(snapshot, interface).map(|own| compare(&own, heard)).unwrap_or_default()
}
