//! `tbnet serve`

use std::time::{Duration, Instant};

use exo_exchange::{Served, serve};
use exo_netconfig::{Link, Snapshot, system};

use super::{Exit, peer};
use crate::{
    args::ServeArgs,
    output::{Hint, Output},
};

/// A peer that asks twenty times to measure the way is told the same within this time.
const FRESH: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &ServeArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let link = Link::open(&args.interface).map_err(|error| {
        let hint = Hint(error.hint());
        anyhow::Error::new(error).context(hint)
    })?;
    let name = link.name().to_owned();
    let endpoint = peer::endpoint(link.clone(), args.peers.port, &args.peers)?;
    output.line(&words::listening(&endpoint.local_addr().to_string(), &name, link.kind()))?;
    let mut last: Option<(Instant, Snapshot)> = None;
    let facts = || {
        if last.as_ref().is_none_or(|(asked, _)| asked.elapsed() > FRESH) {
            last = Some((Instant::now(), system::collect(&system::Request::default())));
        }
        peer::own_facts(&last.as_ref()?.1, &name)
    };
    serve(&endpoint, None, facts, |event| {
        let text = match event {
            Served::Connected(peer) => words::connected(&peer.name, &peer.addr.to_string()),
            Served::Gone(peer) => words::gone(&peer.name),
            Served::Refused(why) => words::refused(&why),
            Served::Answered(_) => return,
        };
        // Nobody reads any more: answering goes on.
        let _ = output.line(&text);
    });
    Ok(Exit::Good)
}

/// Every word that `tbnet serve` says.
mod words {
    use exo_netconfig::LinkKind;

    pub(super) fn listening(addr: &str, interface: &str, kind: LinkKind) -> String {
        format!(
            "answering on {addr} ({interface}, {kind}); on the other machine: tbnet check --peer {}",
            addr.rsplit_once(':').map_or(addr, |(ip, _)| ip)
        )
    }

    pub(super) fn connected(name: &str, addr: &str) -> String {
        format!("{name} at {addr} is here")
    }

    pub(super) fn gone(name: &str) -> String {
        format!("{name} is gone")
    }

    pub(super) fn refused(why: &str) -> String {
        format!("refused: {why}")
    }
}
