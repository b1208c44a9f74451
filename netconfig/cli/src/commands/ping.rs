//! `tbnet ping PEER`

use std::{net::IpAddr, thread, time::Duration};

use exo_netconfig::{
    InterfaceChoice, Link, LinkKind,
    rtt::{Rtt, Way},
    system::icmp::{Echo, EchoError},
};
use serde::Serialize;

use super::Exit;
use crate::{
    args::PingArgs,
    output::{Hint, Output, SCHEMA, Style},
};

/// An echo that takes longer is lost.
const LIMIT: Duration = Duration::from_secs(1);
/// Width of the longest bar.
const BAR: usize = 40;

pub(crate) fn run(args: &PingArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let mut ways = vec![Over::open(&args.interface, args.peer, args)?];
    if let Some(versus) = &args.versus {
        let choice = InterfaceChoice::Named(versus.clone());
        ways.push(Over::open(&choice, args.versus_peer.unwrap_or(args.peer), args)?);
    }
    // Turn by turn, so that whatever else the machine does weighs on both alike.
    for number in 0..args.count {
        for way in &mut ways {
            match way.echo.once(LIMIT).map_err(echoless)? {
                Some(time) => way.times.push(time),
                None => way.lost += 1,
            }
        }
        if number + 1 < args.count {
            thread::sleep(Duration::from_millis(args.interval_ms));
        }
    }
    let silent = ways.iter().any(|way| way.times.is_empty());
    if args.json {
        let over: Vec<Measured<'_>> = ways.iter().map(Over::measured).collect();
        output.json(&Json { schema: SCHEMA, command: "ping", size: args.size, over })?;
    } else {
        ways.iter().try_for_each(|way| way.show(output))?;
        compare(&ways, output)?;
    }
    Ok(if silent { Exit::Problems } else { Exit::Good })
}

/// One interface and what was measured over it.
struct Over {
    link: Link,
    peer: IpAddr,
    echo: Echo,
    times: Vec<Duration>,
    lost: usize,
}

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    command: &'static str,
    size: u32,
    over: Vec<Measured<'a>>,
}

#[derive(Serialize)]
struct Measured<'a> {
    interface: &'a str,
    kind: LinkKind,
    peer: IpAddr,
    sent: usize,
    lost: usize,
    rtt_us: Option<Rtt>,
}

impl Over {
    fn open(choice: &InterfaceChoice, peer: IpAddr, args: &PingArgs) -> anyhow::Result<Self> {
        let link = Link::open(choice).map_err(|error| {
            let hint = Hint(error.hint());
            anyhow::Error::new(error).context(hint)
        })?;
        let echo = Echo::open(&link, peer, args.size as usize).map_err(echoless)?;
        Ok(Self { link, peer, echo, times: Vec::new(), lost: 0 })
    }

    fn rtt(&self) -> Option<Rtt> {
        Rtt::of(Way::Icmp, &self.times, self.lost)
    }

    fn measured(&self) -> Measured<'_> {
        Measured {
            interface: self.link.name(),
            kind: self.link.kind(),
            peer: self.peer,
            sent: self.times.len() + self.lost,
            lost: self.lost,
            rtt_us: self.rtt(),
        }
    }

    fn show(&self, output: &mut Output) -> anyhow::Result<()> {
        let head = words::head(self.peer, self.link.name(), self.link.kind());
        output.line(&output.styled(Style::Strong, &head))?;
        let Some(rtt) = self.rtt() else {
            return output.line(&words::silent(self.lost));
        };
        output.line(&words::figures(&rtt))?;
        let buckets = buckets(&self.times);
        let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(1);
        for (below_us, count) in buckets {
            let bar = "#".repeat((count * BAR).div_ceil(most));
            output.line(&format!("  {:>9} µs  {count:>7}  {bar}", format!("< {below_us}")))?;
        }
        output.line("")
    }
}

/// Counts by powers of two, from the first that holds any to the last.
fn buckets(times: &[Duration]) -> Vec<(u64, usize)> {
    let mut counts = [0_usize; 64];
    for time in times {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        counts[(64 - us.leading_zeros()).min(63) as usize] += 1;
    }
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let last = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    (first..=last).map(|power| (1_u64 << power, counts[power])).collect()
}

fn compare(ways: &[Over], output: &mut Output) -> anyhow::Result<()> {
    let [one, other] = ways else { return Ok(()) };
    let (Some(a), Some(b)) = (one.rtt(), other.rtt()) else { return Ok(()) };
    output.line(&words::ratio(one.link.name(), a.p50_us, other.link.name(), b.p50_us))
}

fn echoless(error: EchoError) -> anyhow::Error {
    let hint = Hint(error.hint());
    anyhow::Error::new(error).context(hint)
}

/// Every word that `tbnet ping` says.
mod words {
    use super::{IpAddr, LinkKind, Rtt};

    pub(super) fn head(peer: IpAddr, interface: &str, kind: LinkKind) -> String {
        format!("{peer} over {interface} ({kind})")
    }

    pub(super) fn silent(lost: usize) -> String {
        format!("  nothing came back of {lost}; hint: `tbnet check --peer IP` says why")
    }

    pub(super) fn figures(rtt: &Rtt) -> String {
        format!(
            "  {} there and back, {} lost; µs: min {:.0}, p50 {:.0}, p90 {:.0}, p99 {:.0}, max {:.0}",
            rtt.count, rtt.lost, rtt.min_us, rtt.p50_us, rtt.p90_us, rtt.p99_us, rtt.max_us
        )
    }

    pub(super) fn ratio(one: &str, a: f64, other: &str, b: f64) -> String {
        let (fast, slow, times) = if a <= b { (one, other, b / a) } else { (other, one, a / b) };
        format!("p50 over {fast} is {times:.2} times as quick as over {slow}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_one_bucket_below_its_bound() {
        let times: Vec<Duration> =
            [0, 1, 2, 3, 700, 1023, 1024].map(Duration::from_micros).to_vec();
        let buckets = buckets(&times);
        assert_eq!(buckets.first(), Some(&(1, 1)));
        assert_eq!(buckets.last(), Some(&(2048, 1)));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<usize>(), times.len());
        assert!(buckets.contains(&(1024, 2)) && buckets.contains(&(512, 0)));
    }
}
