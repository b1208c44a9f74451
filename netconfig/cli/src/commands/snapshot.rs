//! `tbnet snapshot DIR`

use std::net::IpAddr;

use exo_netconfig::{
    peer::Exchange,
    system::{
        self, Request,
        recorded::{self, Privacy},
    },
    text::tool,
};

use super::{Exit, mistake, peer};
use crate::{
    args::SnapshotArgs,
    output::{Mistake, Output},
};

pub(crate) fn run(args: &SnapshotArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let request = Request { peers: args.peer.iter().map(|peer| peer.ip).collect() };
    let privacy = if args.mask { Privacy::Masked } else { Privacy::AsItIs };
    let exchanges = exchanges(args, &request)?;
    let written = recorded::record(&args.folder, &request, &exchanges, privacy);
    let written = written.map_err(mistake)?;
    let mut missing = 0;
    for recorded in &written {
        let words = match &recorded.left_out {
            None => recorded.file.clone(),
            Some(why) => {
                missing += 1;
                output.words(tool::left_out(&recorded.file, why.text()))
            }
        };
        output.line(&format!("  {words}"))?;
    }
    let count = written.len() - missing;
    let folder = args.folder.display();
    output.say(tool::recorded(count, &folder))?;
    output.say(if args.mask { tool::masked_note() } else { tool::unmasked_note() })?;
    output.say(tool::judge_it(&folder))?;
    Ok(if count == 0 { Exit::CouldNotCheck } else { Exit::Good })
}

/// What the first peer says of its end, with the others as further machines.
fn exchanges(args: &SnapshotArgs, request: &Request) -> Result<Vec<(IpAddr, Exchange)>, Mistake> {
    if args.peer.is_empty() {
        return Ok(Vec::new());
    }
    let snapshot = system::collect(request);
    let talk = peer::talk(&snapshot, &args.interface, &args.peer, &args.peers)?;
    Ok(talk.into_iter().map(|exchange| (args.peer[0].ip, exchange)).collect())
}
