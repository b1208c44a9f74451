//! `tbnet snapshot DIR`

use exo_netconfig::{
    system::{
        Request,
        recorded::{self, Privacy},
    },
    text::tool,
};

use super::{Exit, mistake};
use crate::{args::SnapshotArgs, output::Output};

pub(crate) fn run(args: &SnapshotArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let request = Request { peers: args.peer.iter().map(|peer| peer.ip).collect() };
    let privacy = if args.mask { Privacy::Masked } else { Privacy::AsItIs };
    let written = recorded::record(&args.folder, &request, privacy).map_err(mistake)?;
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
