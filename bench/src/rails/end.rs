//! One end of the measurement: an endpoint for each link, one set of rails over them. The end that is
//! told of peers sends, the other receives and tells how fast.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use exo_netconfig::InterfaceChoice;
use exo_transport::{
    Event, Identity, Opcode, QueuePair, Rails, RailsCompletion, RailsConfig, Region,
};
use serde::{Deserialize, Serialize};

use crate::link::{EncryptChoice, LinkArgs, Node, Peer};

/// The first link is served here, the others right above.
pub(super) const FIRST_PORT: u16 = 52_430;
/// Messages under way at once.
const UNDER_WAY: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(20);

/// What an end is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[arg(long)]
    cluster_key_file: PathBuf,
    /// Each link, in the order in which they are served.
    #[arg(long, required = true)]
    link: Vec<InterfaceChoice>,
    /// Where the other end is, for each link: this one sends.
    #[arg(long)]
    peer: Vec<SocketAddr>,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    count: u64,
}

/// What the receiving end tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) gbps: f64,
    /// Over each link.
    pub(crate) bytes: Vec<u64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let sends = !args.peer.is_empty();
    ensure!(!sends || args.peer.len() == args.link.len(), "a peer for each link");
    let identity = Identity::generate();
    let open = |(number, interface): (usize, &InterfaceChoice)| {
        // A cable's frames are not sealed, and these stand for cables.
        let link = LinkArgs {
            interface: interface.clone(),
            encrypt: EncryptChoice::Off,
            ..LinkArgs::plain(Some(args.cluster_key_file.clone()))
        };
        let port = if sends { 0 } else { FIRST_PORT + number as u16 };
        Node::open_as(&link, port, identity.clone())
    };
    let nodes = args.link.iter().enumerate().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let mut pairs = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        pairs.push(match args.peer.get(number) {
            Some(peer) => node.connect(Peer(*peer))?,
            None => accepted(node)?,
        });
    }
    let mut pairs = pairs.into_iter();
    let mut rails = Rails::new(RailsConfig::default(), pairs.next().context("a link at least")?);
    pairs.try_for_each(|pair| rails.add(pair))?;
    if sends {
        return send(&mut rails, args);
    }
    println!("{}", serde_json::to_string(&receive(&mut rails, args)?)?);
    Ok(())
}

fn accepted(node: &Node) -> anyhow::Result<QueuePair> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = node.endpoint.events().recv_deadline(deadline);
        if let Event::Connected { queue_pair } = event.context("nobody connects")? {
            return Ok(queue_pair);
        }
    }
}

fn next(rails: &mut Rails, opcode: Opcode) -> anyhow::Result<RailsCompletion> {
    let done = rails.wait(PATIENCE).context("nothing goes on")?;
    done.status.clone()?;
    ensure!(done.opcode == opcode, "{:?} instead of {opcode:?}", done.opcode);
    Ok(done)
}

fn send(rails: &mut Rails, args: &Args) -> anyhow::Result<()> {
    let mut region = Region::pages(args.size);
    region.as_mut_slice().fill(0x5a);
    let slice = region.freeze();
    for number in 0..args.count {
        if number >= UNDER_WAY {
            next(rails, Opcode::Send)?;
        }
        rails.post_send(slice.clone(), 0).map_err(|(error, _)| error)?;
    }
    for _ in 0..UNDER_WAY.min(args.count) {
        next(rails, Opcode::Send)?;
    }
    Ok(())
}

/// Counts from the arrival of the first message, when all is under way, to that of the last.
fn receive(rails: &mut Rails, args: &Args) -> anyhow::Result<Received> {
    for _ in 0..UNDER_WAY {
        rails.post_recv(Region::pages(args.size)).map_err(|(error, _)| error)?;
    }
    let mut first = None;
    for number in 0..args.count {
        let done = next(rails, Opcode::Recv)?;
        ensure!(done.bytes == args.size, "{} of {} bytes", done.bytes, args.size);
        first.get_or_insert_with(Instant::now);
        let region = done.region.context("a receive gives its region back")?;
        if number + UNDER_WAY < args.count {
            rails.post_recv(region).map_err(|(error, _)| error)?;
        }
    }
    let seconds = first.context("no message came")?.elapsed().as_secs_f64();
    let bits = (args.count - 1) as f64 * args.size as f64 * 8.0;
    // The last acknowledgements are still on their way to the sender.
    rails.wait(Duration::from_millis(50));
    let bytes = rails.stats().iter().map(|rail| rail.bytes).collect();
    Ok(Received { gbps: bits / seconds / 1e9, bytes })
}
