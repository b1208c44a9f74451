//! About addresses.

catalogue! {
    dhcp(name) {
        en: "{name} takes its address from DHCP",
        ko: "{name} 인터페이스가 DHCP로 주소를 받습니다",
    }
    not_manual(name, method) {
        en: "{name} is configured by {method}, not manually",
        ko: "{name} 인터페이스의 IPv4 구성이 수동이 아니라 {method}입니다",
    }
    dhcp_why {
        en: "Nobody hands out addresses at the end of a cable between two machines; and an address that changes cannot be written down as a peer.",
        ko: "두 기기를 잇는 케이블 끝에는 주소를 나누어 줄 서버가 없습니다. 또 바뀌는 주소는 상대 주소로 적어 둘 수 없습니다.",
    }
    config_with(method, address) {
        en: "{method} configuration, IP address {address}",
        ko: "IPv4 구성 {method}, IP 주소 {address}",
    }
    config_without(method) {
        en: "{method} configuration, no IP address",
        ko: "IPv4 구성 {method}, IP 주소 없음",
    }
    default_route_unknown(name) {
        en: "Whether the way to the internet leads over {name} is not known",
        ko: "인터넷으로 가는 경로가 {name} 인터페이스를 지나는지 알 수 없습니다",
    }
    method_unknown(name) {
        en: "How {name} gets its address is not known",
        ko: "{name} 인터페이스가 주소를 어떻게 받는지 알 수 없습니다",
    }
    method_unknown_why {
        en: "DHCP over a cable ends in a self-assigned address, or none.",
        ko: "케이블에서 DHCP를 쓰면 자체 할당 주소를 갖게 되거나 주소를 받지 못합니다.",
    }
    leased(name, net) {
        en: "{name} has {net} on lease",
        ko: "{name} 인터페이스의 주소 {net}에 유효 기간이 있습니다",
    }
    leased_seen {
        en: "the address has a lifetime",
        ko: "주소에 유효 기간이 있습니다",
    }
    leased_why {
        en: "An address that changes cannot be written down as a peer.",
        ko: "바뀌는 주소는 상대 주소로 적어 둘 수 없습니다.",
    }
    addresses_unknown(name) {
        en: "Which addresses {name} has is not known",
        ko: "{name} 인터페이스의 주소를 알 수 없습니다",
    }
    addresses_unknown_seen {
        en: "no addresses are listed",
        ko: "주소 목록이 없습니다",
    }
    without_address_why {
        en: "Without an address nothing can be sent over it.",
        ko: "주소가 없으면 이 링크로 아무것도 보낼 수 없습니다.",
    }
    address_missing(name) {
        en: "{name} has no address of its own",
        ko: "{name} 인터페이스에 자체 주소가 없습니다",
    }
    only_automatic(net) {
        en: "only {net}, which every link has",
        ko: "모든 링크가 갖는 {net} 주소뿐입니다",
    }
    only_automatic_why {
        en: "An automatic fe80:: address serves only programs that name the interface with it; no peer can be written down or reached by any other.",
        ko: "자동으로 생기는 fe80:: 주소는 인터페이스 이름을 함께 지정하는 프로그램에만 쓸모가 있습니다. 다른 프로그램은 상대를 적어 두거나 찾아갈 수 없습니다.",
    }
    no_inet_row {
        en: "no inet or inet6 row",
        ko: "inet 또는 inet6 행이 없습니다",
    }
    self_assigned(name, address) {
        en: "{name} has only a self-assigned address, {address}",
        ko: "{name} 인터페이스에 자체 할당 주소 {address}만 있습니다",
    }
    inet_on(net, name) {
        en: "inet {net} on {name}",
        ko: "{name}의 inet {net}",
    }
    self_assigned_why_mac {
        en: "It was made up because DHCP did not answer, and changes. Packets to 169.254/16 leave by the primary interface (usually Wi-Fi) unless a program pins its sockets to the link.",
        ko: "DHCP가 응답하지 않아 임의로 만든 주소이며 바뀔 수 있습니다. 프로그램이 소켓을 링크에 고정하지 않으면 169.254/16으로 가는 패킷은 기본 인터페이스(보통 Wi-Fi)로 나갑니다.",
    }
    self_assigned_why_linux {
        en: "It was made up because nobody gave one, and changes. Packets to 169.254/16 leave by whichever link's route comes first unless a program pins its sockets to the link.",
        ko: "주소를 받지 못해 임의로 만든 주소이며 바뀔 수 있습니다. 프로그램이 소켓을 링크에 고정하지 않으면 169.254/16으로 가는 패킷은 경로가 먼저인 링크로 나갑니다.",
    }
    details_tcpip(service) {
        en: "System Settings > Network > {service} > Details… > TCP/IP",
        ko: "시스템 설정 > 네트워크 > {service} > 세부사항… > TCP/IP",
    }
    configure_manually(own, mask, peer) {
        en: "Configure IPv4: Manually; IP address {own}, subnet mask {mask}, router blank ({peer} on the other Mac)",
        ko: "IPv4 구성: 수동, IP 주소 {own}, 서브넷 마스크 {mask}, 라우터는 비워 둡니다(다른 Mac은 {peer})",
    }
    give_it(own, peer) {
        en: "Give it {own} ({peer} on the other machine); make it last in your network manager",
        ko: "{own} 주소를 줍니다(상대 기기는 {peer}). 재시동 후에도 남도록 네트워크 관리 프로그램에도 설정합니다",
    }
    router_set(service, router) {
        en: "The service \"{service}\" has a router, {router}",
        ko: "\"{service}\" 서비스에 라우터 {router} 주소가 설정되어 있습니다",
    }
    router_seen(router) {
        en: "Router: {router}",
        ko: "라우터: {router}",
    }
    router_why {
        en: "A router on the cable enters the contest for the default route: everything this machine sends to the internet could go to the peer.",
        ko: "케이블에 라우터가 있으면 기본 경로 경쟁에 끼어듭니다. 이 기기가 인터넷으로 보내는 모든 것이 상대 기기로 갈 수 있습니다.",
    }
    empty_router {
        en: "Empty the field Router > OK",
        ko: "라우터 칸을 비웁니다 > 확인",
    }
    default_route(name) {
        en: "A default route leads over {name}",
        ko: "기본 경로가 {name} 인터페이스를 지납니다",
    }
    default_via(gateway, name) {
        en: "default via {gateway} dev {name}",
        ko: "기본 경로: {gateway}, 장치 {name}",
    }
    no_gateway {
        en: "no gateway",
        ko: "게이트웨이 없음",
    }
    remove_default_route {
        en: "Remove the default route, and the gateway from the link's profile",
        ko: "기본 경로를 지우고, 링크의 프로필에서 게이트웨이를 뺍니다",
    }
    overlap_seen(name, mine, other, theirs) {
        en: "{name} has {mine}, {other} has {theirs}",
        ko: "{name}: {mine}, {other}: {theirs}",
    }
    then_the_peer {
        en: "Then give the peer its new address too",
        ko: "그다음 상대 기기에도 새 주소를 줍니다",
    }
    not_expected(name, wanted) {
        en: "{name} does not have the address {wanted}",
        ko: "{name} 인터페이스에 {wanted} 주소가 없습니다",
    }
    not_expected_why {
        en: "Whoever was told this address looks for this machine there.",
        ko: "이 주소를 알고 있는 상대는 이 기기를 그 주소에서 찾습니다.",
    }
    not_expected_do(wanted) {
        en: "Give it that address (tbnet setup --address {wanted}), or expect the one that it has",
        ko: "그 주소를 주거나(tbnet setup --address {wanted}) 지금 있는 주소로 점검합니다",
    }
    subnet_overlap(name, other) {
        en: "{name} and {other} have the same subnet",
        ko: "{name} 및 {other} 인터페이스의 서브넷이 겹칩니다",
    }
    subnet_overlap_why {
        en: "The kernel sends packets for a subnet by one link only. A link without a router loses that tie whatever the service order: packets for the peer would leave by the other one.",
        ko: "커널은 한 서브넷의 패킷을 한 링크로만 보냅니다. 라우터가 없는 링크는 서비스 순서와 상관없이 밀리므로, 상대에게 갈 패킷이 다른 링크로 나갑니다.",
    }
    subnet_overlap_why_linux {
        en: "The kernel sends packets for a subnet by one link only, the one whose route comes first: packets for the peer may leave by the other one.",
        ko: "커널은 한 서브넷의 패킷을 경로가 앞에 있는 한 링크로만 보냅니다. 상대에게 갈 패킷이 다른 링크로 나갈 수 있습니다.",
    }
    vmnet_clash(name, other) {
        en: "{name} has the subnet of the virtual machines on {other}",
        ko: "{name} 인터페이스의 서브넷이 {other}의 가상 머신 네트워크와 겹칩니다",
    }
    vmnet_clash_why {
        en: "Virtual machines and containers take 192.168.2.0/24 or the like for themselves; packets for the peer would go to them.",
        ko: "가상 머신과 컨테이너는 192.168.2.0/24 같은 대역을 스스로 차지합니다. 상대에게 갈 패킷이 그쪽으로 갑니다.",
    }
    wrong_port(port, address) {
        en: "The address {address} is on {port}, not on the Thunderbolt link",
        ko: "{address} 주소가 Thunderbolt 링크가 아니라 {port} 포트에 있습니다",
    }
    wrong_port_seen(service, device, address) {
        en: "service \"{service}\" on {device}: {address}, no router",
        ko: "\"{service}\" 서비스({device}): {address}, 라우터 없음",
    }
    wrong_port_why {
        en: "That is the Ethernet that a USB-C port makes of itself for other devices. A Thunderbolt cable does not go through it, so the peer is not found there.",
        ko: "이 포트는 USB-C 포트가 다른 기기를 위해 만드는 이더넷입니다. Thunderbolt 통신은 이 포트를 지나지 않으므로 여기서는 상대를 찾을 수 없습니다.",
    }
    wrong_port_do(service) {
        en: "Set \"{service}\" back to DHCP, and give the address to the Thunderbolt link",
        ko: "\"{service}\" 서비스를 DHCP로 되돌리고, 주소를 Thunderbolt 링크에 줍니다",
    }
}
