//! `tbnet ping PEER`

use std::{net::IpAddr, thread, time::Duration};

use exo_netconfig::{
    InterfaceChoice, Link,
    rtt::{Rtt, histogram},
    system::icmp::Echo,
    text::{live as say, route},
};

use super::Exit;
use crate::{
    args::{PeerAddress, PingArgs},
    json::{PingJson, PingOverJson},
    output::{Mistake, Output, Style},
};

/// An echo that takes longer is lost.
const LIMIT: Duration = Duration::from_secs(1);
/// Nobody is there: a hundred waits would tell no more than these.
const SILENT_MAX: usize = 5;
/// Width of the longest bar.
const BAR: usize = 40;

pub(crate) fn run(args: &PingArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let mut ways = vec![Way::open(&args.interface, &args.peer, args)?];
    if let Some(versus) = &args.versus {
        let choice = InterfaceChoice::Named(versus.clone());
        let way = match &args.versus_peer {
            Some(peer) => Way::open(&choice, peer, args),
            // The same machine has another such address there.
            None => Way::open(&choice, &args.peer, args).map_err(|mistake| match args.peer.scope {
                Some(_) => Mistake { hint: say::versus_peer_do(versus), ..mistake },
                None => mistake,
            }),
        };
        ways.push(way?);
    }
    // Turn by turn, so that whatever else the machine does weighs on both alike.
    for number in 0..args.count {
        for way in ways.iter_mut().filter(|way| !way.is_given_up()) {
            match way.echo.once(LIMIT).map_err(Mistake::from)? {
                Some(time) => way.times.push(time),
                None => way.lost += 1,
            }
        }
        if ways.iter().all(Way::is_given_up) {
            break;
        }
        if number + 1 < args.count {
            thread::sleep(Duration::from_millis(args.interval_ms));
        }
    }
    if args.json {
        output.json(&PingJson::of(args.size, ways.iter().map(Way::json).collect()))?;
    } else {
        for way in &ways {
            way.show(output)?;
        }
        compare(&ways, output)?;
    }
    let silent = ways.iter().any(|way| way.times.is_empty());
    Ok(if silent { Exit::Problems } else { Exit::Good })
}

/// One interface and what was measured over it.
struct Way {
    link: Link,
    peer: IpAddr,
    echo: Echo,
    times: Vec<Duration>,
    lost: usize,
}

impl Way {
    fn open(
        choice: &InterfaceChoice,
        peer: &PeerAddress,
        args: &PingArgs,
    ) -> Result<Self, Mistake> {
        if let (InterfaceChoice::Named(name), Some(scope)) = (choice, &peer.scope)
            && name != scope
        {
            let text = route::scope_not_meant(peer.ip, scope, name);
            return Err(Mistake { text, hint: route::scope_do(peer.ip, name) });
        }
        let link = Link::open(&peer.narrow(choice))?;
        let echo = Echo::open(&link, peer.ip, args.size as usize)?;
        Ok(Self { link, peer: peer.ip, echo, times: Vec::new(), lost: 0 })
    }

    fn is_given_up(&self) -> bool {
        self.times.is_empty() && self.lost >= SILENT_MAX
    }

    fn rtt(&self) -> Option<Rtt> {
        Rtt::of(&self.times, self.lost)
    }

    fn json(&self) -> PingOverJson<'_> {
        PingOverJson {
            interface: self.link.name(),
            kind: self.link.kind(),
            peer: self.peer,
            sent: self.times.len() + self.lost,
            lost: self.lost,
            rtt: self.rtt(),
            histogram: match self.times.is_empty() {
                true => Vec::new(),
                false => histogram(&self.times),
            },
        }
    }

    fn show(&self, output: &mut Output) -> anyhow::Result<()> {
        let head = output.words(say::ping_over(self.peer, self.link.name(), self.link.kind()));
        output.line(&output.styled(Style::Strong, &head))?;
        let Some(rtt) = self.rtt() else {
            let words = output.words(say::ping_silent(self.lost, self.peer));
            output.wrapped("  ", &words)?;
            return output.line("");
        };
        let us = |us: f64| format!("{us:.0}");
        let [min, p50, p90, p99, max] =
            [rtt.min_us, rtt.p50_us, rtt.p90_us, rtt.p99_us, rtt.max_us].map(us);
        let words = say::ping_figures(rtt.count, rtt.lost, min, p50, p90, p99, max);
        output.line(&format!("  {}", output.words(words)))?;
        let buckets = histogram(&self.times);
        let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(1);
        for (below_us, count) in buckets {
            let bar = "#".repeat((count * BAR).div_ceil(most));
            output.line(&format!("  {:>9} µs  {count:>7}  {bar}", format!("< {below_us}")))?;
        }
        output.line("")
    }
}

fn compare(ways: &[Way], output: &mut Output) -> anyhow::Result<()> {
    let [one, other] = ways else { return Ok(()) };
    let (Some(a), Some(b)) = (one.rtt(), other.rtt()) else { return Ok(()) };
    let (fast, slow, times) = match a.p50_us <= b.p50_us {
        true => (one, other, b.p50_us / a.p50_us),
        false => (other, one, a.p50_us / b.p50_us),
    };
    output.say(say::ping_ratio(fast.link.name(), slow.link.name(), format!("{times:.2}")))
}
