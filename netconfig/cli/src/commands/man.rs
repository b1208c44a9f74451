//! `tbnet man [DIR]`

use std::{fs, io, path::Path};

use clap::Command;
use clap_mangen::Man;
use exo_netconfig::text::{Lang, tool, usage};

use super::Exit;
use crate::{
    args::ManArgs,
    help,
    output::{Mistake, Output},
};

pub(crate) fn run(args: &ManArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let lang = output.lang();
    let command = help::command(lang);
    let Some(folder) = &args.folder else {
        output.raw(page(&Man::new(command), lang)?.as_bytes())?;
        return Ok(Exit::Good);
    };
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let written = fs::create_dir_all(folder).and_then(|()| write(&command, folder, lang));
    written.map_err(|error| Mistake {
        hint: tool::record_io_hint_for(folder, &error),
        text: tool::record_io(folder.display(), error),
    })?;
    Ok(Exit::Good)
}

/// A page for the command and each below it.
fn write(command: &Command, folder: &Path, lang: Lang) -> io::Result<()> {
    let man = Man::new(command.clone());
    fs::write(folder.join(man.get_filename()), page(&man, lang)?)?;
    command.get_subcommands().try_for_each(|below| write(below, folder, lang))
}

/// The page with headings from the catalogue. The library that makes it has English ones, and calls
/// what stands behind the options "EXTRA": here these are the examples, with a heading of their own,
/// which then is one too many.
fn page(man: &Man, lang: Lang) -> io::Result<String> {
    let mut page = Vec::new();
    man.render(&mut page)?;
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    let headings = [
        ("NAME", usage::manual_name()),
        ("SYNOPSIS", usage::manual_synopsis()),
        ("DESCRIPTION", usage::manual_description()),
        ("EXTRA", usage::manual_examples()),
        ("VERSION", usage::manual_version()),
    ];
    let mut headed = String::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let heading = line.strip_prefix(".SH ");
        let found = headings.iter().find(|(english, _)| Some(*english) == heading);
        match found {
            Some((_, text)) => headed += &format!(".SH {}\n", text.words(lang)),
            None => headed += &format!("{line}\n"),
        }
        if heading == Some("EXTRA") {
            lines.next_if(|line| line.ends_with(':'));
        }
    }
    Ok(headed)
}
