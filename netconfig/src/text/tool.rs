//! What `tbnet` itself says around the findings.

catalogue! {
    // Heads of lines; all that stand in one column are padded alike by whoever prints them.
    severity_error { en: "error", ko: "오류" }
    severity_warning { en: "warning", ko: "경고" }
    severity_unknown { en: "unknown", ko: "알 수 없음" }
    severity_info { en: "info", ko: "정보" }
    seen { en: "seen:", ko: "관찰:" }
    why { en: "why:", ko: "이유:" }
    do_this { en: "do:", ko: "조치:" }
    run_this { en: "run:", ko: "실행:" }

    // Verdicts.
    good { en: "good", ko: "정상" }
    not_good { en: "not good", ko: "문제 있음" }
    could_not_check { en: "could not check", ko: "점검할 수 없음" }
    one_problem { en: "1 problem", ko: "문제 1건" }
    problems(count) { en: "{count} problems", ko: "문제 {count}건" }
    one_warning { en: "1 warning", ko: "경고 1건" }
    warnings(count) { en: "{count} warnings", ko: "경고 {count}건" }
    one_unknown { en: "1 thing not known", ko: "알 수 없는 것 1건" }
    unknowns(count) { en: "{count} things not known", ko: "알 수 없는 것 {count}건" }

    // What is judged or shown.
    recorded_in(platform, folder) {
        en: "{platform} recorded in {folder}",
        ko: "{folder}에 기록된 {platform}",
    }
    this_machine(platform) {
        en: "this machine ({platform})",
        ko: "이 기기({platform})",
    }
    judged(place, kind, name) {
        en: "{place}: {kind} {name}",
        ko: "{place}: {kind} {name}",
    }
    kind_thunderbolt { en: "Thunderbolt link", ko: "Thunderbolt 링크" }
    kind_by_hand { en: "by-hand link", ko: "직접 지정한 링크" }
    kind_unknown { en: "link", ko: "링크" }
    service_fact(name) { en: "service \"{name}\"", ko: "\"{name}\" 서비스" }

    // The picture of a machine.
    cables_title { en: "Thunderbolt ports", ko: "Thunderbolt 포트" }
    no_ports { en: "none with anything plugged in", ko: "연결된 포트가 없습니다" }
    empty { en: "empty", ko: "비어 있음" }
    nothing_recognised { en: "connected, nothing recognised", ko: "연결됨, 기기를 알 수 없음" }
    not_known { en: "not known", ko: "알 수 없음" }
    computer(name) { en: "computer {name}", ko: "컴퓨터 {name}" }
    computer_with_rdma(name) { en: "computer {name}, offers RDMA", ko: "컴퓨터 {name}(RDMA 제공)" }
    wifi { en: "Wi-Fi", ko: "Wi-Fi" }
    device(name) { en: "device {name}", ko: "기기 {name}" }
    links_title { en: "Links", ko: "링크" }
    loopback { en: "loopback", ko: "루프백" }
    tunnel { en: "tunnel (VPN)", ko: "터널(VPN)" }
    virtual_machines { en: "virtual machines", ko: "가상 머신" }
    other { en: "other", ko: "기타" }
    no_address { en: "no address", ko: "주소 없음" }
    addresses_not_known { en: "addresses not known", ko: "주소를 알 수 없음" }
    members_of(members) { en: "of {members}", ko: "구성원 {members}" }
    without_address(names) {
        en: "without an address of their own: {names}",
        ko: "자체 주소 없음: {names}",
    }
    services_title { en: "Service order, first wins", ko: "서비스 순서(위가 우선)" }
    off { en: "off", ko: "꺼짐" }
    with_router(config, router) { en: "{config}, router {router}", ko: "{config}, 라우터 {router}" }
    switches_title { en: "Also", ko: "그 밖에" }
    location_is(name) { en: "location {name}", ko: "네트워크 위치 {name}" }
    firewall_off { en: "firewall off", ko: "방화벽 꺼짐" }
    firewall_on { en: "firewall on", ko: "방화벽 켜짐" }
    firewall_blocks { en: "firewall blocks all incoming connections", ko: "방화벽이 들어오는 연결을 모두 차단" }
    rdma_on { en: "RDMA on, its devices not known", ko: "RDMA 켜짐(장치는 알 수 없음)" }
    rdma_on_at(devices) { en: "RDMA on: {devices}", ko: "RDMA 켜짐: {devices}" }
    rdma_on_nowhere { en: "RDMA on, without a device", ko: "RDMA 켜짐(장치 없음)" }
    exo_daemon { en: "exo's network daemon is installed", ko: "exo 네트워크 데몬이 설치되어 있음" }
    local_network_refused(programs) {
        en: "refused the local network within ten minutes: {programs}",
        ko: "최근 10분 안에 로컬 네트워크 접근이 막힌 프로그램: {programs}",
    }
    local_network_no_refusals {
        en: "no program was refused the local network within ten minutes",
        ko: "최근 10분 안에 로컬 네트워크 접근이 막힌 프로그램 없음",
    }
    rdma_off { en: "RDMA off", ko: "RDMA 꺼짐" }
    sharing_on(from, to) { en: "Internet Sharing from {from} to {to}", ko: "인터넷 공유: {from}에서 {to}" }
    sharing_off { en: "Internet Sharing off", ko: "인터넷 공유 꺼짐" }
    preferred(names) { en: "the system prefers {names}", ko: "시스템이 우선하는 링크: {names}" }
    way_to(peer, interface) { en: "{peer} by {interface}", ko: "{peer} 주소로 가는 경로: {interface}" }
    way_to_unknown(peer, why) {
        en: "{peer}: which way is not known, {why}",
        ko: "{peer} 주소로 가는 경로를 알 수 없음: {why}",
    }
    default_route_by(names) { en: "default route by {names}", ko: "기본 경로: {names}" }
    unknown_title { en: "Not known", ko: "알 수 없는 것" }
    unknown_row(what, source, why) { en: "{what} ({source}): {why}", ko: "{what}({source}): {why}" }
    section_ports { en: "Thunderbolt ports", ko: "Thunderbolt 포트" }
    section_links { en: "links", ko: "링크" }
    section_hardware { en: "hardware ports", ko: "하드웨어 포트" }
    section_services { en: "services", ko: "서비스" }
    section_preferences { en: "configured bridges", ko: "설정된 브리지" }
    section_routes { en: "routes", ko: "경로" }
    section_sharing { en: "Internet Sharing", ko: "인터넷 공유" }
    section_firewall { en: "firewall", ko: "방화벽" }
    section_rdma { en: "RDMA", ko: "RDMA 상태" }
    section_version { en: "system version", ko: "시스템 버전" }
    section_preferred { en: "preferred links", ko: "우선하는 링크" }
    section_exo { en: "exo's network daemon", ko: "exo 네트워크 데몬" }
    section_local_network { en: "Local Network permission", ko: "로컬 네트워크 권한" }

    // Recordings.
    left_out(file, why) { en: "{file}: left out, {why}", ko: "{file}: 제외됨, {why}" }
    recorded(count, folder) {
        en: "{count} answers recorded in {folder}",
        ko: "응답 {count}개를 {folder}에 기록했습니다",
    }
    masked_note {
        en: "names, serial numbers, hardware addresses and UUIDs are masked; IP addresses are kept, as the checks need them",
        ko: "이름, 일련번호, 하드웨어 주소, UUID를 가렸습니다. IP 주소는 점검에 필요하므로 그대로 둡니다",
    }
    unmasked_note {
        en: "it holds names and hardware addresses: --mask replaces them",
        ko: "이름과 하드웨어 주소가 들어 있습니다. --mask를 쓰면 가립니다",
    }
    judge_it(folder) {
        en: "judge it anywhere: tbnet check --from {folder}",
        ko: "어디서나 점검할 수 있습니다: tbnet check --from {folder}",
    }

    // Mistakes.
    error_head { en: "error:", ko: "오류:" }
    hint_head { en: "hint:", ko: "힌트:" }
    cannot_read_machine {
        en: "cannot read the machine's state",
        ko: "기기의 상태를 읽을 수 없습니다",
    }
    record_io(path, error) {
        en: "{path} cannot be opened or written: {error}",
        ko: "{path} 항목을 열거나 쓸 수 없습니다: {error}",
    }
    record_nothing(path) {
        en: "{path} holds no recorded answers",
        ko: "{path} 폴더에 기록된 응답이 없습니다",
    }
    record_already(path) {
        en: "{path} holds a recording already",
        ko: "{path} 폴더에 이미 기록이 있습니다",
    }
    record_platform(path, found) {
        en: "{path}: \"{found}\" is neither macos nor linux",
        ko: "{path}: \"{found}\" 값이 macos도 linux도 아닙니다",
    }
    record_io_hint(path) {
        en: "see whether {path} is there and readable",
        ko: "{path} 항목이 있고 읽을 수 있는지 확인합니다",
    }
    record_full_hint(path) {
        en: "make room on the disk where {path} is to be, or name another folder",
        ko: "{path} 항목을 둘 디스크에 공간을 마련하거나 다른 폴더를 지정합니다",
    }
    record_nothing_hint {
        en: "record one with `tbnet snapshot DIR`, or name the files after their commands, for example ifconfig.txt and networksetup-listallhardwareports.txt",
        ko: "`tbnet snapshot DIR`로 기록하거나, 파일 이름을 명령에 맞춥니다. 예: ifconfig.txt, networksetup-listallhardwareports.txt",
    }
    record_already_hint {
        en: "name a folder that is not there yet: what is left of an older recording would be taken for this one's",
        ko: "아직 없는 폴더를 지정합니다. 이전 기록이 남아 있으면 이번 기록으로 오인됩니다",
    }
    record_platform_hint(path) {
        en: "write macos or linux into {path}",
        ko: "{path} 파일에 macos 또는 linux를 적습니다",
    }
}

/// What to do about a folder of answers, or of pages, that could not be opened or written.
pub fn record_io_hint_for(path: &std::path::Path, error: &std::io::Error) -> super::Text {
    match error.kind() {
        std::io::ErrorKind::StorageFull => record_full_hint(path.display()),
        _ => record_io_hint(path.display()),
    }
}
