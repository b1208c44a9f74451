//! `tbnet man [DIR]`

use super::Exit;
use crate::{
    args::ManArgs,
    help,
    output::{Mistake, Output},
};
use exo_netconfig::text::tool;

pub(crate) fn run(args: &ManArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let command = help::command(output.lang());
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        output.raw(&page)?;
        return Ok(Exit::Good);
    };
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .map_err(|error| Mistake {
            text: tool::record_io(folder.display(), error),
            hint: tool::record_io_hint(folder.display()),
        });
    written?;
    Ok(Exit::Good)
}
