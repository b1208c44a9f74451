//! What `tbnet setup` says while it runs, and why it stops.

catalogue! {
    // The plan on the screen.
    plan_for_pair(interfaces, own, peer) {
        en: "{interfaces}: {own} here, {peer} at the other end",
        ko: "{interfaces}: 이 기기 {own}, 상대 {peer}",
    }
    nothing_to_do {
        en: "nothing to do: setup finds nothing that it may mend",
        ko: "할 일이 없습니다. setup으로 고칠 것이 없습니다",
    }
    not_recorded {
        en: "the recording does not say who keeps the network's configuration, or which links are Wi-Fi: steps that make it last may be missing; record it anew with `tbnet snapshot DIR`",
        ko: "누가 네트워크 설정을 관리하는지, 어떤 링크가 Wi-Fi인지 기록에 없습니다. 재시동 후에도 설정을 유지하는 단계가 빠졌을 수 있으므로 `tbnet snapshot DIR`로 다시 기록합니다",
    }
    ports_left_alone { en: "ports left alone:", ko: "그대로 두는 포트:" }
    does_not_last { en: "does not last:", ko: "재시동하면 사라지는 것:" }
    then_there(command) {
        en: "then, on the other machine: {command}",
        ko: "다음은 상대 기기에서: {command}",
    }
    left_as_it_is { en: "left as it is:", ko: "그대로 두는 것:" }
    dry_run {
        en: "nothing was changed (--dry-run)",
        ko: "아무것도 바꾸지 않았습니다(--dry-run)",
    }
    question { en: "Run these commands? [y/N]", ko: "이 명령을 실행합니까? [y/N]" }
    declined { en: "nothing was changed", ko: "아무것도 바꾸지 않았습니다" }
    no_terminal {
        en: "there is no terminal to ask on",
        ko: "물어볼 터미널이 없습니다",
    }
    no_terminal_hint {
        en: "say --yes to run it without asking, or --dry-run to look",
        ko: "묻지 않고 실행하려면 --yes를, 보기만 하려면 --dry-run을 씁니다",
    }
    no_home { en: "HOME is not set", ko: "HOME 환경 변수가 없습니다" }
    no_home_hint { en: "name a folder with --state", ko: "--state로 폴더를 지정합니다" }

    // Progress.
    saved(journal) {
        en: "the old state is saved in {journal}",
        ko: "이전 상태를 {journal} 파일에 저장했습니다",
    }
    undo_with {
        en: "put it back as it was: tbnet setup --undo",
        ko: "이전 상태로 되돌리기: tbnet setup --undo",
    }
    undoing(journal) { en: "undoing {journal}", ko: "되돌리는 중: {journal}" }
    undone {
        en: "everything is as it was before that setup",
        ko: "모두 그 설정 이전 상태로 되돌렸습니다",
    }
    older {
        en: "an earlier setup is still in place: run `tbnet setup --undo` again to undo it too",
        ko: "더 이전의 설정이 남아 있습니다. 그것도 되돌리려면 `tbnet setup --undo`를 다시 실행합니다",
    }
    nothing_to_undo(folder) {
        en: "there is no setup to undo in {folder}",
        ko: "{folder} 폴더에 되돌릴 설정이 없습니다",
    }
    nothing_to_undo_hint {
        en: "the old state is kept where setup ran: with or without sudo, and with the same --state",
        ko: "이전 상태는 설정을 실행한 곳에 있습니다. sudo를 썼는지, --state가 같은지 확인합니다",
    }
    interrupted(begun, of) {
        en: "an earlier setup was cut off at step {begun} of {of}",
        ko: "이전 설정이 전체 {of}단계 중 {begun}단계에서 중단되었습니다",
    }
    interrupted_hint {
        en: "put it back first: tbnet setup --undo",
        ko: "먼저 되돌립니다: tbnet setup --undo",
    }

    // Why it stopped.
    state_unreadable(why) {
        en: "the state to come back to cannot be read: {why}",
        ko: "나중에 되돌릴 현재 상태를 읽을 수 없습니다: {why}",
    }
    command_failed(number, of, why) {
        en: "stopped at step {number} of {of}: {why}",
        ko: "전체 {of}단계 중 {number}단계에서 멈췄습니다: {why}",
    }
    no_effect(number, of, command, waited_ms) {
        en: "stopped at step {number} of {of}: `{command}` ran, but took no effect within {waited_ms} ms",
        ko: "전체 {of}단계 중 {number}단계에서 멈췄습니다: `{command}` 명령을 실행했지만 {waited_ms}ms 안에 효과가 없었습니다",
    }
    stopped_hint {
        en: "what was done stays; `tbnet setup --undo` puts everything back as it was, and `tbnet check` says what is still wrong",
        ko: "바뀐 것은 그대로 남아 있습니다. `tbnet setup --undo`로 모두 되돌릴 수 있고, 남은 문제는 `tbnet check`가 알려 줍니다",
    }
    undo_failed(why) { en: "undoing stopped: {why}", ko: "되돌리다가 멈췄습니다: {why}" }
    not_restored(left) {
        en: "not everything is as it was: {left} would still have to be run",
        ko: "이전과 다른 것이 남아 있습니다. 아직 실행해야 할 명령: {left}",
    }
    not_restored_hint {
        en: "a network manager may have put it back: stop it for this interface and run `tbnet setup --undo` again",
        ko: "네트워크 관리 프로그램이 다시 바꿨을 수 있습니다. 이 인터페이스에서 그 프로그램을 멈추고 `tbnet setup --undo`를 다시 실행합니다",
    }
    command_said(command, why) { en: "`{command}`: {why}", ko: "`{command}`: {why}" }
    install(program) { en: "install {program}", ko: "{program} 설치가 필요합니다" }
    no_sudo {
        en: "run tbnet as root: this machine has no sudo",
        ko: "이 기기에는 sudo가 없으므로 tbnet을 root로 실행합니다",
    }
    try_it(command) {
        en: "try it by itself: {command}",
        ko: "명령만 따로 실행해 봅니다: {command}",
    }

    // The journal.
    journal_io(path, error) { en: "{path}: {error}", ko: "{path}: {error}" }
    journal_malformed(path, detail) {
        en: "{path} is no journal of a setup: {detail}",
        ko: "{path} 파일은 설정 기록이 아닙니다: {detail}",
    }
    busy(folder) {
        en: "another `tbnet setup` is at work: it holds {folder}",
        ko: "다른 `tbnet setup`이 실행 중입니다. {folder} 폴더를 쓰고 있습니다",
    }
    busy_hint {
        en: "wait until it has ended, then look with `tbnet check` and try again",
        ko: "끝날 때까지 기다렸다가 `tbnet check`로 확인하고 다시 실행합니다",
    }
    journals_full(folder, count) {
        en: "{folder} holds {count} journals",
        ko: "{folder} 폴더에 설정 기록이 {count}개 있습니다",
    }
    journal_permission_hint {
        en: "run it with sudo, or keep the old state elsewhere with --state DIR",
        ko: "sudo로 실행하거나 --state DIR로 이전 상태를 다른 곳에 둡니다",
    }
    journal_io_hint {
        en: "keep the old state elsewhere with --state DIR",
        ko: "--state DIR로 이전 상태를 다른 곳에 둡니다",
    }
    journal_malformed_hint(path) {
        en: "move {path} away; it cannot be undone by this program",
        ko: "{path} 파일을 다른 곳으로 옮깁니다. 이 프로그램으로는 되돌릴 수 없습니다",
    }
    journals_full_hint(folder) {
        en: "remove those that end in .undone from {folder}",
        ko: "{folder} 폴더에서 .undone으로 끝나는 파일을 지웁니다",
    }
}
