//! About the way to the peer.

catalogue! {
    route_unknown(peer) {
        en: "Which way packets to {peer} would go is not known",
        ko: "{peer} 주소로 가는 패킷이 어느 경로로 나가는지 알 수 없습니다",
    }
    route_unknown_why {
        en: "They may leave by another interface, although the link looks right.",
        ko: "링크가 정상으로 보여도 다른 인터페이스로 나갈 수 있습니다.",
    }
    own_address(net, name) {
        en: "{net} is this machine's own address on {name}",
        ko: "{net} 주소는 이 기기의 {name} 인터페이스에 있습니다",
    }
    no_way(peer) {
        en: "The kernel has no way to {peer}",
        ko: "커널에 {peer} 주소로 가는 경로가 없습니다",
    }
    no_route {
        en: "no route",
        ko: "경로 없음",
    }
    stays_on(interface) {
        en: "packets to it stay on {interface}",
        ko: "패킷이 {interface} 안에 머뭅니다",
    }
    rejected(peer) {
        en: "The kernel refuses to send to {peer}",
        ko: "커널이 {peer} 주소로 보내기를 거부합니다",
    }
    rejected_on(interface) {
        en: "a REJECT route on {interface}",
        ko: "{interface}의 REJECT 경로",
    }
    kernel_refuses {
        en: "the kernel refuses",
        ko: "커널이 거부합니다",
    }
    rejected_why {
        en: "A route for this one address refuses its packets; it was left behind by a failed attempt or by another link with the same subnet.",
        ko: "이 주소 하나에 대한 경로가 패킷을 거부합니다. 실패한 연결 시도나 서브넷이 같은 다른 링크가 남긴 경로입니다.",
    }
    delete_route {
        en: "Delete that route; if it comes back, use another subnet on both ends",
        ko: "그 경로를 지웁니다. 다시 생기면 양쪽 모두 다른 서브넷을 씁니다",
    }
    leaves_by(peer, interface) {
        en: "Packets to {peer} would leave by {interface}",
        ko: "{peer} 주소로 가는 패킷이 {interface} 인터페이스로 나갑니다",
    }
    leaves_by_seen(interface, name) {
        en: "interface {interface}, not {name}",
        ko: "나가는 인터페이스 {interface}, 점검 대상 {name}",
    }
    leaves_by_via_seen(interface, gateway, name) {
        en: "interface {interface} via {gateway}, not {name}",
        ko: "나가는 인터페이스 {interface}(게이트웨이 {gateway}), 점검 대상 {name}",
    }
    wrong_route_why {
        en: "Traffic meant for the cable would take another way (Wi-Fi, a VPN, a virtual machine) or none.",
        ko: "케이블로 가야 할 통신이 다른 경로(Wi-Fi, VPN, 가상 머신)로 가거나 아예 가지 못합니다.",
    }
    mend_address_first {
        en: "Mend the address and the subnet mask first, then unplug the cable and plug it in again",
        ko: "먼저 주소와 서브넷 마스크를 고친 다음 케이블을 뺐다가 다시 꽂습니다",
    }
    exclude_from_vpn {
        en: "With a VPN: exclude the subnet from it",
        ko: "VPN을 쓴다면 이 서브넷을 VPN에서 제외합니다",
    }
    own_route {
        en: "Give the peer a route of its own over the link; it holds until the next restart or replug",
        ko: "상대로 가는 경로를 이 링크에 따로 만듭니다. 재시동하거나 케이블을 다시 꽂을 때까지만 남습니다",
    }
    same_address(peer) {
        en: "{peer} is this machine's own address",
        ko: "{peer} 주소는 이 기기 자신의 주소입니다",
    }
    same_address_why {
        en: "Both ends have the same address: packets for the peer never leave this machine.",
        ko: "양쪽의 주소가 같습니다. 상대에게 갈 패킷이 이 기기를 벗어나지 못합니다.",
    }
    change_one(own, peer) {
        en: "Give one of the two another address, for example {own} here and {peer} there",
        ko: "둘 중 하나의 주소를 바꿉니다. 예: 이 기기 {own}, 상대 기기 {peer}",
    }
    outside(peer, name) {
        en: "{peer} is outside the subnet of {name}",
        ko: "{peer} 주소가 {name} 인터페이스의 서브넷 밖에 있습니다",
    }
    nobody(peer) {
        en: "{peer} is no machine's address",
        ko: "{peer} 주소는 기기의 주소가 될 수 없습니다",
    }
    nobody_seen(first, last, name) {
        en: "the network of {name} begins with {first} and ends with {last}",
        ko: "{name} 네트워크의 첫 주소 {first}, 마지막 주소 {last}",
    }
    nobody_why {
        en: "The first address of a network names the network itself, and the last one all of its machines.",
        ko: "네트워크의 첫 주소는 네트워크 자체를, 마지막 주소는 그 안의 모든 기기를 뜻합니다.",
    }
    nobody_do {
        en: "Name the other machine's own address: `tbnet show` there tells it",
        ko: "상대 기기 자신의 주소를 지정합니다. 그 기기의 `tbnet show`가 알려 줍니다",
    }
    has_networks(name, networks) {
        en: "{name} has {networks}",
        ko: "{name}: {networks}",
    }
    no_address_of_family {
        en: "no address of that family",
        ko: "같은 종류의 주소가 없습니다",
    }
    outside_why {
        en: "Packets for an address outside the link's own subnet go to the default router, not over the cable.",
        ko: "링크의 서브넷 밖 주소로 가는 패킷은 케이블이 아니라 기본 라우터로 갑니다.",
    }
    one_subnet(own, peer, mask) {
        en: "Put both ends into one subnet, for example {own} here and {peer} there, mask {mask}",
        ko: "양쪽을 한 서브넷에 둡니다. 예: 이 기기 {own}, 상대 기기 {peer}, 마스크 {mask}",
    }
    scope_missing(peer) {
        en: "{peer} says nothing without its interface",
        ko: "{peer} 주소는 인터페이스 이름이 있어야 쓸 수 있습니다",
    }
    scope_wrong(peer, scope, name) {
        en: "{peer} is named with {scope}, but {name} is judged",
        ko: "{peer} 주소에 {scope} 인터페이스가 지정되었지만, 점검 대상은 {name} 인터페이스입니다",
    }
    scope_not_meant(peer, scope, name) {
        en: "{peer} is named with {scope}, but {name} is to be measured",
        ko: "{peer} 주소에 {scope} 인터페이스가 지정되었지만, 측정할 인터페이스는 {name}입니다",
    }
    scope_seen(peer) {
        en: "link-local address {peer}",
        ko: "링크 로컬 주소 {peer}",
    }
    scope_why {
        en: "Every link has addresses of fe80::/64: without an interface the kernel does not know by which to send (EHOSTUNREACH).",
        ko: "모든 링크에 fe80::/64 주소가 있습니다. 인터페이스가 없으면 커널은 어느 링크로 보낼지 모릅니다(EHOSTUNREACH).",
    }
    scope_do(peer, name) {
        en: "Write the interface with it: {peer}%{name}",
        ko: "인터페이스를 함께 적습니다: {peer}%{name}",
    }
}
