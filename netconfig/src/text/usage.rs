//! How the command line is explained: the words around the help, and what is wrong with what was
//! typed.

catalogue! {
    // Around the help.
    usage_head { en: "Usage:", ko: "사용법:" }
    some_options { en: "[OPTIONS]", ko: "[옵션]" }
    a_command { en: "COMMAND", ko: "명령" }
    commands { en: "Commands", ko: "명령" }
    arguments { en: "Arguments", ko: "인자" }
    options { en: "Options", ko: "옵션" }
    manual_name { en: "NAME", ko: "이름" }
    manual_synopsis { en: "SYNOPSIS", ko: "사용법" }
    manual_description { en: "DESCRIPTION", ko: "설명" }
    manual_examples { en: "EXAMPLES", ko: "예" }
    manual_version { en: "VERSION", ko: "버전" }
    print_help { en: "Print help", ko: "도움말을 출력합니다" }
    print_version { en: "Print version", ko: "버전을 출력합니다" }
    by_default(value) { en: "[default: {value}]", ko: "[기본값: {value}]" }
    from_environment(name) { en: "[env: {name}]", ko: "[환경 변수: {name}]" }
    one_of(values) { en: "[possible values: {values}]", ko: "[가능한 값: {values}]" }

    // What was typed and is not understood.
    unknown_argument(arg) {
        en: "unexpected argument \"{arg}\"",
        ko: "쓸 수 없는 인자입니다: \"{arg}\"",
    }
    unknown_command(name) {
        en: "there is no command \"{name}\"",
        ko: "\"{name}\" 명령이 없습니다",
    }
    command_missing(name) {
        en: "\"{name}\" needs a command",
        ko: "\"{name}\" 다음에 명령이 필요합니다",
    }
    argument_missing(args) {
        en: "an argument is missing: {args}",
        ko: "필요한 인자가 빠졌습니다: {args}",
    }
    given_twice(arg) {
        en: "\"{arg}\" can be given only once",
        ko: "\"{arg}\" 인자는 한 번만 쓸 수 있습니다",
    }
    excludes(arg, others) {
        en: "\"{arg}\" cannot be used with {others}",
        ko: "\"{arg}\" 인자와 함께 쓸 수 없습니다: {others}",
    }
    excludes_others(arg) {
        en: "\"{arg}\" cannot be used with other arguments that were given",
        ko: "\"{arg}\" 인자는 함께 지정한 다른 인자와 쓸 수 없습니다",
    }
    value_missing(arg) {
        en: "\"{arg}\" needs a value",
        ko: "\"{arg}\" 인자에는 값이 필요합니다",
    }
    value_invalid(value, arg) {
        en: "invalid value \"{value}\" for \"{arg}\"",
        ko: "\"{arg}\" 인자에 쓸 수 없는 값입니다: \"{value}\"",
    }
    value_invalid_because(value, arg, reason) {
        en: "invalid value \"{value}\" for \"{arg}\": {reason}",
        ko: "\"{arg}\" 인자에 쓸 수 없는 값입니다: \"{value}\"({reason})",
    }
    value_unexpected(value, arg) {
        en: "\"{arg}\" takes no further value: \"{value}\"",
        ko: "\"{arg}\" 인자에는 값을 더 쓸 수 없습니다: \"{value}\"",
    }
    values_too_few(arg, needed, given) {
        en: "\"{arg}\" needs at least {needed} values, not {given}",
        ko: "\"{arg}\" 인자에는 값이 {needed}개 이상 필요합니다(지정한 값 {given}개)",
    }
    values_miscounted(arg, needed, given) {
        en: "\"{arg}\" needs {needed} values, not {given}",
        ko: "\"{arg}\" 인자에는 값이 {needed}개 필요합니다(지정한 값 {given}개)",
    }
    equals_missing(arg) {
        en: "\"{arg}\" needs its value behind an equals sign",
        ko: "\"{arg}\" 인자의 값은 등호(=) 뒤에 씁니다",
    }
    not_utf8 {
        en: "an argument is no UTF-8 text",
        ko: "인자가 UTF-8 텍스트가 아닙니다",
    }
    not_understood {
        en: "the arguments are not understood",
        ko: "인자를 해석할 수 없습니다",
    }

    // Why a value is none.
    no_language(languages) {
        en: "the languages are {languages}",
        ko: "쓸 수 있는 언어: {languages}",
    }
    no_ip_address {
        en: "that is no IP address",
        ko: "IP 주소가 아닙니다",
    }
    no_ip_network {
        en: "that is no IPv4 address with its prefix length, such as 192.168.2.1/24",
        ko: "192.168.2.1/24처럼 접두사 길이가 붙은 IPv4 주소가 아닙니다",
    }
    no_number {
        en: "that is no whole number",
        ko: "정수가 아닙니다",
    }
    out_of_bounds(min, max) {
        en: "it can be {min} to {max}",
        ko: "{min}부터 {max}까지 쓸 수 있습니다",
    }

    // What to do next.
    did_you_mean(words) {
        en: "did you mean {words}?",
        ko: "비슷한 것: {words}",
    }
    write_it_so(words) {
        en: "write it so: {words}",
        ko: "이렇게 씁니다: {words}",
    }
    values_are(values) {
        en: "possible values: {values}",
        ko: "가능한 값: {values}",
    }
    commands_are(names) {
        en: "the commands: {names}",
        ko: "명령 목록: {names}",
    }
    more_by(help) {
        en: "For more information, try `{help}`.",
        ko: "자세한 내용은 `{help}` 옵션으로 볼 수 있습니다.",
    }
}
