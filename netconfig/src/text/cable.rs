//! About the cable: is the link up, is somebody there, at what speed, and is there a loop?

catalogue! {
    bridge_empty(name) {
        en: "{name} has no Thunderbolt port in it",
        ko: "{name} 브리지에 Thunderbolt 포트가 없습니다",
    }
    bridge_empty_seen {
        en: "no member",
        ko: "구성원이 없습니다",
    }
    bridge_empty_why {
        en: "A bridge without members leads nowhere: the ports were taken out of it, or are used one by one.",
        ko: "구성원이 없는 브리지는 어디에도 이어지지 않습니다. 포트를 브리지에서 뺐거나 하나씩 따로 쓰고 있습니다.",
    }
    bridge_edit {
        en: "Select the Thunderbolt bridge > Edit > tick every Thunderbolt port > Apply",
        ko: "Thunderbolt 브리지 선택 > 편집 > 모든 Thunderbolt 포트에 체크 > 적용",
    }
    link_down(name) {
        en: "{name} is switched off",
        ko: "{name} 인터페이스가 꺼져 있습니다",
    }
    link_down_seen {
        en: "the UP flag is not set",
        ko: "UP 플래그가 없습니다",
    }
    link_down_why {
        en: "Nothing is sent or received over an interface that is down.",
        ko: "꺼진 인터페이스로는 아무것도 주고받을 수 없습니다.",
    }
    link_down_do_linux {
        en: "Switch the interface on",
        ko: "인터페이스를 켭니다",
    }
    link_down_do {
        en: "System Settings > Network > right-click its service > Make Service Inactive, then Active",
        ko: "시스템 설정 > 네트워크 > 해당 서비스를 오른쪽 클릭 > 서비스 비활성화, 이어서 서비스 활성화",
    }
    carrier_unknown(name) {
        en: "Whether anything answers at the other end of {name} is not known",
        ko: "{name} 인터페이스의 반대편이 응답하는지 알 수 없습니다",
    }
    carrier_unknown_seen {
        en: "no status is given",
        ko: "상태가 표시되지 않습니다",
    }
    no_link_without_peer {
        en: "A link without a peer is no link.",
        ko: "상대가 없는 링크는 링크가 아닙니다.",
    }
    nobody_answers(name) {
        en: "Nothing answers at the other end of {name}",
        ko: "{name} 인터페이스의 반대편이 응답하지 않습니다",
    }
    no_carrier {
        en: "no carrier",
        ko: "신호(carrier)가 없습니다",
    }
    connect_other_end {
        en: "Connect it, and switch on the interface at its other end",
        ko: "케이블을 연결하고 반대편의 인터페이스를 켭니다",
    }
    is_inactive(name) {
        en: "{name} is inactive",
        ko: "{name} 인터페이스가 비활성 상태입니다",
    }
    inactive_why {
        en: "An interface without a peer at the other end carries nothing.",
        ko: "반대편에 상대가 없는 인터페이스로는 아무것도 오가지 않습니다.",
    }
    peer_network_silent(peers) {
        en: "{peers} is connected, but its network does not answer",
        ko: "{peers} 기기가 연결되어 있지만 네트워크가 응답하지 않습니다",
    }
    at_the_other_end(peers) {
        en: "at the other end: {peers}",
        ko: "반대편: {peers}",
    }
    peer_offers_no_ip {
        en: "it does not offer IP over the cable",
        ko: "반대편이 케이블로 IP를 제공하지 않습니다",
    }
    peer_network_silent_why_mac {
        en: "The cable is good; the other machine's bridge is missing or switched off, or the port was taken out of it (for RDMA, for example).",
        ko: "케이블은 정상입니다. 상대 기기의 브리지가 없거나 꺼져 있거나, 포트가 브리지에서 빠져 있습니다(예: RDMA 사용).",
    }
    peer_network_silent_why_linux {
        en: "The cable is good; the other machine's interface is missing (thunderbolt-net is not loaded, or its bridge is off) or still logging in.",
        ko: "케이블은 정상입니다. 상대 기기의 인터페이스가 없거나(thunderbolt-net이 로드되지 않았거나 브리지가 꺼짐) 아직 로그인 중입니다.",
    }
    check_the_other {
        en: "Run `tbnet check` on the other machine",
        ko: "상대 기기에서 `tbnet check`를 실행합니다",
    }
    no_computer {
        en: "No computer is at the end of any Thunderbolt cable",
        ko: "Thunderbolt 케이블 끝에 컴퓨터가 없습니다",
    }
    plugged_in(devices) {
        en: "plugged in: {devices}",
        ko: "연결된 기기: {devices}",
    }
    docks_are_no_peers {
        en: "An interface without a peer at the other end carries nothing. Docks and drives are not peers.",
        ko: "반대편에 상대가 없는 인터페이스로는 아무것도 오가지 않습니다. 독이나 저장 장치는 상대가 아닙니다.",
    }
    connect_the_two {
        en: "Connect the two machines to each other with a Thunderbolt cable",
        ko: "두 기기를 Thunderbolt 케이블로 서로 연결합니다",
    }
    nothing_plugged_in {
        en: "Nothing is plugged into any Thunderbolt port",
        ko: "Thunderbolt 포트에 아무것도 연결되어 있지 않습니다",
    }
    no_link(name) {
        en: "{name} has no link: no cable, or nobody at its other end",
        ko: "{name} 인터페이스에 링크가 없습니다. 케이블이 없거나 반대편에 아무도 없습니다",
    }
    no_device_on_any_port {
        en: "no device on any port",
        ko: "어느 포트에도 기기가 없습니다",
    }
    no_cable_why {
        en: "An interface without a peer at the other end carries nothing. A cable that only charges, or carries only USB, looks the same: no computer appears.",
        ko: "반대편에 상대가 없는 인터페이스로는 아무것도 오가지 않습니다. 충전 전용이나 USB 전용 케이블도 똑같이 보입니다. 컴퓨터가 나타나지 않습니다.",
    }
    connect_both {
        en: "Connect both machines with a Thunderbolt cable (it bears the lightning mark)",
        ko: "두 기기를 Thunderbolt 케이블(번개 표시가 있음)로 연결합니다",
    }
    wake_the_other {
        en: "Wake the other machine and log in: the link comes up seconds later by itself",
        ko: "상대 기기를 깨우고 로그인합니다. 몇 초 뒤 링크가 저절로 연결됩니다",
    }
    link_dropped(name, address) {
        en: "{name} gives its address {address} back as soon as the link returns",
        ko: "링크가 돌아오면 {name} 인터페이스가 {address} 주소를 다시 갖습니다",
    }
    link_dropped_seen(name) {
        en: "{name} is inactive and has no IPv4 address; its service has one set by hand",
        ko: "{name} 인터페이스가 비활성이고 IPv4 주소가 없지만, 서비스에는 수동 주소가 설정되어 있습니다",
    }
    link_dropped_why {
        en: "macOS takes an address off a link that has dropped and puts it back by itself; sockets bound to the link survive short drops.",
        ko: "macOS는 링크가 끊기면 주소를 없앴다가 돌아오면 스스로 되돌립니다. 링크에 고정된 소켓은 잠깐 끊겨도 유지됩니다.",
    }
    link_dropped_do {
        en: "Wait for the link; nothing has to be restarted or set again",
        ko: "링크가 돌아오기를 기다립니다. 다시 시작하거나 다시 설정할 필요는 없습니다",
    }
    ports_unknown {
        en: "What is plugged into which Thunderbolt port is not known",
        ko: "어느 Thunderbolt 포트에 무엇이 연결되어 있는지 알 수 없습니다",
    }
    ports_unknown_why {
        en: "Two cables to the same computer under one bridge would make a loop.",
        ko: "한 브리지 아래에서 같은 컴퓨터로 가는 케이블이 둘이면 루프가 생깁니다.",
    }
    loop_to_itself(port) {
        en: "The cable in {port} leads back to this machine",
        ko: "{port}의 케이블이 이 기기로 되돌아옵니다",
    }
    loop_to_itself_seen(device) {
        en: "at its end is a domain of this machine, {device}",
        ko: "케이블 끝에 이 기기의 도메인이 있습니다: {device}",
    }
    loop_same_computer(device) {
        en: "Two cables lead to the same computer, {device}",
        ko: "케이블 두 개가 같은 컴퓨터로 갑니다: {device}",
    }
    loop_alike(device) {
        en: "Two cables lead to a {device}: if it is the same computer, they form a loop",
        ko: "케이블 두 개가 {device} 기기로 갑니다. 같은 컴퓨터라면 루프가 됩니다",
    }
    loop_seen(device, first, second) {
        en: "{device} in {first} and in {second}",
        ko: "{device}: {first}, {second}",
    }
    loop_ring(names) {
        en: "The cables between {names} form a ring of bridges",
        ko: "{names} 사이의 케이블이 브리지로 된 루프를 이룹니다",
    }
    loop_ring_seen(first, second, count) {
        en: "{first} – {second}: {count} bridged",
        ko: "{first} – {second}: 브리지로 묶인 케이블 {count}개",
    }
    loop_why(name) {
        en: "{name} does not run a spanning tree: in a loop one broadcast circles for ever and takes the whole bridge with it.",
        ko: "{name} 브리지는 스패닝 트리를 쓰지 않습니다. 루프에서는 브로드캐스트 하나가 끝없이 돌며 브리지 전체를 마비시킵니다.",
    }
    loop_do {
        en: "Unplug one cable, or leave the bridge and give each port a subnet of its own (one /30 per cable); never switch a bridge on in a ring",
        ko: "케이블 하나를 뽑거나, 브리지를 쓰지 않고 포트마다 따로 서브넷(케이블당 /30 하나)을 줍니다. 루프가 있으면 브리지를 켜지 않습니다",
    }
    loop_alike_do {
        en: "If they are two computers, let one of them say so: `tbnet serve` there, `tbnet check --peer ADDRESS` here",
        ko: "서로 다른 컴퓨터라면 한쪽에서 `tbnet serve`를 실행하고 여기서 `tbnet check --peer ADDRESS`로 확인합니다",
    }
    slow_cable(port, gbps) {
        en: "The cable in {port} runs at {gbps} Gb/s; this port can do 80",
        ko: "{port}의 케이블이 {gbps}Gb/s로 동작합니다. 이 포트는 80Gb/s까지 가능합니다",
    }
    slow_cable_seen(port, gbps, device) {
        en: "{port}: {gbps} Gb/s to {device}",
        ko: "{port}: {device}까지 {gbps}Gb/s",
    }
    slow_cable_why {
        en: "Between two Thunderbolt 5 ports 40 Gb/s is the sign of a Thunderbolt 4 cable. A machine that has only Thunderbolt 3 or 4 runs at 40 with any cable.",
        ko: "Thunderbolt 5 포트 사이에서 40Gb/s는 Thunderbolt 4 케이블이라는 뜻입니다. Thunderbolt 3이나 4까지만 지원하는 기기는 어떤 케이블로도 40Gb/s입니다.",
    }
    slow_cable_do {
        en: "If the other machine has Thunderbolt 5 as well, use a cable that is marked with a 5",
        ko: "상대 기기도 Thunderbolt 5를 지원한다면 5 표시가 있는 케이블을 씁니다",
    }
    mtu(name, mtu) {
        en: "The largest packet on {name} is {mtu} bytes",
        ko: "{name} 인터페이스의 최대 패킷은 {mtu}바이트입니다",
    }
    mtu_why {
        en: "Both ends must have the same: larger packets from one end vanish at the other.",
        ko: "양쪽이 같아야 합니다. 한쪽이 보낸 더 큰 패킷은 다른 쪽에서 사라집니다.",
    }
    mtu_not_as_configured(name, actual, configured) {
        en: "The largest packet on {name} is {actual} bytes, although {configured} are configured",
        ko: "{name} 인터페이스의 최대 패킷은 설정된 {configured}바이트가 아니라 {actual}바이트입니다",
    }
    mtu_configured(mtu) { en: "configured MTU: {mtu}", ko: "설정된 MTU: {mtu}" }
    mtu_not_as_configured_why {
        en: "After a restart or a replug it may be the other: then larger packets from one end vanish at the other.",
        ko: "재시동하거나 다시 연결하면 값이 바뀔 수 있습니다. 그러면 한쪽이 보낸 더 큰 패킷이 다른 쪽에서 사라집니다.",
    }
    mtu_not_as_configured_do(actual, configured) {
        en: "Keep {actual}, or set {configured} at both ends: System Settings > Network > the service > Details… > Hardware > MTU",
        ko: "{actual}바이트를 유지하거나, 양쪽 모두 {configured}바이트로 맞춥니다: 시스템 설정 > 네트워크 > 해당 서비스 > 세부사항… > 하드웨어 > MTU",
    }
    not_thunderbolt(name) {
        en: "{name} is not shown to be a Thunderbolt link",
        ko: "{name} 인터페이스가 Thunderbolt 링크라는 증거가 없습니다",
    }
    not_thunderbolt_why {
        en: "It can be used as a link chosen by hand. Trust on first use is for cables alone: such a link wants a cluster key.",
        ko: "직접 지정한 링크로 쓸 수 있습니다. 다만 첫 연결을 믿는 방식은 케이블에만 쓰이므로, 이런 링크에는 클러스터 키가 필요합니다.",
    }
    thunderbolt_unknown(name) {
        en: "Whether {name} is a Thunderbolt link is not known",
        ko: "{name} 인터페이스가 Thunderbolt 링크인지 알 수 없습니다",
    }
    thunderbolt_unknown_why {
        en: "Without the list of hardware ports its members could be anything.",
        ko: "하드웨어 포트 목록이 없으면 구성원이 무엇인지 알 수 없습니다.",
    }
}
