//! `--help`, manual pages and completions in the user's language.
//!
//! `args` carries the English words, for whoever reads the code; the catalogue has both languages.
//! The tests compare the two and see to it that nothing is left out. clap's own words (headings,
//! defaults, `--help` itself) are the catalogue's as well.

use std::env;

use clap::{Arg, ArgAction, Command, CommandFactory as _, builder::PossibleValue};
use exo_netconfig::text::{Lang, Text, help, usage};

use crate::args::Args;

/// The program's arguments, described in `lang`.
pub(crate) fn command(lang: Lang) -> Command {
    let words = |text: Text| text.words(lang).to_owned();
    let version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
    localised(Args::command(), lang, "")
        .disable_version_flag(true)
        .arg(version.help(words(usage::print_version())).help_heading(words(usage::options())))
}

/// The language to describe the arguments in, before they are understood: `--lang ko`,
/// `--lang=ko`, else that of the locale.
pub(crate) fn lang_typed() -> Lang {
    // What is not UTF-8 is for clap to refuse.
    let typed = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    lang_in(typed).unwrap_or_else(Lang::of_environment)
}

fn lang_in(mut typed: impl Iterator<Item = String>) -> Option<Lang> {
    while let Some(word) = typed.next() {
        let code = match word.split_once('=') {
            Some(("--lang", code)) => Some(code.to_owned()),
            _ if word == "--lang" => typed.next(),
            // Behind this nothing is an option.
            _ if word == "--" => return None,
            _ => None,
        };
        if let Some(lang) = code.and_then(|code| code.parse().ok()) {
            return Some(lang);
        }
    }
    None
}

fn localised(command: Command, lang: Lang, path: &str) -> Command {
    let words = |text: &Text| text.words(lang).to_owned();
    let style = command.get_styles().get_usage();
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{style}{}{style:#} {{usage}}\n\n{{all-args}}{{after-help}}",
        usage::usage_head().words(lang)
    );
    let mut command = command
        .help_template(template)
        .subcommand_help_heading(words(&usage::commands()))
        .subcommand_value_name(words(&usage::a_command()));
    if let Some(about) = about(path) {
        command = command.about(words(&about));
    }
    if let Some(examples) = examples(path) {
        command = command.after_help(words(&examples));
    }
    let ids: Vec<String> = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
    for id in ids {
        if let Some(text) = argument(path, &id) {
            command = command.mut_arg(id, |arg| explained(arg, &text, lang));
        }
    }
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help);
    command = command
        .disable_help_flag(true)
        .arg(help.help(words(&usage::print_help())).help_heading(words(&usage::options())));
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(&name, |below| localised(below, lang, &name));
    }
    command
}

/// What an argument is for, and what clap would add to it in English.
fn explained(arg: Arg, text: &Text, lang: Lang) -> Arg {
    let takes_values = arg.get_action().takes_values();
    let mut all = vec![text.clone()];
    if let Some(name) = arg.get_env() {
        all.push(usage::from_environment(name.display()));
    }
    let values: Vec<_> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes_values && !values.is_empty() {
        all.push(usage::by_default(values.join(" ")));
    }
    let values = arg.get_possible_values();
    let names: Vec<_> =
        values.iter().filter(|value| !value.is_hide_set()).map(PossibleValue::get_name).collect();
    if takes_values && !names.is_empty() {
        all.push(usage::one_of(names.join(", ")));
    }
    let heading = if arg.is_positional() { usage::arguments() } else { usage::options() };
    arg.help(Text::joined(&all, " ").words(lang).to_owned())
        .help_heading(heading.words(lang).to_owned())
        .hide_env(takes_values)
        .hide_default_value(takes_values)
        .hide_possible_values(takes_values)
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
        "completions" => help::completions_examples(),
        "man" => help::man_examples(),
        _ => return None,
    })
}

fn argument(command: &str, id: &str) -> Option<Text> {
    Some(match (command, id) {
        (_, "lang") => help::lang(),
        ("check", "peer") => help::check_peer(),
        ("check", "address") => help::check_address(),
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

    /// Names of commands, options and values, addresses and the like are in no language; a sentence
    /// has three words beside each other.
    #[test]
    fn no_sentence_of_korean_help_is_english() {
        let is_word = |word: &&str| word.len() > 1 && word.chars().all(|c| c.is_ascii_lowercase());
        let mut command = command(Lang::Ko);
        command.build();
        let mut helps = vec![command.render_help()];
        helps.extend(command.get_subcommands_mut().map(Command::render_help));
        assert_eq!(helps.len(), 10);
        for help in helps {
            let help = help.to_string();
            for word in ["Usage", "Commands", "Options:", "Arguments", "Print", "default", "env:"] {
                assert!(!help.contains(word), "{word}: {help}");
            }
            let (about, _) = help.split_once("예:").unwrap_or((&help, ""));
            for line in about.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                let english = words.windows(3).any(|three| three.iter().all(is_word));
                assert!(!english, "{line}");
            }
        }
    }

    #[test]
    fn the_language_is_found_in_what_does_not_parse() {
        let found = |typed: &str| lang_in(typed.split(' ').map(str::to_owned));
        assert_eq!(found("chekc --lang ko"), Some(Lang::Ko));
        assert_eq!(found("--nothing --lang=KO check"), Some(Lang::Ko));
        assert_eq!(found("check --lang en --peer ?"), Some(Lang::En));
        for none in ["check", "check --lang", "--lang kr check", "man -- --lang ko"] {
            assert_eq!(found(none), None, "{none}");
        }
    }
}
