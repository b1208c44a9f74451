//! How much has an interface carried, by the system's own count?
//!
//! Beside what a program says it has sent, this shows over which interface it went.

use serde::{Deserialize, Serialize};

/// What an interface has carried since it was made, headers of all layers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

impl Counters {
    /// What was carried since an earlier look; since the interface was made, if that was later.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Self {
            received: since(self.received, before.received),
            sent: since(self.sent, before.sent),
        }
    }
}

/// The counters of an interface; `None` if the system does not tell.
#[must_use]
pub fn counters(interface: &str) -> Option<Counters> {
    // Of this process's own network namespace, which /sys need not show.
    #[cfg(target_os = "linux")]
    return parse_proc(&std::fs::read_to_string("/proc/self/net/dev").ok()?, interface);
    #[cfg(not(target_os = "linux"))]
    {
        const LIMIT: std::time::Duration = std::time::Duration::from_secs(2);
        let words = ["-ibn", "-I", interface];
        let output = super::command::run("/usr/sbin/netstat", &words, LIMIT).ok()?;
        parse_netstat(&String::from_utf8_lossy(&output), interface)
    }
}

/// Linux's `/proc/net/dev`: a name, eight numbers received, eight sent.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn parse_proc(text: &str, interface: &str) -> Option<Counters> {
    let of = |line: &&str| line.trim_start().split(':').next() == Some(interface);
    let (_, numbers) = text.lines().find(of)?.split_once(':')?;
    let numbers: Vec<u64> =
        numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Counters { received: *numbers.first()?, sent: *numbers.get(8)? })
}

/// macOS's `netstat -ibn`: the line of the link itself, whose columns the header names. A link
/// without an address of its own (a tunnel) lacks that column.
#[cfg_attr(target_os = "linux", allow(dead_code))]
fn parse_netstat(text: &str, interface: &str) -> Option<Counters> {
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next()?.split_whitespace().collect();
    let line = lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.first() == Some(&interface) && words.get(2).is_some_and(is_link))?;
    // Counted from the end, where nothing is ever left out.
    let number = |name: &str| {
        let from_end = head.len() - head.iter().position(|column| *column == name)?;
        line.len().checked_sub(from_end).and_then(|at| line.get(at))?.parse().ok()
    };
    Some(Counters { received: number("Ibytes")?, sent: number("Obytes")? })
}

fn is_link(word: &&str) -> bool {
    word.starts_with("<Link#")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROC: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 4062530   12345    0    0    0     0          0         0  4062530   12345    0    0    0     0       0          0
thunderbolt0:1000 2 0 0 0 0 0 0 3000 4 0 0 0 0 0 0
";

    const NETSTAT: &str = "\
Name       Mtu   Network       Address            Ipkts Ierrs     Ibytes    Opkts Oerrs     Obytes  Coll
bridge0    1500  <Link#19>   36:8e:95:56:73:c0     1000     2   10000000     2000     1    5000000     0
bridge0    1500  192.168.2     192.168.2.1         1000     -   10000000     2000     -    5000000     -
utun4      1380  <Link#22>                          7     0        700        8     0        900     0
";

    #[test]
    fn both_systems_counters_are_read() {
        let counted = |received, sent| Some(Counters { received, sent });
        assert_eq!(parse_proc(PROC, "lo"), counted(4_062_530, 4_062_530));
        assert_eq!(parse_proc(PROC, "thunderbolt0"), counted(1_000, 3_000));
        assert_eq!(parse_proc(PROC, "thunderbolt"), None);
        assert_eq!(parse_netstat(NETSTAT, "bridge0"), counted(10_000_000, 5_000_000));
        assert_eq!(parse_netstat(NETSTAT, "utun4"), counted(700, 900));
        assert_eq!(parse_netstat(NETSTAT, "en0"), None);
        assert!(cfg!(not(target_os = "linux")) || counters("lo").is_some());
    }

    #[test]
    fn an_interface_that_was_made_anew_begins_anew() {
        let counted = |received, sent| Counters { received, sent };
        assert_eq!(counted(15, 7).since(counted(10, 5)), counted(5, 2));
        assert_eq!(counted(3, 7).since(counted(10, 5)), counted(3, 2));
    }

    proptest! {
        #[test]
        fn damaged_output_is_not_known_and_never_a_panic(
            at in any::<prop::sample::Index>(), byte in 32u8..127, cut in any::<prop::sample::Index>(),
        ) {
            for (text, parse) in [
                (PROC, parse_proc as fn(&str, &str) -> Option<Counters>),
                (NETSTAT, parse_netstat),
            ] {
                let mut bytes = text.as_bytes().to_vec();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                let _ = parse(&String::from_utf8_lossy(&bytes), "bridge0");
                bytes.truncate(cut.index(bytes.len()));
                let _ = parse(&String::from_utf8_lossy(&bytes), "lo");
            }
        }
    }
}
