//! `tbbench serve`: the other end of every measurement.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use exo_transport::{Event, QueuePair};

use crate::{
    exercise::{ServedError, Side},
    link::{LISTEN_PORT, LinkArgs, Node},
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
    /// Port to listen on.
    #[arg(long, value_name = "PORT", default_value_t = LISTEN_PORT)]
    listen: u16,
    /// End after one measurement, and fail if it failed.
    #[arg(long)]
    once: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let node = Node::open(&args.link, args.listen)?;
    let link = node.endpoint.link();
    eprintln!("listening on {} ({}, {})", node.endpoint.local_addr(), link.name(), link.kind());
    loop {
        match node.endpoint.events().recv().context("the transport ended")? {
            Event::Connected { queue_pair } => {
                let addr = queue_pair.peer().addr;
                let served = Side::new(&node.endpoint, queue_pair.clone())
                    .and_then(|mut side| side.serve(PATIENCE));
                if served.is_ok() {
                    let_go(&queue_pair);
                }
                match served {
                    Ok(exercise) => eprintln!("{addr}: {exercise:?} done"),
                    Err(error) if error.is::<ServedError>() && !args.once => {}
                    Err(error) if args.once => return Err(error),
                    Err(error) => eprintln!("{addr}: {error:#}"),
                }
                if args.once {
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
