//! What a machine that serves is watched for beside its work: what its interface has carried by the
//! system's own count, whether it may fall asleep, and whether it runs on a battery.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};

use exo_netconfig::system::{self, Awake, Counters, Power};

use crate::fabric::{Endpoint, NodeId};

/// How often the system is asked: its answers change slowly, and macOS runs a program for each.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Power is asked for once in so many looks.
const POWER_EVERY: u32 = 15;

/// What was seen last.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Bytes that this program has sent and received since it was started.
    pub(super) own: Counters,
    /// Bytes of the interface since then, seen a moment later.
    pub(super) carried: Option<Counters>,
    /// How it is kept awake, or why not.
    pub(super) awake: String,
    /// Where its power comes from, if the system tells.
    pub(super) power: String,
}

/// See the module. Its thread ends with it.
pub(super) struct Condition(Arc<Mutex<Seen>>);

impl Condition {
    /// Begins to count what the endpoint's interface carries, and keeps the machine awake.
    pub(super) fn watch(endpoint: Endpoint) -> std::io::Result<Self> {
        let interface = endpoint.link().name().to_owned();
        let began = system::counters(&interface);
        let seen = Arc::new(Mutex::new(Seen {
            carried: began.map(|_| Counters::default()),
            ..Seen::default()
        }));
        let shared = Arc::downgrade(&seen);
        thread::Builder::new()
            .name("condition".into())
            .spawn(move || look_after(&shared, &endpoint, &interface, began))?;
        Ok(Self(seen))
    }

    pub(super) fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What all sessions have carried, those that are over as far as they were seen.
#[derive(Default)]
struct Sessions {
    over: Counters,
    now: BTreeMap<NodeId, Counters>,
}

impl Sessions {
    fn handle_look(&mut self, sessions: impl Iterator<Item = (NodeId, Counters)>) -> Counters {
        let mut before = std::mem::take(&mut self.now);
        self.now = sessions.collect();
        for (node, now) in &self.now {
            // A count that has become less is another session's.
            let same = before
                .get(node)
                .is_some_and(|was| was.sent <= now.sent && was.received <= now.received);
            if same {
                before.remove(node);
            }
        }
        for over in before.values() {
            self.over = sum(self.over, *over);
        }
        self.now.values().copied().fold(self.over, sum)
    }
}

fn sum(a: Counters, b: Counters) -> Counters {
    Counters { received: a.received + b.received, sent: a.sent + b.sent }
}

fn look_after(
    shared: &Weak<Mutex<Seen>>,
    endpoint: &Endpoint,
    interface: &str,
    mut began: Option<Counters>,
) {
    let mut sessions = Sessions::default();
    let mut awake = system::keep_awake("a language model is being served");
    let (mut power, mut told) = (None, None);
    for look in 0_u32.. {
        if look % POWER_EVERY == 0 {
            power = system::power();
        }
        // Ours first: whatever of it goes over the interface is in the interface's count then.
        let own = sessions.handle_look(endpoint.stats().connections.iter().map(|connection| {
            let (received, sent) = (connection.bytes_in, connection.bytes_out);
            (connection.peer, Counters { received, sent })
        }));
        let now = system::counters(interface);
        // An interface that came later has carried nothing of ours before.
        began = began.or(now);
        let seen = Seen {
            own,
            carried: now.zip(began).map(|(now, began)| now.since(began)),
            awake: match &mut awake {
                Ok(held) => awake_words(held),
                Err(error) => format!("may fall asleep: {error}"),
            },
            power: power.map_or_else(String::new, |power| power.to_string()),
        };
        // A refusal is known only a moment after the asking.
        if look > 0 && told.as_ref() != Some(&(seen.awake.clone(), power.is_some_and(is_battery))) {
            tell(&seen, power);
            told = Some((seen.awake.clone(), power.is_some_and(is_battery)));
        }
        match shared.upgrade() {
            Some(shared) => *shared.lock().unwrap_or_else(PoisonError::into_inner) = seen,
            None => return,
        }
        // In short turns, so that what keeps the machine awake does not outlive the node by much.
        for _ in 0..10 {
            thread::sleep(LOOK_EVERY / 10);
            if shared.strong_count() == 0 {
                return;
            }
        }
    }
}

fn is_battery(power: Power) -> bool {
    matches!(power, Power::Battery { .. })
}

fn awake_words(held: &mut Awake) -> String {
    let program = held.program().rsplit('/').next().unwrap_or_default();
    if held.is_held() {
        format!("kept awake by {program}")
    } else {
        format!("may fall asleep: {program} was refused, or has ended")
    }
}

fn tell(seen: &Seen, power: Option<Power>) {
    match power.filter(|power| is_battery(*power)) {
        Some(power) => tracing::warn!(
            awake = seen.awake,
            "this machine serves on {power}; a closed lid puts it to sleep all the same \
             (hint: plug it in)"
        ),
        None if seen.awake.starts_with("kept") => {
            tracing::info!(awake = seen.awake, "while it serves");
        }
        None => tracing::info!(awake = seen.awake, "nothing keeps this machine awake"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_are_over_are_counted_still() {
        let node = |id| NodeId::from_bytes([id; 16]);
        let carried = |received, sent| Counters { received, sent };
        let mut sessions = Sessions::default();
        let mut look = |now: &[(u8, u64)]| {
            let now = now.iter().map(|&(id, bytes)| (node(id), carried(bytes, 2 * bytes)));
            sessions.handle_look(now)
        };
        assert_eq!(look(&[(1, 10), (2, 5)]), carried(15, 30));
        assert_eq!(look(&[(1, 20)]), carried(25, 50));
        // The peer is back, with a session that has carried less.
        assert_eq!(look(&[(1, 3)]), carried(28, 56));
        assert_eq!(look(&[(1, 4), (2, 1)]), carried(30, 60));
        assert_eq!(look(&[]), carried(30, 60));
    }
}
