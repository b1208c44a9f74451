//! Every word that `tbnet setup` says.

use exo_netconfig::plan::{Action, Reason};

pub(super) const NOTHING_TO_DO: &str = "nothing to do: setup finds nothing that it may mend";
pub(super) const DRY_RUN: &str = "nothing was changed (--dry-run)";
pub(super) const QUESTION: &str = "Run these commands? [y/N] ";
pub(super) const DECLINED: &str = "nothing was changed";
pub(super) const NO_TERMINAL: &str = "there is no terminal to ask on";
pub(super) const NO_TERMINAL_HINT: &str =
    "say --yes to run it without asking, or --dry-run to look";
pub(super) const UNDONE: &str = "everything is as it was before";
pub(super) const NOTHING_TO_UNDO_HINT: &str =
    "the old state is kept where setup ran: with or without sudo, and with the same --state";
pub(super) const LEFT: &str = "left as it is:";
pub(super) const UNDO: &str = "put it back as it was: tbnet setup --undo";

pub(super) fn plan_for(interfaces: &[String], pair: Option<(String, String)>) -> String {
    let interfaces = interfaces.join(", ");
    match pair {
        Some((own, peer)) => format!("{interfaces}: {own} here, {peer} at the other end"),
        None => interfaces,
    }
}

pub(super) fn saved(journal: &str) -> String {
    format!("the old state is saved in {journal}")
}

pub(super) fn interrupted(begun: usize, of: usize) -> String {
    format!("an earlier setup was cut off at step {begun} of {of}")
}

pub(super) const INTERRUPTED_HINT: &str = "put it back first: tbnet setup --undo";

pub(super) fn nothing_to_undo(folder: &str) -> String {
    format!("there is no setup to undo in {folder}")
}

pub(super) fn undoing(journal: &str) -> String {
    format!("undoing {journal}")
}

pub(super) const OLDER: &str = "an earlier setup can be undone too: run it again";

/// What a step changes.
pub(super) fn changes(action: &Action) -> String {
    match action {
        Action::SwitchOn { interface } | Action::BringUp { interface } => {
            format!("switches {interface} on")
        }
        Action::SetMtu { interface, mtu } | Action::SetDeviceMtu { device: interface, mtu } => {
            format!("sets the largest packet of {interface} to {mtu} bytes")
        }
        Action::DropAddress { interface, net } => format!("takes {net} away from {interface}"),
        Action::AddAddress { interface, net } => format!("gives {interface} the address {net}"),
        Action::DropDefaultRoute { interface } => {
            format!("takes the default route over {interface} away")
        }
        Action::PreferRoute { peer, interface, .. } => format!(
            "sends packets for {peer} over {interface}, before another link's route; that one stays"
        ),
        Action::KeepNetworkd { interface, .. } => {
            format!("makes it last: a systemd-networkd profile for {interface}")
        }
        Action::KeepNetworkManager { interface, has_profile, .. } => {
            let verb = if *has_profile { "changes the" } else { "a" };
            format!("makes it last: {verb} NetworkManager profile for {interface}")
        }
        Action::EnableService { service } => format!("switches the service \"{service}\" on"),
        Action::CreateService { service, device } => {
            format!("makes the service \"{service}\" on {device}")
        }
        Action::SetManual { service, net } => format!(
            "gives \"{service}\" the fixed address {}, mask {}, and a blank router",
            net.addr(),
            net.netmask()
        ),
        Action::Order { services } => {
            let first = services.first().map(String::as_str).unwrap_or_default();
            format!("puts \"{first}\" first in the service order; the others keep theirs")
        }
        Action::DropRejectRoute { peer } => {
            format!("removes the route that refuses to send to {peer}")
        }
    }
}

/// Why a finding is left.
pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::ByHand => "only hands can mend it; `tbnet check` says how",
        Reason::NotOurs => "it is yours to decide; `tbnet check` says what to look at",
        Reason::Ring => "it is part of a ring",
        Reason::OtherEnd => "the other machine has to change: run `tbnet setup` there",
        Reason::NotKnown => "it is not known, so it is not changed",
    }
}
