//! About the peer's own report, and how talking to it went.

catalogue! {
    peer_silent(peer) {
        en: "{peer} does not answer",
        ko: "{peer} 기기가 응답하지 않습니다",
    }
    silent_timed_out(limit_ms) {
        en: "nothing came back within {limit_ms} ms",
        ko: "{limit_ms}ms 안에 응답이 오지 않았습니다",
    }
    silent_refused {
        en: "connection refused: nothing listens there",
        ko: "연결이 거부되었습니다. 대기 중인 프로그램이 없습니다",
    }
    silent_unreachable {
        en: "the system has no way there (EHOSTUNREACH)",
        ko: "시스템에 상대로 가는 경로가 없습니다(EHOSTUNREACH)",
    }
    silent_not_trusted(detail) {
        en: "it could not prove who it is: {detail}",
        ko: "상대가 자신이 누구인지 증명하지 못했습니다: {detail}",
    }
    silent_other_version(detail) {
        en: "it speaks another version: {detail}",
        ko: "상대가 다른 버전을 씁니다: {detail}",
    }
    silent_mute(software) {
        en: "it runs {software}, which does not say what its end is like",
        ko: "{software} 프로그램이 실행 중이지만 자신의 상태를 알려 주지 않습니다",
    }
    silent_key_needed {
        en: "this link is not shown to be a cable: without the cluster's key nobody on it can be believed",
        ko: "이 링크가 케이블이라는 증거가 없어, 클러스터 키 없이는 상대를 믿을 수 없습니다",
    }
    silent_not_on_link {
        en: "no network of this link has that address",
        ko: "이 링크의 네트워크에 속한 주소가 아닙니다",
    }
    not_on_link_do {
        en: "Look for a mistyped address; all machines on one cable or bridge need addresses of one subnet.",
        ko: "주소를 잘못 입력하지 않았는지 확인합니다. 한 케이블이나 브리지에 있는 기기는 모두 같은 서브넷의 주소가 필요합니다.",
    }
    silent_link_unusable(detail) {
        en: "this link cannot be used: {detail}",
        ko: "이 링크를 쓸 수 없습니다: {detail}",
    }
    link_unusable_do {
        en: "Mend what is said of the link, or name the cable's interface with --interface",
        ko: "링크의 문제를 먼저 고치거나, --interface로 케이블의 인터페이스를 지정합니다",
    }
    silent_not_recorded {
        en: "the record holds no answer of it",
        ko: "기록에 이 기기의 응답이 없습니다",
    }
    not_recorded_do(peer) {
        en: "Record again with the peer: `tbnet snapshot DIR --peer {peer}`",
        ko: "상대를 지정해 다시 기록합니다: `tbnet snapshot DIR --peer {peer}`",
    }
    silent_node_runs {
        en: "this machine's exo-node is connected to it; a second connection under the same name would end that one",
        ko: "이 기기의 exo-node가 이미 상대와 연결되어 있습니다. 같은 이름으로 다시 연결하면 그 연결이 끊깁니다",
    }
    node_runs_do {
        en: "`exo-node status` shows that connection; stop exo-node here to compare both ends",
        ko: "그 연결은 `exo-node status`로 봅니다. 양쪽을 비교하려면 이 기기의 exo-node를 멈춥니다",
    }
    same_key_do {
        en: "Give both machines the same --cluster-key-file, or neither; if the peer was set up anew, do as the hint says",
        ko: "두 기기에 같은 --cluster-key-file을 지정하거나 양쪽 모두 지정하지 않습니다. 상대를 새로 설치했으면 힌트대로 합니다",
    }
    peer_not_asked(peer) {
        en: "{peer} was not asked",
        ko: "{peer} 기기에 묻지 않았습니다",
    }
    icmp_answers(p50_us) {
        en: "the machine itself answers to ping, in {p50_us} µs",
        ko: "기기 자체는 핑에 {p50_us}µs 만에 응답합니다",
    }
    icmp_silent {
        en: "the machine does not answer to ping either",
        ko: "기기가 핑에도 응답하지 않습니다",
    }
    system_ping_silent {
        en: "/sbin/ping has no way there either",
        ko: "/sbin/ping에도 그곳으로 가는 경로가 없습니다",
    }
    peer_silent_why {
        en: "The other end can then not be compared: its address, mask and MTU are not known.",
        ko: "반대편과 비교할 수 없습니다. 상대의 주소, 마스크, MTU를 알 수 없습니다.",
    }
    start_serve {
        en: "Run `tbnet check` on the other machine, and start `tbnet serve` or `exo-node serve` there",
        ko: "상대 기기에서 `tbnet check`를 실행하고, `tbnet serve`나 `exo-node serve`를 시작합니다",
    }
    same_on_both(address, peer) {
        en: "{peer} has the same address as this machine, {address}",
        ko: "{peer} 기기의 주소가 이 기기와 같습니다: {address}",
    }
    both_have(own, theirs) {
        en: "{own} here, {theirs} there",
        ko: "이 기기 {own}, 상대 기기 {theirs}",
    }
    mask_mismatch(peer) {
        en: "{peer} has another subnet mask, or another subnet",
        ko: "{peer} 기기의 서브넷 또는 서브넷 마스크가 다릅니다",
    }
    mask_mismatch_why {
        en: "One end takes the other for a neighbour, but not the other way round: packets go one way, or not at all.",
        ko: "한쪽만 상대를 이웃으로 봅니다. 패킷이 한 방향으로만 가거나 전혀 가지 않습니다.",
    }
    mask_mismatch_do(net, own, peer, prefix_len) {
        en: "Both ends need one subnet and mask, for example {net}: {own}/{prefix_len} here, {peer}/{prefix_len} there",
        ko: "양쪽의 서브넷과 마스크가 같아야 합니다. 예: {net}, 이 기기 {own}/{prefix_len}, 상대 기기 {peer}/{prefix_len}",
    }
    mtu_mismatch(peer) {
        en: "{peer} has another MTU",
        ko: "{peer} 기기의 MTU가 다릅니다",
    }
    too_large(peer, bytes) {
        en: "Packets of {bytes} bytes do not come back from {peer}, smaller ones do",
        ko: "{bytes}바이트 패킷에는 {peer} 기기의 응답이 없고, 더 작은 패킷에는 있습니다",
    }
    too_large_seen(bytes) {
        en: "no answer to an echo of {bytes} bytes, which is this link's MTU",
        ko: "이 링크의 MTU인 {bytes}바이트 에코에 응답이 없습니다",
    }
    mtu_mismatch_do(mtu) {
        en: "Set both ends to the same, for example {mtu} (System Settings > Network > the service > Details… > Hardware > MTU)",
        ko: "양쪽을 같은 값으로 맞춥니다. 예: {mtu} (시스템 설정 > 네트워크 > 해당 서비스 > 세부사항… > 하드웨어 > MTU)",
    }
    mtu_mismatch_do_linux(mtu) {
        en: "Set both ends to the same, for example {mtu}",
        ko: "양쪽을 같은 값으로 맞춥니다. 예: {mtu}",
    }
    peer_version(peer) {
        en: "{peer} runs another version",
        ko: "{peer} 기기의 프로그램 버전이 다릅니다",
    }
    peer_version_why {
        en: "What one version understands another may not; a cluster of mixed versions may refuse to form.",
        ko: "버전이 다르면 서로 이해하지 못하는 것이 있을 수 있고, 클러스터가 만들어지지 않을 수 있습니다.",
    }
    peer_version_do {
        en: "Install the same version on both machines",
        ko: "두 기기에 같은 버전을 설치합니다",
    }
    clock_skew(peer, seconds) {
        en: "The clock of {peer} differs by {seconds} s",
        ko: "{peer} 기기의 시계가 {seconds}초 다릅니다",
    }
    clock_ahead(ms) {
        en: "its clock is ahead by {ms} ms",
        ko: "상대의 시계가 {ms}ms 앞서 있습니다",
    }
    clock_behind(ms) {
        en: "its clock is behind by {ms} ms",
        ko: "상대의 시계가 {ms}ms 늦습니다",
    }
    clock_skew_why {
        en: "Logs of the two machines cannot be read side by side, and certificates may seem not yet valid or expired.",
        ko: "두 기기의 로그를 나란히 읽을 수 없고, 인증서가 아직 유효하지 않거나 만료된 것으로 보일 수 있습니다.",
    }
    clock_skew_do_mac {
        en: "On both machines: System Settings > General > Date & Time > Set time and date automatically",
        ko: "두 기기 모두에서: 시스템 설정 > 일반 > 날짜 및 시간 > 시간 및 날짜를 자동으로 설정",
    }
    clock_skew_do_linux {
        en: "Have both clocks set by the network",
        ko: "두 기기의 시계를 네트워크로 맞춥니다",
    }
    latency(p50_us) {
        en: "Half of the round trips take less than {p50_us} µs",
        ko: "왕복 중앙값이 {p50_us}µs입니다",
    }
    latency_slow(p50_us) {
        en: "Round trips take {p50_us} µs: slow for a cable",
        ko: "왕복에 {p50_us}µs가 걸립니다. 케이블치고 느립니다",
    }
    latency_not_a_cable(p50_us) {
        en: "Round trips take {p50_us} µs: probably not the cable",
        ko: "왕복에 {p50_us}µs가 걸립니다. 케이블이 아닐 가능성이 큽니다",
    }
    latency_seen(count, by, p50_us, p99_us, lost) {
        en: "{count} by {by}: p50 {p50_us} µs, p99 {p99_us} µs, {lost} lost",
        ko: "{by} {count}회: p50 {p50_us}µs, p99 {p99_us}µs, 손실 {lost}회",
    }
    latency_why {
        en: "Over a Thunderbolt cable half of them take less than 600 µs; every generated token waits for one per machine.",
        ko: "Thunderbolt 케이블에서는 왕복 중앙값이 600µs보다 작습니다. 토큰 하나를 만들 때마다 기기당 한 번씩 왕복을 기다립니다.",
    }
    latency_do {
        en: "See that both machines are awake and idle, and that the route leads over the cable",
        ko: "두 기기가 깨어 있고 바쁘지 않은지, 경로가 케이블을 지나는지 확인합니다",
    }
}
