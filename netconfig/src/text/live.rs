//! What `tbnet ping`, `tbnet watch` and `tbnet serve` say.

catalogue! {
    // ping
    ping_over(peer, name, kind) {
        en: "{peer} over {name} ({kind})",
        ko: "{peer}, {name} 경유({kind})",
    }
    ping_silent(lost, peer) {
        en: "nothing came back of {lost}; `tbnet check --peer {peer}` says why",
        ko: "{lost}회 모두 응답이 없습니다. `tbnet check --peer {peer}` 명령이 이유를 알려 줍니다",
    }
    ping_figures(count, lost, min, p50, p90, p99, max) {
        en: "{count} there and back, {lost} lost; µs: min {min}, p50 {p50}, p90 {p90}, p99 {p99}, max {max}",
        ko: "왕복 {count}회, 손실 {lost}회. µs: 최소 {min}, p50 {p50}, p90 {p90}, p99 {p99}, 최대 {max}",
    }
    ping_ratio(fast, slow, times) {
        en: "half of the round trips: over {fast} {times} times as quick as over {slow}",
        ko: "왕복 중앙값: {fast} 쪽이 {slow} 쪽보다 {times}배 빠릅니다",
    }

    // watch
    watch_now(state, addresses) { en: "{state}{addresses}", ko: "{state}{addresses}" }
    watch_appeared(state, addresses) {
        en: "is there, {state}{addresses}",
        ko: "나타났습니다. {state}{addresses}",
    }
    watch_not_there(name) {
        en: "{name} is not there (yet); what comes is shown. `tbnet show` has those that are.",
        ko: "{name} 인터페이스가 (아직) 없습니다. 생기면 표시합니다. 지금 있는 것은 `tbnet show`로 봅니다.",
    }
    watch_gone { en: "is gone", ko: "사라졌습니다" }
    watch_renumbered(was, now) {
        en: "was index {was}, is index {now}: sockets kept on it are dead",
        ko: "번호가 바뀌었습니다: {was} → {now}. 여기에 고정된 소켓은 더 이상 쓸 수 없습니다",
    }
    watch_state(was, now) {
        en: "was {was}, is {now}",
        ko: "상태가 바뀌었습니다: {was} → {now}",
    }
    watch_addresses(nets) { en: "has {nets}", ko: "주소: {nets}" }
    watch_no_address { en: "has no address", ko: "주소가 없어졌습니다" }
    watch_mtu(was, now) {
        en: "MTU was {was}, is {now}",
        ko: "MTU가 바뀌었습니다: {was} → {now}",
    }
    watch_master(master) { en: "belongs to {master}", ko: "{master}의 구성원이 되었습니다" }
    watch_no_master { en: "belongs to no bridge", ko: "속한 브리지가 없습니다" }
    watch_members(members) { en: "its members are {members}", ko: "구성원: {members}" }
    watch_no_members { en: "has no members", ko: "구성원이 없습니다" }
    watch_peers(names) {
        en: "at the end of the cables: {names}",
        ko: "케이블 반대편: {names}",
    }
    watch_devices(names) {
        en: "docks and drives at the cables: {names}",
        ko: "케이블에 연결된 독과 드라이브: {names}",
    }
    watch_no_devices {
        en: "no dock or drive at any cable",
        ko: "어느 케이블에도 독이나 드라이브가 없습니다",
    }
    watch_no_peers {
        en: "no computer at the end of any cable",
        ko: "어느 케이블 끝에도 컴퓨터가 없습니다",
    }
    watch_by_looking(seconds) {
        en: "the system does not tell of its changes: looking every {seconds} s",
        ko: "시스템이 변화를 알려 주지 않아 {seconds}초마다 살펴봅니다",
    }

    // serve
    serve_listening(addr, name, kind) {
        en: "answering on {addr} ({name}, {kind})",
        ko: "{addr} 주소에서 응답합니다({name}, {kind})",
    }
    serve_ask(peer) {
        en: "on the other machine: tbnet check --peer {peer}",
        ko: "상대 기기에서 실행합니다: tbnet check --peer {peer}",
    }
    serve_connected(name, addr) {
        en: "{name} at {addr} is here",
        ko: "{name}({addr}) 연결됨",
    }
    serve_gone(name) { en: "{name} is gone", ko: "{name} 연결 끝남" }
    serve_refused(why) { en: "refused: {why}", ko: "거절함: {why}" }

    // Whom to believe, and with what key.
    no_home { en: "this user has no home folder", ko: "이 사용자에게 홈 폴더가 없습니다" }
    no_home_do {
        en: "name a folder with --data or EXO_DATA",
        ko: "--data 옵션이나 EXO_DATA 변수로 폴더를 지정합니다",
    }
    cannot_open(name, why) {
        en: "cannot open a connection on {name}: {why}",
        ko: "{name} 인터페이스에서 연결을 열 수 없습니다: {why}",
    }
    key_needed_do {
        en: "make a key with: openssl rand -hex 32 > cluster.key && chmod 600 cluster.key, copy it to the other machine, and give it on both with --cluster-key-file cluster.key",
        ko: "다음 명령으로 만든 키를 상대 기기에 복사하고 양쪽에서 --cluster-key-file cluster.key 옵션을 씁니다: openssl rand -hex 32 > cluster.key && chmod 600 cluster.key",
    }
    versus_peer_do(name) {
        en: "name the address that it has over {name} with --versus-peer",
        ko: "{name} 인터페이스에서 쓰는 상대의 주소를 --versus-peer로 지정합니다",
    }
    key_missing(path) { en: "there is no key in {path}", ko: "{path} 파일에 키가 없습니다" }
    key_make_do(path) {
        en: "copy the other machine's here; if there is none yet, make one and copy it there: openssl rand -hex 32 > {path} && chmod 600 {path}",
        ko: "상대 기기의 키를 여기에 복사합니다. 아직 없으면 다음 명령으로 만들어 상대 기기에 복사합니다: openssl rand -hex 32 > {path} && chmod 600 {path}",
    }
    key_own_do(path) {
        en: "move {path} away: this machine gets a new key then, and the other one has to forget the old one (remove pinned-peer from its data folder)",
        ko: "{path} 파일을 다른 곳으로 옮깁니다. 그러면 이 기기에 새 키가 생기므로, 상대 기기의 데이터 폴더에서 pinned-peer 파일을 지워 이전 키를 잊게 합니다",
    }
    key_mode(path, mode) {
        en: "{path} holds a secret, and others may read it (mode {mode})",
        ko: "{path} 파일에 비밀 키가 있는데 다른 사용자도 읽을 수 있습니다(권한 {mode})",
    }
    key_mode_do(path) { en: "run: chmod 600 {path}", ko: "실행할 명령: chmod 600 {path}" }
    key_malformed(path) {
        en: "{path} must hold 32 bytes as 64 hexadecimal digits and nothing else",
        ko: "{path} 파일에는 32바이트를 나타내는 16진수 64자만 있어야 합니다",
    }
    key_unreadable(path, why) { en: "{path}: {why}", ko: "{path}: {why}" }
    already_answers {
        en: "another program of this machine answers already",
        ko: "이 기기의 다른 프로그램이 이미 응답하고 있습니다",
    }
    look_at_link_do {
        en: "`tbnet check` says what is wrong with the link",
        ko: "`tbnet check`가 링크의 문제를 알려 줍니다",
    }
    port_in_use_do {
        en: "an exo-node or another `tbnet serve` runs here: it answers already; else choose another port with --port",
        ko: "exo-node나 다른 `tbnet serve`가 이미 실행 중이면 그것이 응답합니다. 아니면 --port 옵션으로 다른 포트를 고릅니다",
    }
    look_at_files_do {
        en: "look at the files it names, or choose others with --data and --cluster-key-file",
        ko: "오류에 나온 파일을 확인하거나 --data, --cluster-key-file 옵션으로 다른 파일을 지정합니다",
    }
}
