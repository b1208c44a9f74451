//! macOS: about network services, and what else the system does to the link.

catalogue! {
    service_unknown(name) {
        en: "The service of {name} and its place are not known",
        ko: "{name} 인터페이스의 서비스와 그 순서를 알 수 없습니다",
    }
    service_unknown_why {
        en: "A service that is missing or switched off leaves the bridge without an address.",
        ko: "서비스가 없거나 꺼져 있으면 브리지가 주소를 갖지 못합니다.",
    }
    service_missing(name) {
        en: "{name} has no network service",
        ko: "{name} 인터페이스에 네트워크 서비스가 없습니다",
    }
    service_missing_seen(name) {
        en: "no service with the device {name}",
        ko: "장치가 {name}인 서비스가 없습니다",
    }
    service_missing_why {
        en: "The bridge exists, but without a service macOS gives it no address.",
        ko: "브리지는 있지만, 서비스가 없으면 macOS가 주소를 주지 않습니다.",
    }
    add_service {
        en: "System Settings > Network > … (below the list) > Add Service… > Interface: the Thunderbolt bridge > Create",
        ko: "시스템 설정 > 네트워크 > …(목록 아래) > 서비스 추가… > 인터페이스: Thunderbolt 브리지 > 생성",
    }
    service_disabled(service) {
        en: "The service \"{service}\" is switched off",
        ko: "\"{service}\" 서비스가 꺼져 있습니다",
    }
    service_disabled_seen(service, name) {
        en: "\"{service}\" on {name} is marked (*)",
        ko: "\"{service}\" 서비스({name})에 (*) 표시가 있습니다",
    }
    service_disabled_why {
        en: "A service that is off leaves its interface down and without an address.",
        ko: "서비스가 꺼져 있으면 인터페이스도 꺼지고 주소도 없습니다.",
    }
    make_active(service) {
        en: "System Settings > Network > right-click {service} > Make Service Active",
        ko: "시스템 설정 > 네트워크 > {service} 오른쪽 클릭 > 서비스 활성화",
    }
    below_wifi(own, wifi) {
        en: "\"{own}\" comes after \"{wifi}\" in the service order",
        ko: "서비스 순서에서 \"{own}\" 서비스가 \"{wifi}\" 서비스보다 뒤에 있습니다",
    }
    below_wifi_seen(ours, theirs, count) {
        en: "place {ours} and place {theirs} of {count}",
        ko: "{count}개 중 {ours}번째와 {theirs}번째",
    }
    below_wifi_why {
        en: "The guide asks for it above Wi-Fi; there it takes no default route as long as its router is blank. It works below Wi-Fi too: packets for the peer follow the subnet, not the order. Nor does the order protect a subnet that overlaps with Wi-Fi's. An update of macOS may change the order.",
        ko: "안내서는 Wi-Fi보다 위에 두라고 합니다. 라우터가 비어 있으면 위에 있어도 기본 경로를 차지하지 않습니다. 아래에 있어도 동작합니다. 상대에게 가는 패킷은 순서가 아니라 서브넷을 따르기 때문입니다. 서브넷이 Wi-Fi와 겹치는 문제는 순서로 막을 수 없습니다. macOS 업데이트가 순서를 바꿀 수 있습니다.",
    }
    set_service_order {
        en: "System Settings > Network > … (below the list) > Set Service Order…",
        ko: "시스템 설정 > 네트워크 > …(목록 아래) > 서비스 순서 설정…",
    }
    drag_above(own, wifi) {
        en: "Drag {own} above {wifi} > OK",
        ko: "{own} 서비스를 {wifi} 위로 드래그 > 확인",
    }
    internet_sharing(from, name) {
        en: "Internet Sharing is on and shares {from} to {name}",
        ko: "인터넷 공유가 켜져 있어 {from} 연결을 {name} 인터페이스로 공유합니다",
    }
    another_connection {
        en: "another connection",
        ko: "다른",
    }
    shared_to(devices) {
        en: "shared to {devices}",
        ko: "공유 대상: {devices}",
    }
    internet_sharing_why {
        en: "It puts an address of its own (usually 192.168.2.1) on the link and hands out others by DHCP, beside the addresses you set.",
        ko: "설정한 주소와 별도로 링크에 자체 주소(보통 192.168.2.1)를 두고 DHCP로 다른 주소를 나누어 줍니다.",
    }
    internet_sharing_do {
        en: "If you do not need it: System Settings > General > Sharing > Internet Sharing > off",
        ko: "필요하지 않다면: 시스템 설정 > 일반 > 공유 > 인터넷 공유 > 끔",
    }
    internet_sharing_unknown {
        en: "Whether Internet Sharing uses the link is not known",
        ko: "인터넷 공유가 이 링크를 쓰는지 알 수 없습니다",
    }
    internet_sharing_unknown_why {
        en: "It would put addresses of its own on the link.",
        ko: "인터넷 공유는 링크에 자체 주소를 둡니다.",
    }
    internet_sharing_suspected(name, address) {
        en: "{name} has {address}, which nobody configured: as Internet Sharing would give it",
        ko: "{name} 인터페이스에 설정한 적 없는 {address} 주소가 있습니다. 인터넷 공유가 붙이는 주소의 형태입니다",
    }
    configured_address(address) {
        en: "configured: {address}",
        ko: "설정된 주소: {address}",
    }
    has_besides(address) {
        en: "has {address} as well",
        ko: "{address} 주소도 있음",
    }
    ports_renumbered(name) {
        en: "The ports configured for {name} are not those it has",
        ko: "{name} 브리지에 설정된 포트와 실제 포트가 다릅니다",
    }
    configured_members(members) {
        en: "configured: {members}",
        ko: "설정: {members}",
    }
    actual_members(members) {
        en: "in the kernel: {members}",
        ko: "커널: {members}",
    }
    none_at_all {
        en: "none",
        ko: "없음",
    }
    ports_renumbered_why {
        en: "The enN of a port may change with a restart or another dock. A port that is not in the bridge carries nothing; one that took over the number of another may be the wrong one.",
        ko: "포트의 enN 번호는 재시동하거나 독을 바꾸면 달라질 수 있습니다. 브리지에 없는 포트로는 아무것도 오가지 않고, 번호를 이어받은 포트는 엉뚱한 포트일 수 있습니다.",
    }
    firewall_blocks_all {
        en: "The firewall refuses all incoming connections",
        ko: "방화벽이 들어오는 연결을 모두 차단합니다",
    }
    firewall_on {
        en: "The firewall is on: programs that it does not know are refused incoming connections",
        ko: "방화벽이 켜져 있습니다. 허용되지 않은 프로그램은 들어오는 연결을 받지 못합니다",
    }
    firewall_state(state) {
        en: "state {state}",
        ko: "상태 {state}",
    }
    firewall_why {
        en: "The peer can then not reach this machine, although this machine can reach the peer.",
        ko: "이 기기에서 상대로는 연결되어도, 상대에서 이 기기로는 연결되지 않습니다.",
    }
    firewall_all_do {
        en: "System Settings > Network > Firewall > Options… > Block all incoming connections: off",
        ko: "시스템 설정 > 네트워크 > 방화벽 > 옵션… > 모든 들어오는 연결 차단: 끔",
    }
    firewall_do {
        en: "System Settings > Network > Firewall > Options… > + > exo-node > Allow incoming connections",
        ko: "시스템 설정 > 네트워크 > 방화벽 > 옵션… > + > exo-node > 들어오는 연결 허용",
    }
    firewall_unknown {
        en: "Whether the firewall refuses the peer's connections is not known",
        ko: "방화벽이 상대의 연결을 차단하는지 알 수 없습니다",
    }
    rdma_excludes_bridge(name) {
        en: "RDMA over Thunderbolt is on; ports in {name} cannot use it",
        ko: "Thunderbolt RDMA가 켜져 있습니다. {name} 브리지에 있는 포트는 RDMA를 쓸 수 없습니다",
    }
    rdma_enabled {
        en: "RDMA is enabled",
        ko: "RDMA가 켜져 있습니다",
    }
    rdma_devices(devices) {
        en: "RDMA devices: {devices}",
        ko: "RDMA 장치: {devices}",
    }
    rdma_excludes_bridge_why {
        en: "A port is either in the bridge, for IP, or used for RDMA. Programs that want RDMA take the port out of the bridge, and the IP link over it ends.",
        ko: "포트는 브리지에서 IP로 쓰이거나 RDMA로 쓰이거나 둘 중 하나입니다. RDMA를 쓰는 프로그램은 포트를 브리지에서 빼므로 그 포트의 IP 링크가 끊깁니다.",
    }
    rdma_excludes_bridge_do {
        en: "Use another cable and port for RDMA, or leave it switched off",
        ko: "RDMA에는 다른 케이블과 포트를 쓰거나 RDMA를 꺼 둡니다",
    }
    rdma_unknown {
        en: "Whether RDMA over Thunderbolt is on is not known",
        ko: "Thunderbolt RDMA가 켜져 있는지 알 수 없습니다",
    }
    local_network_refused(program) {
        en: "macOS refused {program} the local network",
        ko: "macOS가 {program} 프로그램의 로컬 네트워크 접근을 막았습니다",
    }
    local_network_refused_seen(program) {
        en: "{program}: Local network prohibited",
        ko: "{program}: Local network prohibited(로컬 네트워크 금지)",
    }
    local_network_suspected(peer) {
        en: "The system would not send to {peer}, although the route is right",
        ko: "경로가 올바른데도 시스템이 {peer} 주소로 보내지 않았습니다",
    }
    host_unreachable {
        en: "EHOSTUNREACH (65) for this program",
        ko: "이 프로그램에 EHOSTUNREACH(65) 오류",
    }
    system_ping_answers {
        en: "the system's own ping reaches it",
        ko: "시스템의 ping은 상대에 닿습니다",
    }
    local_network_unknown {
        en: "Whether macOS keeps our programs off the local network is not known",
        ko: "macOS가 이 프로그램들의 로컬 네트워크 접근을 막는지 알 수 없습니다",
    }
    local_network_why {
        en: "Since macOS 15 a program needs the permission Local Network; without it the system answers as if the peer were not there, while its own tools still reach it.",
        ko: "macOS 15부터 프로그램에는 로컬 네트워크 권한이 필요합니다. 권한이 없으면 시스템 도구는 상대에게 닿는데도 프로그램에는 상대가 없는 것처럼 응답합니다.",
    }
    local_network_do {
        en: "System Settings > Privacy & Security > Local Network > switch on the program (for one run in Terminal: Terminal)",
        ko: "시스템 설정 > 개인정보 보호 및 보안 > 로컬 네트워크 > 해당 프로그램 켬(터미널에서 실행했다면 터미널)",
    }
    local_network_let_peer_dial {
        en: "Or let the peer dial: an incoming connection needs no such permission",
        ko: "또는 상대 기기가 먼저 연결하게 합니다. 들어오는 연결에는 이 권한이 필요하지 않습니다",
    }
}
