//! `tbbench serve`: the other end of every measurement.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use exo_netconfig::InterfaceChoice;
use exo_transport::{Event, QueuePair};

use crate::{
    exercise::{
        ServedError, Side,
        meeting::{Door, Meeting},
    },
    link::{LISTEN_PORT, LinkArgs, Mode, Node},
    machine::Machine,
};

/// How long a client that is connected may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a client that was served may stay.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(5);

/// What `tbbench serve` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    link: LinkArgs,
    /// Another link to listen on, for `tbbench versus`. May be given again.
    #[arg(long, value_name = "NAME")]
    also: Vec<InterfaceChoice>,
    /// Port to listen on.
    #[arg(long, value_name = "PORT", default_value_t = LISTEN_PORT)]
    listen: u16,
    /// End after one measurement, and fail if it failed.
    #[arg(long, conflicts_with = "also")]
    once: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let node = Node::open(&args.link, args.listen)?;
    if args.once {
        let meeting = Meeting { doors: Vec::new(), machine: Machine::this() };
        return serve(&node, &meeting, true);
    }
    // Each link is there both ways of waiting: a client asks which door is which.
    let mut nodes = vec![(node, args.link.mode)];
    for mode in [Mode::Wait, Mode::Spin].into_iter().filter(|mode| *mode != args.link.mode) {
        nodes.push((open(args, &args.link.interface, mode)?, mode));
    }
    for also in &args.also {
        for mode in [Mode::Wait, Mode::Spin] {
            nodes.push((open(args, also, mode)?, mode));
        }
    }
    let doors = nodes.iter().map(|(node, mode)| door(node, *mode)).collect();
    let meeting = Arc::new(Meeting { doors, machine: Machine::this() });
    let threads = nodes.into_iter().map(|(node, _)| {
        let meeting = Arc::clone(&meeting);
        std::thread::Builder::new().name("door".into()).spawn(move || serve(&node, &meeting, false))
    });
    // Each serves until the program is ended: the first that cannot ends it.
    for thread in threads.collect::<Result<Vec<_>, _>>()? {
        thread.join().map_err(|_| anyhow::anyhow!("a thread that serves died"))??;
    }
    Ok(())
}

fn open(args: &Args, interface: &InterfaceChoice, mode: Mode) -> anyhow::Result<Node> {
    let link = LinkArgs { interface: interface.clone(), mode, ..args.link.clone() };
    Node::open(&link, 0).with_context(|| format!("{interface} cannot be served"))
}

fn door(node: &Node, mode: Mode) -> Door {
    let (link, port) = (node.endpoint.link(), node.endpoint.local_addr().port());
    let addresses = link.addresses().iter().map(|net| SocketAddr::new(net.addr(), port)).collect();
    Door { interface: link.name().into(), addresses, mode }
}

fn serve(node: &Node, meeting: &Meeting, once: bool) -> anyhow::Result<()> {
    let link = node.endpoint.link();
    eprintln!("listening on {} ({}, {})", node.endpoint.local_addr(), link.name(), link.kind());
    loop {
        match node.endpoint.events().recv().context("the transport ended")? {
            Event::Connected { queue_pair } => {
                let addr = queue_pair.peer().addr;
                let served = Side::new(&node.endpoint, queue_pair.clone())
                    .and_then(|mut side| side.serve(PATIENCE, meeting));
                if served.is_ok() {
                    let_go(&queue_pair);
                }
                match served {
                    Ok(exercise) => eprintln!("{addr}: {exercise:?} done"),
                    Err(error) if error.is::<ServedError>() && !once => {}
                    Err(error) if once => return Err(error),
                    Err(error) => eprintln!("{addr}: {error:#}"),
                }
                if once {
                    return Ok(());
                }
            }
            Event::Refused { addr, error } => eprintln!("{addr} was refused: {error}"),
            _ => {}
        }
    }
}

/// The client hangs up when it has heard everything: to go before it would cut it short.
fn let_go(pair: &QueuePair) {
    let deadline = Instant::now() + GOODBYE_PATIENCE;
    while pair.is_open() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}
