//! Words that recur: why something is not known, what shows that a link is a cable, states.

catalogue! {
    // Why something is not known.
    there_is_no(what) {
        en: "there is no {what}",
        ko: "{what} 항목이 없습니다",
    }
    not_understood(detail) {
        en: "could not be understood: {detail}",
        ko: "내용을 해석할 수 없습니다: {detail}",
    }
    no_answer_within(limit_ms) {
        en: "did not answer within {limit_ms} ms",
        ko: "{limit_ms}ms 안에 응답하지 않았습니다",
    }
    permission_denied(detail) {
        en: "permission denied: {detail}",
        ko: "권한이 없습니다: {detail}",
    }
    failed(detail) {
        en: "failed: {detail}",
        ko: "실패했습니다: {detail}",
    }
    not_asked {
        en: "was not asked",
        ko: "조회하지 않았습니다",
    }

    // Where it was learned, if not by a command or a file.
    source_connection(peer) { en: "connection to {peer}", ko: "{peer} 연결" }
    source_end_report(machine) { en: "end report of {machine}", ko: "{machine} 기기의 보고" }
    source_end_reports(machines) { en: "end reports of {machines}", ko: "{machines} 기기의 보고" }
    source_icmp_echo { en: "ICMP echo", ko: "ICMP 에코" }

    // What shows that a link is a cable.
    evidence_driver(driver, source) {
        en: "its driver is {driver} ({source})",
        ko: "드라이버가 {driver}입니다({source})",
    }
    evidence_members(members, source) {
        en: "its members are Thunderbolt ports: {members} ({source})",
        ko: "구성원이 모두 Thunderbolt 포트입니다: {members}({source})",
    }
    evidence_port(port, source) {
        en: "it is the hardware port {port} ({source})",
        ko: "하드웨어 포트 {port}입니다({source})",
    }
    evidence_none {
        en: "chosen by hand; nothing shows that it is a cable",
        ko: "직접 지정한 인터페이스이며, 케이블이라는 증거가 없습니다",
    }

    // States of a link.
    state_down {
        en: "down",
        ko: "꺼짐",
    }
    state_active {
        en: "active",
        ko: "연결됨",
    }
    state_no_link {
        en: "no link",
        ko: "연결 없음",
    }
    state_up {
        en: "up",
        ko: "켜짐",
    }
    state_unknown {
        en: "state not known",
        ko: "상태를 알 수 없음",
    }

    // How a service gets its address.
    method_manual {
        en: "manual",
        ko: "수동",
    }
    method_off {
        en: "off",
        ko: "끔",
    }

    // Devices.
    a_computer {
        en: "a computer",
        ko: "컴퓨터",
    }
    unnamed_device {
        en: "an unnamed device",
        ko: "이름 없는 기기",
    }
    port(number) {
        en: "port {number}",
        ko: "포트 {number}",
    }
    and_in(first, second) {
        en: "{first} and {second}",
        ko: "{first}, {second}",
    }
}
