//! What a setup would change, what it leaves, and why there is no plan.

catalogue! {
    // What a step changes.
    switches_on(interface) {
        en: "switches {interface} on",
        ko: "{interface} 인터페이스를 켭니다",
    }
    sets_mtu(interface, mtu) {
        en: "sets the largest packet of {interface} to {mtu} bytes",
        ko: "{interface} 인터페이스의 최대 패킷 크기(MTU)를 {mtu}바이트로 정합니다",
    }
    takes_address(net, interface) {
        en: "takes {net} away from {interface}",
        ko: "{interface} 인터페이스에서 {net} 주소를 지웁니다",
    }
    gives_address(interface, net) {
        en: "gives {interface} the address {net}",
        ko: "{interface} 인터페이스에 {net} 주소를 추가합니다",
    }
    takes_default_route(interface) {
        en: "takes the default route over {interface} away",
        ko: "{interface} 인터페이스를 지나는 기본 경로를 지웁니다",
    }
    prefers_route(peer, interface) {
        en: "sends packets for {peer} over {interface}, before another link's route; that one stays",
        ko: "{peer} 주소로 가는 패킷을 {interface} 인터페이스로 보내는 경로를 앞에 둡니다. 다른 링크의 경로는 그대로 둡니다",
    }
    keeps_networkd(interface) {
        en: "makes it last: a systemd-networkd profile for {interface}",
        ko: "재시동 후에도 남도록 {interface} 인터페이스의 systemd-networkd 프로필을 만듭니다",
    }
    adds_profile(interface) {
        en: "makes it last: a NetworkManager profile for {interface}",
        ko: "재시동 후에도 남도록 {interface} 인터페이스의 NetworkManager 프로필을 만듭니다",
    }
    changes_profile(interface) {
        en: "makes it last: changes the NetworkManager profile for {interface}",
        ko: "재시동 후에도 남도록 {interface} 인터페이스의 NetworkManager 프로필을 바꿉니다",
    }
    enables_service(service) {
        en: "switches the service \"{service}\" on",
        ko: "\"{service}\" 서비스를 켭니다",
    }
    creates_service(service, device) {
        en: "makes the service \"{service}\" on {device}",
        ko: "{device} 장치에 \"{service}\" 서비스를 만듭니다",
    }
    sets_manual(service, address, mask) {
        en: "gives \"{service}\" the fixed address {address}, mask {mask}, and a blank router",
        ko: "\"{service}\" 서비스에 고정 주소 {address}, 서브넷 마스크 {mask}, 빈 라우터를 줍니다",
    }
    sets_dhcp(service) {
        en: "takes the fixed address away from \"{service}\": DHCP again, as it comes",
        ko: "\"{service}\" 서비스의 고정 주소를 지우고 처음처럼 DHCP로 되돌립니다",
    }
    orders_services(first) {
        en: "puts \"{first}\" first in the service order; the others keep theirs",
        ko: "서비스 순서에서 \"{first}\" 서비스를 맨 앞에 둡니다. 나머지 순서는 그대로입니다",
    }
    drops_reject_route(peer) {
        en: "removes the route that refuses to send to {peer}",
        ko: "{peer} 주소로 보내기를 거부하는 경로를 지웁니다",
    }

    // Why a finding is left.
    left_by_hand {
        en: "only hands can mend it; `tbnet check` says how",
        ko: "사람이 직접 고쳐야 합니다. 방법은 `tbnet check`가 알려 줍니다",
    }
    left_not_ours {
        en: "it is yours to decide; `tbnet check` says what to look at",
        ko: "사용자가 결정할 일입니다. 무엇을 살펴볼지는 `tbnet check`가 알려 줍니다",
    }
    left_other_end(command) {
        en: "the other machine has to change: run `{command}` there",
        ko: "상대 기기의 설정을 바꿔야 합니다. 그 기기에서 실행할 명령: `{command}`",
    }
    left_not_known {
        en: "it is not known, so it is not changed",
        ko: "알 수 없으므로 바꾸지 않습니다",
    }

    // What does not last.
    fleeting_by_nobody(interface) {
        en: "{interface}: neither systemd-networkd nor NetworkManager keeps it, so it is gone after a restart: run it again then",
        ko: "{interface}: systemd-networkd도 NetworkManager도 관리하지 않아 재시동하면 사라집니다. 그때 다시 실행합니다",
    }
    fleeting_bridge(interface) {
        en: "{interface}: NetworkManager keeps no bridge that it did not make, so it is gone after a restart: run it again then",
        ko: "{interface}: NetworkManager는 자신이 만들지 않은 브리지를 관리하지 않으므로 재시동하면 사라집니다. 그때 다시 실행합니다",
    }
    fleeting_sizes(members, mtu) {
        en: "the largest packet of {members}: {mtu} bytes until the next restart; run it again then",
        ko: "{members} 인터페이스의 최대 패킷 크기 {mtu}바이트는 재시동할 때까지만 유지됩니다. 그때 다시 실행합니다",
    }
    fleeting_route(peer, interface) {
        en: "the route to {peer} over {interface}: until the next restart or replug; run it again then",
        ko: "{interface} 인터페이스로 {peer} 주소에 가는 경로는 재시동하거나 케이블을 다시 꽂을 때까지만 유지됩니다. 그때 다시 실행합니다",
    }
    fleeting_port(interface, bridge) {
        en: "{interface}: {bridge} is still in the settings, and takes the port back when macOS makes it anew (at the next start): delete {bridge} first (System Settings > Network > … > Manage Virtual Interfaces…)",
        ko: "{interface}: 설정에 {bridge} 브리지가 남아 있어 macOS가 다시 만들면(다음 시동 때) 포트를 도로 가져갑니다. 먼저 그 브리지를 지웁니다(시스템 설정 > 네트워크 > … > 가상 인터페이스 관리…)",
    }

    // Why there is no plan, and what to do about it.
    no_link {
        en: "there is no link to set up",
        ko: "설정할 링크가 없습니다",
    }
    no_link_hint {
        en: "`tbnet check` says what is missing",
        ko: "무엇이 없는지는 `tbnet check`가 알려 줍니다",
    }
    no_bridge_hint {
        en: "make the bridge as `tbnet check` says, or give each cable a network of its own: tbnet setup --per-port",
        ko: "`tbnet check`가 알려 주는 대로 브리지를 만들거나, 케이블마다 따로 네트워크를 줍니다: tbnet setup --per-port",
    }
    ring(interface) {
        en: "{interface} is part of a ring: nothing is changed on it",
        ko: "{interface} 인터페이스가 루프에 들어 있습니다. 아무것도 바꾸지 않습니다",
    }
    ring_hint(interface) {
        en: "unplug one of the cables and run it again; or take the ports out of {interface} (System Settings > Network > … > Manage Virtual Interfaces…) and run `tbnet setup --per-port`",
        ko: "케이블 하나를 뽑고 다시 실행합니다. 또는 {interface}에서 포트를 빼고(시스템 설정 > 네트워크 > … > 가상 인터페이스 관리…) `tbnet setup --per-port`를 실행합니다",
    }
    ring_hint_linux(interface) {
        en: "unplug one of the cables and run it again; or take the cables' interfaces out of {interface} (ip link set dev INTERFACE nomaster) and run `tbnet setup --per-port`",
        ko: "케이블 하나를 뽑고 다시 실행합니다. 또는 {interface}에서 케이블의 인터페이스를 빼고(ip link set dev INTERFACE nomaster) `tbnet setup --per-port`를 실행합니다",
    }
    maybe_ring(interface) {
        en: "{interface} may be part of a ring: two of its cables lead to computers of the same name and model",
        ko: "{interface} 인터페이스가 루프에 들어 있을 수 있습니다. 케이블 두 개가 이름과 모델이 같은 컴퓨터로 갑니다",
    }
    maybe_ring_hint {
        en: "if they are two computers, unplug one of the cables, run it again and plug it in afterwards; or start `tbnet serve` on one of them and name it with --peer (on a link without addresses by its fe80::…%bridge0): what it says of its ports tells. If it is one computer, leave one cable out",
        ko: "서로 다른 컴퓨터라면 케이블 하나를 뽑고 다시 실행한 다음 다시 꽂습니다. 또는 한쪽에서 `tbnet serve`를 실행하고 --peer로 지정하면(링크에 주소가 없으면 fe80::…%bridge0 주소로) 그 컴퓨터가 알려 주는 포트로 구별합니다. 같은 컴퓨터라면 케이블 하나를 빼 둡니다",
    }
    member(interface, master) {
        en: "{interface} belongs to {master}, which carries the addresses",
        ko: "{interface} 인터페이스가 속한 {master} 인터페이스에 주소가 있습니다",
    }
    member_hint(master) {
        en: "use --interface {master}",
        ko: "--interface {master} 옵션을 씁니다",
    }
    is_loopback(interface) {
        en: "{interface} leads nowhere but to this machine: setup does not touch it",
        ko: "{interface} 인터페이스는 이 기기 자신으로만 이어지므로 건드리지 않습니다",
    }
    is_wifi(interface) {
        en: "{interface} is Wi-Fi: setup does not touch it",
        ko: "{interface} 인터페이스가 Wi-Fi이므로 건드리지 않습니다",
    }
    is_uplink(interface) {
        en: "{interface} carries this machine's way to the internet: setup does not touch it",
        ko: "{interface} 인터페이스로 인터넷에 연결되어 있으므로 건드리지 않습니다",
    }
    name_the_cable {
        en: "name the interface of the cable with --interface; `tbnet show` lists them",
        ko: "--interface로 케이블의 인터페이스를 지정합니다. `tbnet show`가 목록을 보여 줍니다",
    }
    collides(address, with) {
        en: "{address} cannot be used: {with}",
        ko: "주소 {address} 사용 불가: {with}",
    }
    collides_no_host {
        en: "it is no address of a host in a network of at least four",
        ko: "주소가 네 개 이상인 네트워크의 호스트 주소가 아닙니다",
    }
    collides_overlap(other) {
        en: "its network overlaps with that of {other}",
        ko: "네트워크가 겹칩니다({other})",
    }
    collides_peer {
        en: "it is the peer's own address",
        ko: "상대의 주소입니다",
    }
    collides_without_peer(peer) {
        en: "the peer's address, {peer}, is not in its network",
        ko: "그 네트워크에 상대의 주소가 없습니다({peer})",
    }
    collides_hint {
        en: "leave --address out to have one chosen that collides with nothing",
        ko: "--address를 빼면 다른 것과 겹치지 않는 주소를 자동으로 고릅니다",
    }
    peers_other_links(net) {
        en: "the peer's other links ({net})",
        ko: "상대의 다른 링크 {net}",
    }
    no_free_network {
        en: "every network that setup would choose collides with one of this machine's or the peer's",
        ko: "고를 수 있는 네트워크가 모두 이 기기나 상대의 네트워크와 겹칩니다",
    }
    no_free_network_hint {
        en: "if a VPN routes all private networks, exclude one of them from it (192.168.2.0/24, say) or end it while the cable is set up; else choose an address in a network that nobody has with --address",
        ko: "VPN이 모든 사설 네트워크를 가져간다면 그중 하나(예: 192.168.2.0/24)를 VPN에서 제외하거나 설정하는 동안 VPN을 끕니다. 아니면 아무도 쓰지 않는 네트워크의 주소를 --address로 고릅니다",
    }
    mtu_out_of_bounds(mtu, min, max) {
        en: "a largest packet of {mtu} bytes is out of bounds: {min} to {max}",
        ko: "최대 패킷 크기 {mtu}바이트는 범위({min}~{max}) 밖입니다",
    }
    mtu_hint {
        en: "1500 always works; both ends must have the same",
        ko: "1500은 언제나 됩니다. 양쪽이 같아야 합니다",
    }
    not_known(what) {
        en: "not known: {what}",
        ko: "알 수 없음: {what}",
    }
    not_known_hint {
        en: "`tbnet show` says what did not answer, and why",
        ko: "무엇이 왜 응답하지 않았는지는 `tbnet show`가 알려 줍니다",
    }
    what_link { en: "whether there is a Thunderbolt link", ko: "Thunderbolt 링크가 있는지" }
    what_services { en: "the network services and their order", ko: "네트워크 서비스와 그 순서" }
    what_service_config { en: "how the service gets its address", ko: "서비스가 주소를 받는 방법" }
    what_interfaces { en: "which interfaces there are", ko: "인터페이스 목록" }
    what_interface { en: "the state of the interface", ko: "인터페이스의 상태" }
    what_addresses { en: "which addresses the interface has", ko: "인터페이스의 주소" }
    what_ports {
        en: "what is plugged into which Thunderbolt port",
        ko: "어느 Thunderbolt 포트에 무엇이 연결되어 있는지",
    }
    no_port(why) {
        en: "no Thunderbolt port can be set up by itself: {why}",
        ko: "따로 설정할 수 있는 Thunderbolt 포트가 없습니다: {why}",
    }
    no_port_hint {
        en: "take the ports out of the bridge first (System Settings > Network > … > Manage Virtual Interfaces…), connect the cable and wake the other machine",
        ko: "먼저 브리지에서 포트를 빼고(시스템 설정 > 네트워크 > … > 가상 인터페이스 관리…), 케이블을 연결하고 상대 기기를 깨웁니다",
    }
    no_port_hint_linux {
        en: "take the cables' interfaces out of their bridge or bond first (ip link set dev INTERFACE nomaster), connect the cable, wake the other machine, and load the driver at both ends (modprobe thunderbolt-net)",
        ko: "먼저 브리지나 본드에서 케이블의 인터페이스를 빼고(ip link set dev INTERFACE nomaster), 케이블을 연결하고 상대 기기를 깨운 다음, 양쪽에서 드라이버를 로드합니다(modprobe thunderbolt-net)",
    }

    // Per-port mode: why a port is left alone.
    port_named(port) { en: "port {port}", ko: "포트 {port}" }
    port_on_bus(port, bus) { en: "port {port} of {bus}", ko: "{bus} 포트 {port}" }
    port_because(port, why) { en: "{port}: {why}", ko: "{port}: {why}" }
    port_nothing_plugged {
        en: "nothing is plugged into any",
        ko: "아무것도 연결되어 있지 않습니다",
    }
    port_no_computer {
        en: "no computer at the other end",
        ko: "반대편에 컴퓨터가 없습니다",
    }
    port_no_uuids {
        en: "the UUIDs of its ends are not known",
        ko: "양쪽 끝의 UUID를 알 수 없습니다",
    }
    port_of_bridge(interface, master) {
        en: "{interface} belongs to {master}",
        ko: "{interface} 인터페이스가 {master}에 속해 있습니다",
    }
    port_leads_back {
        en: "the cable leads back to this machine",
        ko: "케이블이 이 기기로 되돌아옵니다",
    }
    port_overlaps(net, other) {
        en: "{net} overlaps with the network of {other}",
        ko: "{net} 네트워크가 겹칩니다({other})",
    }
    port_second_cable {
        en: "another cable joins the same two ends: give it an address by hand",
        ko: "다른 케이블이 같은 두 끝을 잇고 있습니다. 주소를 직접 정합니다",
    }
    port_interface_unknown {
        en: "which interface it is is not known",
        ko: "어느 인터페이스인지 알 수 없습니다",
    }
    port_addresses_unknown {
        en: "which addresses it has is not known",
        ko: "어떤 주소가 있는지 알 수 없습니다",
    }
    port_services_unknown {
        en: "the network services are not known",
        ko: "네트워크 서비스를 알 수 없습니다",
    }
    port_config_unknown(service) {
        en: "how {service} gets its address is not known",
        ko: "\"{service}\" 서비스가 주소를 받는 방법을 알 수 없습니다",
    }
}
