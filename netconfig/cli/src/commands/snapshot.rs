//! `tbnet snapshot DIR`

use exo_netconfig::system::{Request, recorded};

use super::Exit;
use crate::{
    args::SnapshotArgs,
    output::{Hint, Output},
};

pub(crate) fn run(args: &SnapshotArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let request = Request { peers: args.peer.clone() };
    let written = recorded::record(&args.folder, &request).map_err(|error| {
        let hint = Hint(error.hint());
        anyhow::Error::new(error).context(hint)
    })?;
    let mut missing = 0;
    for recorded in &written {
        match &recorded.left_out {
            None => output.line(&format!("  {}", recorded.file))?,
            Some(why) => {
                missing += 1;
                output.line(&format!("  {}: left out, {why}", recorded.file))?;
            }
        }
    }
    let count = written.len() - missing;
    output.line(&format!("{count} answers recorded in {}", args.folder.display()))?;
    output.line(&format!("judge it anywhere: tbnet check --from {}", args.folder.display()))?;
    Ok(if count == 0 { Exit::CouldNotCheck } else { Exit::Good })
}
