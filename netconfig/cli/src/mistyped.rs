//! What was typed asks for help or is not understood: said in the user's language.
//!
//! clap finds out what is wrong and has English words for it; here its findings become words of the
//! catalogue.

use std::{
    error::Error,
    io::{self, Write},
    net::AddrParseError,
};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use exo_netconfig::text::{Lang, Text, UnknownLang, tool, usage};

use crate::{
    args::NoNumber,
    commands::Exit,
    output::{harmless, wants_colour},
};

/// Says it, and how the program ends.
pub(crate) fn tell(error: &clap::Error, lang: Lang) -> Exit {
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    // Whoever has read enough has closed the pipe: that is no error.
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = write!(stdout, "{}", help(error, wants_colour(&stdout), lang));
            Exit::Good
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(stderr, "{}", help(error, wants_colour(&stderr), lang));
            Exit::CouldNotCheck
        }
        _ => {
            let _ = write!(stderr, "{}", harmless(&complaint(error, lang), false));
            Exit::CouldNotCheck
        }
    }
}

/// The help that was asked for, which `help::command` has put into words already.
fn help(error: &clap::Error, colour: bool, lang: Lang) -> String {
    let words = error.render();
    with_options(&if colour { words.ansi().to_string() } else { words.to_string() }, lang)
}

/// clap has no setting for the word that stands for the options in a usage.
fn with_options(words: &str, lang: Lang) -> String {
    let options = usage::some_options();
    words.replace(options.words(Lang::En), options.words(lang))
}

fn complaint(error: &clap::Error, lang: Lang) -> String {
    let headed = |head: &Text, text: &Text| format!("{} {}", head.words(lang), text.words(lang));
    let mut lines = vec![headed(&tool::error_head(), &text(error))];
    lines.extend(hints(error).iter().map(|hint| headed(&tool::hint_head(), hint)));
    if let Some(ContextValue::StyledStr(line)) = error.get(ContextKind::Usage) {
        let head = usage::usage_head();
        let line = with_options(&line.to_string(), lang);
        let line = line.strip_prefix(head.words(Lang::En)).unwrap_or(&line);
        lines.extend([String::new(), format!("{}{line}", head.words(lang))]);
    }
    lines.extend([String::new(), usage::more_by("--help").words(lang).to_owned()]);
    lines.join("\n") + "\n"
}

/// What is wrong.
fn text(error: &clap::Error) -> Text {
    let of = |kind| context(error, kind).join(", ");
    let arg = || of(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument => usage::unknown_argument(arg()),
        ErrorKind::InvalidSubcommand => usage::unknown_command(of(ContextKind::InvalidSubcommand)),
        ErrorKind::MissingSubcommand => usage::command_missing(of(ContextKind::InvalidSubcommand)),
        ErrorKind::MissingRequiredArgument => usage::argument_missing(arg()),
        ErrorKind::ArgumentConflict => conflict(error),
        ErrorKind::InvalidValue => match of(ContextKind::InvalidValue) {
            none if none.is_empty() => usage::value_missing(arg()),
            value => usage::value_invalid(value, arg()),
        },
        ErrorKind::ValueValidation => match error.source() {
            Some(source) => {
                let value = of(ContextKind::InvalidValue);
                usage::value_invalid_because(value, arg(), reason(source))
            }
            None => usage::value_invalid(of(ContextKind::InvalidValue), arg()),
        },
        ErrorKind::TooManyValues => usage::value_unexpected(of(ContextKind::InvalidValue), arg()),
        ErrorKind::TooFewValues => {
            let (needed, given) = (ContextKind::MinValues, ContextKind::ActualNumValues);
            usage::values_too_few(arg(), of(needed), of(given))
        }
        ErrorKind::WrongNumberOfValues => {
            let (needed, given) = (ContextKind::ExpectedNumValues, ContextKind::ActualNumValues);
            usage::values_miscounted(arg(), of(needed), of(given))
        }
        ErrorKind::NoEquals => usage::equals_missing(arg()),
        ErrorKind::InvalidUtf8 => usage::not_utf8(),
        _ => usage::not_understood(),
    }
}

fn conflict(error: &clap::Error) -> Text {
    let mut first = context(error, ContextKind::InvalidArg);
    first.extend(context(error, ContextKind::InvalidSubcommand));
    let others = context(error, ContextKind::PriorArg);
    let arg = first.join(", ");
    match others.as_slice() {
        [] => usage::excludes_others(arg),
        same if same == first => usage::given_twice(arg),
        others => usage::excludes(arg, quoted(others)),
    }
}

/// Why a value is none.
fn reason(source: &(dyn Error + 'static)) -> Text {
    if let Some(number) = source.downcast_ref::<NoNumber>() {
        return number.text();
    }
    if source.is::<UnknownLang>() {
        return usage::no_language(Lang::ALL.map(Lang::code).join(", "));
    }
    if source.is::<AddrParseError>() {
        return usage::no_ip_address();
    }
    if source.is::<ipnet::AddrParseError>() {
        return usage::no_ip_network();
    }
    Text::verbatim(source)
}

/// What was probably meant, and what there is.
fn hints(error: &clap::Error) -> Vec<Text> {
    let mut hints = Vec::new();
    for kind in
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
    {
        let similar = context(error, kind);
        if !similar.is_empty() {
            hints.push(usage::did_you_mean(quoted(&similar)));
        }
    }
    // Whole sentences of clap's. Of use is the one about an option that stands before its command;
    // nothing that begins with a dash is a value here.
    if let Some(ContextValue::StyledStrs(sentences)) = error.get(ContextKind::Suggested) {
        let elsewhere = sentences.iter().find_map(|sentence| {
            let words = sentence.to_string();
            Some(words.strip_prefix('\'')?.strip_suffix("' exists")?.to_owned())
        });
        hints.extend(elsewhere.map(|words| usage::write_it_so(format!("tbnet {words}"))));
    }
    let values = context(error, ContextKind::ValidValue);
    if !values.is_empty() {
        hints.push(usage::values_are(values.join(", ")));
    }
    let commands = context(error, ContextKind::ValidSubcommand);
    if !commands.is_empty() {
        hints.push(usage::commands_are(commands.join(", ")));
    }
    hints
}

/// What clap found of this kind, as it was typed or is written.
fn context(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(word)) => vec![word.clone()],
        Some(ContextValue::Strings(words)) => words.clone(),
        Some(ContextValue::Number(number)) => vec![number.to_string()],
        _ => Vec::new(),
    }
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::*;
    use crate::help;

    fn mistake(command: Command, typed: &[&str]) -> clap::Error {
        let typed = ["tbnet"].iter().chain(typed);
        command.try_get_matches_from(typed).expect_err("a mistake")
    }

    /// clap's words that are not the user's: everything that is not a name or what was typed.
    fn is_korean(words: &str) -> bool {
        let foreign = ["error", "argument", "value", "Usage", "OPTIONS", "COMMAND", "similar"];
        let korean = |line: &str| line.chars().any(|c| ('\u{ac00}'..='\u{d7a3}').contains(&c));
        !foreign.iter().any(|word| words.contains(word))
            && words.lines().all(|line| line.is_empty() || korean(line))
    }

    #[test]
    fn every_kind_of_mistake_has_words_of_its_own() {
        use ErrorKind::*;
        let command = || {
            let option = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Append);
            Command::new("tbnet")
                .arg(option("pair").num_args(2).value_names(["A", "B"]))
                .arg(option("several").num_args(2..))
                .arg(option("joined").require_equals(true))
                .arg(option("colour").value_parser(["red", "green"]))
                .arg(option("this").conflicts_with("that"))
                .arg(option("that").requires("pair"))
                .arg(Arg::new("once").long("once").action(ArgAction::SetTrue))
                .subcommand_required(true)
                .subcommand_value_name("명령")
                .subcommand(Command::new("check"))
        };
        for (typed, kind, english) in [
            ("--nothing check", UnknownArgument, r#"unexpected argument "--nothing""#),
            ("chekc", InvalidSubcommand, r#"there is no command "chekc""#),
            ("--once", MissingSubcommand, r#""tbnet" needs a command"#),
            ("--that 1 check", MissingRequiredArgument, "an argument is missing: --pair <A> <B>"),
            (
                "--this 1 --that 2 --pair 1 2 check",
                ArgumentConflict,
                r#""--this <this>" cannot be used with "--that <that>""#,
            ),
            ("--once --once", ArgumentConflict, r#""--once" can be given only once"#),
            (
                "--colour grene check",
                InvalidValue,
                r#"invalid value "grene" for "--colour <colour>""#,
            ),
            ("--colour", InvalidValue, r#""--colour <colour>" needs a value"#),
            ("--once=now check", TooManyValues, r#""--once" takes no further value: "now""#),
            (
                "--several 1 --once check",
                TooFewValues,
                r#""--several <several> <several>..." needs at least 2 values, not 1"#,
            ),
            (
                "--pair 1 --once check",
                WrongNumberOfValues,
                r#""--pair <A> <B>" needs 2 values, not 1"#,
            ),
            (
                "--joined 1 check",
                NoEquals,
                r#""--joined=<joined>" needs its value behind an equals sign"#,
            ),
        ] {
            let error = mistake(command(), &typed.split(' ').collect::<Vec<_>>());
            assert_eq!(error.kind(), kind, "{typed}");
            assert_eq!(text(&error).words(Lang::En), english, "{typed}");
            let words = complaint(&error, Lang::Ko);
            assert!(is_korean(&words), "{typed}: {words}");
        }
    }

    /// Whatever an option does not take, the catalogue has words for why.
    #[test]
    fn every_value_that_is_refused_is_refused_in_words_of_the_catalogue() {
        let root = help::command(Lang::Ko);
        let mut refused = 0;
        for command in root.get_subcommands() {
            let taking = command.get_arguments().filter(|arg| arg.get_action().takes_values());
            for arg in taking {
                let name = command.get_name();
                let long = arg.get_long().map(|long| format!("--{long}"));
                let typed: Vec<&str> =
                    [Some(name), long.as_deref(), Some("!")].into_iter().flatten().collect();
                let Err(error) = root.clone().try_get_matches_from(["tbnet"].iter().chain(&typed))
                else {
                    continue;
                };
                let Some(source) = error.source() else { continue };
                let reason = reason(source);
                assert_ne!(reason.words(Lang::En), reason.words(Lang::Ko), "{typed:?}");
                refused += 1;
            }
        }
        assert!(refused > 10, "{refused}");
        let error = mistake(root, &["--lang", "kr", "check"]);
        assert!(complaint(&error, Lang::Ko).contains("쓸 수 있는 언어: en, ko"));
    }

    #[test]
    fn what_was_typed_cannot_steer_the_terminal() {
        let error = mistake(help::command(Lang::En), &["\x1b[2J"]);
        let words = complaint(&error, Lang::En);
        assert!(!harmless(&words, false).contains('\x1b'), "{words:?}");
    }
}
