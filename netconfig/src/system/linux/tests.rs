use crate::{InterfaceChoice, Link, LinkError, LinkKind};

#[test]
fn the_loopback_of_this_machine_is_by_hand() {
    let link = Link::open(&InterfaceChoice::Named("lo".into())).unwrap();
    assert_eq!((link.name(), link.kind()), ("lo", LinkKind::ByHand));
    assert!(link.contains("127.0.0.1".parse().unwrap()));
    assert_eq!(link.refresh().unwrap(), link);
}

#[test]
fn an_unknown_interface_is_an_error_that_lists_the_others() {
    let error = Link::open(&InterfaceChoice::Named("no-such-link0".into())).unwrap_err();
    assert!(matches!(&error, LinkError::UnknownInterface { existing, .. }
        if existing.iter().any(|name| name == "lo")));
}
