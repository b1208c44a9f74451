//! About addresses.

catalogue! {
    address_missing(name) {
        en: "{name} has no address of its own",
        ko: "{name} 인터페이스에 자체 주소가 없습니다",
    }
}
