//! `--help`, manual pages and completions in the user's language.
//!
//! `args` carries the English words, for whoever reads the code; the catalogue has both languages.
//! The tests compare the two and see to it that nothing is left out.

use clap::{Command, CommandFactory as _};
use exo_netconfig::text::{Lang, Text, help};

use crate::args::Args;

/// The program's arguments, described in `lang`.
pub(crate) fn command(lang: Lang) -> Command {
    let command = Args::command();
    match lang {
        Lang::En => command,
        other => localised(command, other, ""),
    }
}

/// The language to describe the arguments in, before they are understood: `--lang ko`,
/// `--lang=ko`, else that of the locale.
pub(crate) fn lang_typed() -> Lang {
    let mut typed = std::env::args().skip(1);
    while let Some(word) = typed.next() {
        let code = match word.split_once('=') {
            Some(("--lang", code)) => Some(code.to_owned()),
            _ if word == "--lang" => typed.next(),
            _ => None,
        };
        if let Some(lang) = code.and_then(|code| code.parse().ok()) {
            return lang;
        }
    }
    Lang::of_environment()
}

fn localised(command: Command, lang: Lang, path: &str) -> Command {
    let words = |text: &Text| text.words(lang).to_owned();
    let mut command = command;
    if let Some(about) = about(path) {
        command = command.about(words(&about));
    }
    if let Some(examples) = examples(path) {
        command = command.after_help(words(&examples));
    }
    let ids: Vec<String> = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
    for id in ids {
        if let Some(text) = argument(path, &id) {
            command = command.mut_arg(id, |arg| arg.help(words(&text)));
        }
    }
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(&name, |below| localised(below, lang, &name));
    }
    command
}

/// What a command is for; the program itself has the empty name.
fn about(command: &str) -> Option<Text> {
    Some(match command {
        "" => help::tbnet(),
        "check" => help::check(),
        "setup" => help::setup(),
        "show" => help::show(),
        "snapshot" => help::snapshot(),
        "serve" => help::serve(),
        "watch" => help::watch(),
        "ping" => help::ping(),
        "completions" => help::completions(),
        "man" => help::man(),
        _ => return None,
    })
}

fn examples(command: &str) -> Option<Text> {
    Some(match command {
        "" => help::tbnet_examples(),
        "check" => help::check_examples(),
        "setup" => help::setup_examples(),
        "show" => help::show_examples(),
        "snapshot" => help::snapshot_examples(),
        "serve" => help::serve_examples(),
        "watch" => help::watch_examples(),
        "ping" => help::ping_examples(),
        _ => return None,
    })
}

fn argument(command: &str, id: &str) -> Option<Text> {
    Some(match (command, id) {
        (_, "lang") => help::lang(),
        ("check", "peer") => help::check_peer(),
        ("check", "interface") => help::check_interface(),
        ("check", "from") => help::check_from(),
        ("show", "peer") => help::show_peer(),
        ("show", "from") => help::show_from(),
        ("snapshot", "interface") => help::snapshot_interface(),
        ("serve", "interface") => help::serve_interface(),
        (_, "port") => help::peers_port(),
        (_, "cluster_key_file") => help::peers_key(),
        (_, "data") => help::peers_data(),
        ("watch", "interface") => help::watch_interface(),
        ("watch", "seconds") => help::watch_for(),
        ("watch", "json") => help::watch_json(),
        ("ping", "peer") => help::ping_peer(),
        ("ping", "interface") => help::ping_interface(),
        ("ping", "versus") => help::ping_versus(),
        ("ping", "versus_peer") => help::ping_versus_peer(),
        ("ping", "count") => help::ping_count(),
        ("ping", "size") => help::ping_size(),
        ("ping", "interval_ms") => help::ping_interval(),
        ("setup", "dry_run") => help::setup_dry_run(),
        ("setup", "undo") => help::setup_undo(),
        ("setup", "yes") => help::setup_yes(),
        ("setup", "interface") => help::setup_interface(),
        ("setup", "peer") => help::setup_peer(),
        ("setup", "address") => help::setup_address(),
        ("setup", "mtu") => help::setup_mtu(),
        ("setup", "per_port") => help::setup_per_port(),
        ("setup", "from") => help::setup_from(),
        ("setup", "state") => help::setup_state(),
        (_, "json") => help::json(),
        ("snapshot", "folder") => help::snapshot_folder(),
        ("snapshot", "peer") => help::snapshot_peer(),
        ("snapshot", "mask") => help::snapshot_mask(),
        ("completions", "shell") => help::completions_shell(),
        ("man", "folder") => help::man_folder(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// English of the catalogue and of `args` is the same, and everything has Korean words.
    fn compare(command: &Command, path: &str) {
        let styled = |text: Option<&clap::builder::StyledStr>| {
            text.map(ToString::to_string).unwrap_or_default()
        };
        let english = |text: Option<Text>, what: &str| {
            let text = text.unwrap_or_else(|| panic!("{path} {what}: not in the catalogue"));
            text.words(Lang::En).to_owned()
        };
        assert_eq!(styled(command.get_about()), english(about(path), "about"));
        if let Some(after) = command.get_after_help() {
            assert_eq!(after.to_string(), english(examples(path), "examples"));
        }
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            assert_eq!(styled(arg.get_help()), english(argument(path, id), id), "{path} {id}");
        }
        for below in command.get_subcommands() {
            compare(below, below.get_name());
        }
    }

    #[test]
    fn the_catalogue_describes_every_argument() {
        compare(&Args::command(), "");
    }
}
