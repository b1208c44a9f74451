//! What `tbnet --help` says.

catalogue! {
    tbnet {
        en: "Checks, mends and shows the Thunderbolt bridge between machines",
        ko: "기기 사이의 Thunderbolt 브리지를 점검하고 고치고 보여 줍니다",
    }
    tbnet_examples {
        en: "Examples:
  tbnet check                          is this machine's Thunderbolt link right?
  tbnet check --peer 192.168.2.2       and the other end, which runs `tbnet serve` or exo-node?
  tbnet setup --dry-run                the exact commands that would mend it
  tbnet show                           what is plugged in where, and which link is which
  tbnet watch                          what changes, as it changes
  tbnet ping 192.168.2.2               how long packets take over the link
  tbnet snapshot ./report              record what the system says, to be looked at elsewhere
  tbnet check --from ./report --json   judge a recording, on any system",
        ko: "예:
  tbnet check                          이 기기의 Thunderbolt 링크가 올바른지 점검합니다
  tbnet check --peer 192.168.2.2       `tbnet serve`나 exo-node가 실행 중인 반대편과 비교합니다
  tbnet setup --dry-run                고치는 데 필요한 명령을 그대로 보여 줍니다
  tbnet show                           어디에 무엇이 연결되어 있는지, 어떤 링크가 있는지 보여 줍니다
  tbnet watch                          변화가 생길 때마다 알려 줍니다
  tbnet ping 192.168.2.2               이 링크로 패킷이 오가는 시간을 잽니다
  tbnet snapshot ./report              시스템의 응답을 기록해 다른 곳에서 살펴봅니다
  tbnet check --from ./report --json   기록을 어느 시스템에서나 점검합니다",
    }
    check {
        en: "Judge the Thunderbolt link: what is wrong, why it matters, how to mend it",
        ko: "Thunderbolt 링크를 점검합니다. 무엇이 문제인지, 왜 중요한지, 어떻게 고치는지 알려 줍니다",
    }
    check_examples {
        en: "Examples:
  tbnet check
  tbnet check --peer 192.168.2.2                        compares both ends, measures the way
  tbnet check --peer 192.168.2.2 --peer 192.168.2.3     three machines: do their cables form a ring?
  tbnet check --interface bridge0 --json
  tbnet check --from ./report

Exit codes: 0 good (warnings allowed), 1 problems, 2 could not check.
What is not known is reported as not known, never as good.",
        ko: "예:
  tbnet check
  tbnet check --peer 192.168.2.2                        양쪽을 비교하고 왕복 시간을 잽니다
  tbnet check --peer 192.168.2.2 --peer 192.168.2.3     기기 세 대의 케이블이 루프를 이루는지 봅니다
  tbnet check --interface bridge0 --json
  tbnet check --from ./report

종료 코드: 0 정상(경고는 있을 수 있음), 1 문제 있음, 2 점검할 수 없음.
알 수 없는 것은 정상이 아니라 알 수 없는 것으로 보고합니다.",
    }
    setup {
        en: "Mend what may be mended: plan, ask, run, verify; and put back",
        ko: "고칠 수 있는 것을 고칩니다. 계획하고, 묻고, 실행하고, 확인하며, 되돌릴 수도 있습니다",
    }
    setup_examples {
        en: "Examples:
  tbnet setup --dry-run                  the exact commands, and what each changes
  tbnet setup                            asks, then runs them; sudo only where it is needed
  tbnet setup --peer 192.168.2.2 --yes   agrees with the peer if it answers; does not ask
  tbnet setup --per-port                 one /30 per cable, without a bridge
  tbnet setup --undo                     puts everything back as it was

Never touched: Wi-Fi, Internet Sharing, other locations, a bridge in a ring.
Exit codes: 0 good, 1 problems are left, 2 it stopped, could not begin or could not check.
With --dry-run: as it would be once every step is done.",
        ko: "예:
  tbnet setup --dry-run                  실행할 명령과 바뀌는 것을 그대로 보여 줍니다
  tbnet setup                            묻고 나서 실행합니다. 필요한 단계에서만 sudo를 씁니다
  tbnet setup --peer 192.168.2.2 --yes   상대가 응답하면 상대에 맞춥니다. 묻지 않고 실행합니다
  tbnet setup --per-port                 브리지 없이 케이블마다 /30 네트워크를 줍니다
  tbnet setup --undo                     모두 이전 상태로 되돌립니다

건드리지 않는 것: Wi-Fi, 인터넷 공유, 다른 네트워크 위치, 루프에 든 브리지.
종료 코드: 0 정상, 1 문제가 남음, 2 중단됨, 시작할 수 없음 또는 점검할 수 없음.
--dry-run에서는 모든 단계를 마쳤을 때의 결과입니다.",
    }
    show {
        en: "Show the machine's links: who is at the end of which cable, in which order",
        ko: "기기의 링크를 보여 줍니다. 어느 케이블 끝에 누가 있고 순서가 어떤지 알 수 있습니다",
    }
    show_examples {
        en: "Examples:
  tbnet show
  tbnet show --json
  tbnet show --peer 192.168.2.2          and which way packets to it would go
  tbnet show --from ./report",
        ko: "예:
  tbnet show
  tbnet show --json
  tbnet show --peer 192.168.2.2          상대에게 가는 패킷이 어느 경로로 나가는지도 보여 줍니다
  tbnet show --from ./report",
    }
    snapshot {
        en: "Record what the system says into a folder, for `--from`",
        ko: "시스템의 응답을 폴더에 기록합니다(`--from`에 씁니다)",
    }
    snapshot_examples {
        en: "Examples:
  tbnet snapshot ./report
  tbnet snapshot ./report --mask --peer 192.168.2.2

One file per source, named after its command. Without --mask the answers hold hardware addresses
and the names of your network services: look at them before you pass them on.",
        ko: "예:
  tbnet snapshot ./report
  tbnet snapshot ./report --mask --peer 192.168.2.2

출처마다 파일 하나를 만들고 명령 이름을 붙입니다. --mask가 없으면 하드웨어 주소와 네트워크 서비스
이름이 그대로 들어 있으므로, 다른 사람에게 주기 전에 내용을 확인합니다.",
    }
    serve {
        en: "Answer `tbnet check --peer` from the other machine",
        ko: "상대 기기의 `tbnet check --peer`에 응답합니다",
    }
    serve_examples {
        en: "Examples:
  tbnet serve                       here, then on the other machine: tbnet check --peer 192.168.2.1
  tbnet serve --interface en5 --cluster-key-file cluster.key

An exo-node that serves answers too: then this is not needed.",
        ko: "예:
  tbnet serve                       여기서 실행한 뒤 상대 기기에서: tbnet check --peer 192.168.2.1
  tbnet serve --interface en5 --cluster-key-file cluster.key

exo-node serve도 응답하므로, 실행 중이면 필요하지 않습니다.",
    }
    watch {
        en: "Follow hot-plug and every other change of the links, live",
        ko: "케이블 연결과 분리 등 링크의 변화를 실시간으로 보여 줍니다",
    }
    watch_examples {
        en: "Examples:
  tbnet watch                       every change of every link, until Ctrl-C
  tbnet watch --interface bridge0
  tbnet watch --json                one object a line",
        ko: "예:
  tbnet watch                       Ctrl-C를 누를 때까지 모든 링크의 변화
  tbnet watch --interface bridge0
  tbnet watch --json                한 줄에 객체 하나",
    }
    completions_examples {
        en: "Examples:
  tbnet completions zsh > ~/.zfunc/_tbnet     a folder of $fpath
  tbnet completions fish > ~/.config/fish/completions/tbnet.fish
  eval \"$(tbnet completions bash)\"            for this shell",
        ko: "예:
  tbnet completions zsh > ~/.zfunc/_tbnet     $fpath에 있는 폴더
  tbnet completions fish > ~/.config/fish/completions/tbnet.fish
  eval \"$(tbnet completions bash)\"            지금 쓰는 셸에서만",
    }
    man_examples {
        en: "Examples:
  tbnet man | man -l -                        to read it (on Linux)
  tbnet man ~/.local/share/man/man1           a page for each command",
        ko: "예:
  tbnet man | man -l -                        바로 읽기(Linux)
  tbnet man ~/.local/share/man/man1           명령마다 한 장씩",
    }
    ping {
        en: "Measure how long packets take to a peer and back, kept on the link",
        ko: "이 링크로만 패킷을 보내 상대까지의 왕복 시간을 잽니다",
    }
    ping_examples {
        en: "Examples:
  tbnet ping 192.168.2.2
  tbnet ping 192.168.2.2 --size 8192 --count 1000
  tbnet ping 192.168.2.2 --versus en0 --versus-peer 192.168.1.7   the cable beside Wi-Fi

Exit codes: 0 the peer answered, 1 it did not (over one of the interfaces), 2 could not measure.",
        ko: "예:
  tbnet ping 192.168.2.2
  tbnet ping 192.168.2.2 --size 8192 --count 1000
  tbnet ping 192.168.2.2 --versus en0 --versus-peer 192.168.1.7   케이블과 Wi-Fi 비교

종료 코드: 0 응답함, 1 응답 없음(한 인터페이스라도), 2 잴 수 없음.",
    }
    completions {
        en: "Print shell completions",
        ko: "셸 자동 완성 스크립트를 출력합니다",
    }
    man {
        en: "Print the manual page, or write all of them into a folder",
        ko: "매뉴얼 페이지를 출력하거나, 모든 페이지를 폴더에 저장합니다",
    }
    lang {
        en: "Language of what is said: en or ko; else that of the locale (JSON: English)",
        ko: "출력 언어: en 또는 ko. 없으면 로캘을 따릅니다(JSON은 영어)",
    }
    json {
        en: "Print JSON (schema 1)",
        ko: "JSON으로 출력합니다(스키마 1)",
    }
    check_peer {
        en: "The peer's address: ask its end and compare; once for each further machine, to see rings",
        ko: "상대의 주소. 상대에게 물어 양쪽을 비교합니다. 기기가 더 있으면 여러 번 써서 루프를 찾습니다",
    }
    check_address {
        en: "The address that this machine is to have on the link",
        ko: "이 기기가 링크에서 가져야 할 주소",
    }
    check_interface {
        en: "Judge this interface instead of finding the Thunderbolt link",
        ko: "Thunderbolt 링크를 찾지 않고 이 인터페이스를 점검합니다",
    }
    check_from {
        en: "Judge a recorded folder instead of this machine",
        ko: "이 기기 대신 기록된 폴더를 점검합니다",
    }
    setup_dry_run {
        en: "Print the commands and what each changes, and change nothing",
        ko: "명령과 바뀌는 것을 보여 주기만 하고 아무것도 바꾸지 않습니다",
    }
    setup_undo {
        en: "Put everything back as it was before the last setup",
        ko: "마지막 설정 이전 상태로 모두 되돌립니다",
    }
    setup_yes {
        en: "Do not ask",
        ko: "묻지 않습니다",
    }
    setup_interface {
        en: "Set up this interface instead of the Thunderbolt link",
        ko: "Thunderbolt 링크 대신 이 인터페이스를 설정합니다",
    }
    setup_peer {
        en: "The peer's address: agree with it if it answers, and mend the way to it as well",
        ko: "상대의 주소. 응답하면 상대에 맞추고, 상대에게 가는 경로도 고칩니다",
    }
    setup_address {
        en: "This machine's address, instead of one that is chosen",
        ko: "자동으로 고르지 않고 이 기기에 쓸 주소",
    }
    setup_mtu {
        en: "The largest packet, in bytes; both ends must have the same",
        ko: "최대 패킷 크기(MTU, 바이트). 양쪽이 같아야 합니다",
    }
    setup_per_port {
        en: "One /30 per cable, without a bridge",
        ko: "브리지 없이 케이블마다 /30 네트워크를 줍니다",
    }
    setup_from {
        en: "Plan for a recorded folder instead of this machine",
        ko: "이 기기 대신 기록된 폴더로 계획합니다",
    }
    setup_state {
        en: "Where the old state is kept",
        ko: "이전 상태를 둘 곳",
    }
    show_from {
        en: "Show a recorded folder instead of this machine",
        ko: "이 기기 대신 기록된 폴더를 보여 줍니다",
    }
    show_peer {
        en: "Also show which way packets to this peer would go",
        ko: "이 상대에게 가는 패킷이 어느 경로로 나가는지도 보여 줍니다",
    }
    snapshot_folder {
        en: "The folder to write to; it is created",
        ko: "기록할 폴더. 없으면 만듭니다",
    }
    snapshot_peer {
        en: "Also record which way packets to this peer would go, and what it says of its end",
        ko: "이 상대에게 가는 패킷의 경로와 상대가 알려 주는 것도 기록합니다",
    }
    snapshot_mask {
        en: "Replace names, serial numbers, hardware addresses and UUIDs, the same by the same",
        ko: "이름, 일련번호, 하드웨어 주소, UUID를 가립니다. 같은 값은 항상 같은 값으로 바꿉니다",
    }
    snapshot_interface {
        en: "Find the peer over this interface instead of the Thunderbolt link",
        ko: "Thunderbolt 링크 대신 이 인터페이스로 상대를 찾습니다",
    }
    serve_interface {
        en: "Answer on this interface instead of the Thunderbolt link",
        ko: "Thunderbolt 링크 대신 이 인터페이스에서 응답합니다",
    }
    peers_port {
        en: "The port on which the other machine answers, and this one",
        ko: "상대 기기와 이 기기가 응답하는 포트",
    }
    peers_key {
        en: "The cluster's key; needed on every link but a Thunderbolt cable",
        ko: "클러스터 키. Thunderbolt 케이블이 아닌 링크에서는 필요합니다",
    }
    peers_data {
        en: "Folder of this machine's own key, shared with exo-node",
        ko: "이 기기 자신의 키가 있는 폴더. exo-node와 함께 씁니다",
    }
    watch_interface {
        en: "Follow this interface alone",
        ko: "이 인터페이스의 변화만 보여 줍니다",
    }
    watch_for {
        en: "End after so many seconds",
        ko: "지정한 초가 지나면 끝냅니다",
    }
    watch_json {
        en: "Print one JSON object a line (schema 1)",
        ko: "한 줄에 JSON 객체 하나씩 출력합니다(스키마 1)",
    }
    ping_peer {
        en: "The peer's address",
        ko: "상대의 주소",
    }
    ping_interface {
        en: "Keep the packets on this interface instead of the Thunderbolt link",
        ko: "Thunderbolt 링크 대신 이 인터페이스로만 보냅니다",
    }
    ping_versus {
        en: "Measure over this interface too, turn by turn",
        ko: "이 인터페이스로도 번갈아 잽니다",
    }
    ping_versus_peer {
        en: "The peer's address over the other interface, if it is another",
        ko: "다른 인터페이스에서 상대의 주소가 다르면 그 주소",
    }
    ping_count {
        en: "How many",
        ko: "횟수",
    }
    ping_size {
        en: "Bytes that each carries",
        ko: "한 번에 보내는 바이트 수",
    }
    ping_interval {
        en: "Milliseconds between two",
        ko: "보내는 간격(밀리초)",
    }
    completions_shell {
        en: "The shell to print them for",
        ko: "대상 셸",
    }
    man_folder {
        en: "Write a page for each command into this folder",
        ko: "명령마다 한 페이지씩 이 폴더에 저장합니다",
    }
}
