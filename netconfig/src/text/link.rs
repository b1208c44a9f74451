//! Why an interface is not a link that can be used, and why nothing can be measured over it.

catalogue! {
    unknown_interface(name) {
        en: "there is no interface called {name}",
        ko: "{name} 인터페이스가 없습니다",
    }
    unknown_interface_do(existing) {
        en: "these exist: {existing}",
        ko: "있는 인터페이스: {existing}",
    }
    no_thunderbolt(looked_for, unusable) {
        en: "no usable Thunderbolt link: looked for {looked_for}{unusable}",
        ko: "쓸 수 있는 Thunderbolt 링크가 없습니다. 찾는 대상: {looked_for}{unusable}",
    }
    in_brackets(words) { en: " ({words})", ko: "({words})" }
    looked_for_linux {
        en: "an interface whose driver is thunderbolt-net, or a bridge or bond of such interfaces",
        ko: "드라이버가 thunderbolt-net인 인터페이스, 또는 그런 인터페이스로 된 브리지나 본드",
    }
    looked_for_mac {
        en: "a bridge whose members are Thunderbolt ports, or a Thunderbolt port without a bridge",
        ko: "구성원이 Thunderbolt 포트인 브리지, 또는 브리지에 들지 않은 Thunderbolt 포트",
    }
    plug_in_and_check {
        en: "connect the machines with a Thunderbolt cable and run `tbnet check`",
        ko: "두 기기를 Thunderbolt 케이블로 연결하고 `tbnet check`를 실행합니다",
    }
    check_how_to_mend {
        en: "run `tbnet check` to see how to mend it",
        ko: "`tbnet check`를 실행하면 고치는 방법을 알려 줍니다",
    }
    or_by_hand(see, choices) {
        en: "{see}, or name an interface by hand: {choices}",
        ko: "{see}. 또는 인터페이스를 직접 지정합니다: {choices}",
    }
    several_thunderbolt(names) {
        en: "more than one Thunderbolt link is up: {names}",
        ko: "Thunderbolt 링크가 둘 이상 켜져 있습니다: {names}",
    }
    several_thunderbolt_do(name) {
        en: "say which one, for example --interface {name}",
        ko: "어느 것인지 지정합니다. 예: --interface {name}",
    }
    down(name) {
        en: "{name} is switched off (not up)",
        ko: "{name} 인터페이스가 꺼져 있습니다",
    }
    down_do_linux(name) {
        en: "switch it on: sudo ip link set {name} up",
        ko: "켭니다: sudo ip link set {name} up",
    }
    down_do_mac(name) {
        en: "switch its service on in System Settings > Network, or run: sudo ifconfig {name} up",
        ko: "시스템 설정 > 네트워크에서 서비스를 켜거나 다음 명령을 실행합니다: sudo ifconfig {name} up",
    }
    no_carrier(name) {
        en: "{name} has no carrier: nothing answers at the other end of the cable",
        ko: "{name} 인터페이스에 신호가 없습니다. 케이블 반대편에서 응답이 없습니다",
    }
    no_carrier_do_cable(name) {
        en: "check the cable (it must be a Thunderbolt cable) and that {name}'s peer is awake with its bridge on; the link comes back by itself",
        ko: "Thunderbolt 케이블인지, {name} 반대편 기기가 깨어 있고 브리지가 켜져 있는지 확인합니다. 링크는 저절로 돌아옵니다",
    }
    no_carrier_do_by_hand(name) {
        en: "connect {name} and switch on the interface at its other end",
        ko: "{name} 인터페이스를 연결하고 반대편 인터페이스를 켭니다",
    }
    no_address(name, belongs) {
        en: "{name} has no usable IP address{belongs}",
        ko: "{name} 인터페이스에 쓸 수 있는 IP 주소가 없습니다{belongs}",
    }
    belongs_to(master) { en: " (it belongs to {master})", ko: "({master}의 구성원)" }
    no_address_do_master(master) {
        en: "addresses are on the bridge: use --interface {master}",
        ko: "주소는 브리지에 있습니다. --interface {master} 옵션을 씁니다",
    }
    no_address_do_linux(name) {
        en: "give it one: sudo ip address add 192.168.2.1/24 dev {name}",
        ko: "주소를 줍니다: sudo ip address add 192.168.2.1/24 dev {name}",
    }
    no_address_do_mac {
        en: "give its service a manual address, for example: sudo networksetup -setmanual \"Thunderbolt Bridge\" 192.168.2.1 255.255.255.0 \"\"",
        ko: "서비스에 수동 주소를 줍니다. 예: sudo networksetup -setmanual \"Thunderbolt Bridge\" 192.168.2.1 255.255.255.0 \"\"",
    }
    kind_changed(name, was, now) {
        en: "{name} was a {was} link and is now {now}",
        ko: "{name} 링크의 종류가 바뀌었습니다: {was} → {now}",
    }
    kind_changed_do(name) {
        en: "nothing shows any more that {name} is a Thunderbolt cable; run `tbnet show`, and restart with --interface {name} and a cluster key if that is meant",
        ko: "{name} 인터페이스가 Thunderbolt 케이블이라는 증거가 없어졌습니다. `tbnet show`로 확인하고, 의도한 것이면 --interface {name} 옵션과 클러스터 키로 다시 시작합니다",
    }
    not_known(name, what) {
        en: "{name}: {what} is not known",
        ko: "{name}: 알 수 없는 것: {what}",
    }
    whether_up { en: "whether it is up", ko: "켜져 있는지 여부" }
    whether_carrier { en: "whether it has a carrier", ko: "신호가 있는지 여부" }
    which_addresses { en: "which addresses it has", ko: "주소" }
    its_index { en: "its index", ko: "번호" }
    its_mtu { en: "its MTU", ko: "MTU 값" }
    its_port { en: "which device its Thunderbolt port is now", ko: "현재 Thunderbolt 포트의 장치" }
    the_interfaces { en: "the list of interfaces", ko: "인터페이스 목록" }
    not_known_do(name) {
        en: "run `tbnet show` to see what is known about {name}",
        ko: "`tbnet show`로 {name} 인터페이스에 대해 알려진 것을 봅니다",
    }
    permission(name, asked, detail) {
        en: "{name}: not permitted to ask {asked}: {detail}",
        ko: "{name}: {asked} 조회 권한이 없습니다: {detail}",
    }
    permission_do(name) {
        en: "run it outside the sandbox or container that hides {name}, or as a user who may ask",
        ko: "{name} 인터페이스를 가리는 샌드박스나 컨테이너 밖에서, 또는 권한이 있는 사용자로 실행합니다",
    }
    source_failed(name, asked, why) {
        en: "{name}: cannot tell: {asked}: {why}",
        ko: "{name}: 판단할 수 없습니다: {asked}: {why}",
    }
    source_failed_do(asked, name) {
        en: "see what it says by itself: {asked} (needed to judge {name})",
        ko: "직접 실행해 봅니다: {asked} ({name} 판단에 필요합니다)",
    }

    // ICMP echo.
    echo_permission(detail) {
        en: "this user may not send ICMP echoes: {detail}",
        ko: "이 사용자는 ICMP 에코를 보낼 수 없습니다: {detail}",
    }
    echo_permission_do_linux {
        en: "allow it: sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\", or run it as root",
        ko: "root로 실행하거나 다음 명령으로 허용합니다: sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"",
    }
    echo_permission_do_mac { en: "run it as root", ko: "root로 실행합니다" }
    echo_pin(name, detail) {
        en: "cannot keep a socket on {name}: {detail}",
        ko: "소켓을 {name} 인터페이스에 고정할 수 없습니다: {detail}",
    }
    echo_pin_do(name) {
        en: "is {name} still there? `tbnet show` tells",
        ko: "{name} 인터페이스가 아직 있는지 `tbnet show`로 확인합니다",
    }
    echo_io(peer, name, detail) {
        en: "no echo to {peer} over {name}: {detail}",
        ko: "{name} 인터페이스로 {peer} 주소에 에코를 보낼 수 없습니다: {detail}",
    }
    echo_io_do(peer) {
        en: "`tbnet check --peer {peer}` says why",
        ko: "`tbnet check --peer {peer}` 명령이 이유를 알려 줍니다",
    }
}
