//! Both machines and both links on this machine: namespaces, the emulator between them, and this same
//! program on either side.

use std::{
    os::unix::process::CommandExt as _,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{Args, doors::EmulatedLink};
use crate::{
    SaidAlready,
    emulator::{self, Machines, Plan, Profile, ceiling, profile::rate},
    job::Server,
    link::LISTEN_PORT,
};

/// The interfaces of both machines, and their networks.
const LINKS: [(&str, [u8; 3]); 2] = [("first0", [192, 168, 2]), ("second0", [192, 168, 3])];
/// How long the measuring side may take to end after it was asked to.
const END_PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(args: &Args, names: &[String]) -> anyhow::Result<()> {
    let profiles = names.iter().map(|name| Profile::find(name).map_err(anyhow::Error::msg));
    let profiles = profiles.collect::<anyhow::Result<Vec<_>>>()?;
    let machines = Machines::new("tbbench-versus", 2)?;
    let (mut links, mut told) = (Vec::new(), Vec::new());
    for (number, (profile, (interface, net))) in profiles.iter().zip(LINKS).enumerate() {
        let carries = ceiling::measure(&machines, profile.mtu.value)?;
        // Two links of one kind do not have their mishaps at the same moments.
        let seed = args.seed.wrapping_add(number as u64);
        told.push(emulated_link(profile, interface, carries, seed));
        links.push((profile, Plan::of(profile, interface, net, seed)));
    }
    let laid = links.iter().map(|(_, plan)| emulator::lay(&machines.names(), plan));
    let _laid = laid.collect::<anyhow::Result<Vec<_>>>()?;

    let own = std::env::current_exe().context("the way to this program")?;
    let keys = tempfile::tempdir()?;
    let key = keys.path().join("key");
    crate::cluster_key::write(&key)?;
    let [(first, _), (second, _)] = LINKS;
    let mut server = machines.command(1, &own);
    server.args(["serve", "--interface", first, "--also", second, "--cluster-key-file"]).arg(&key);
    // Ctrl-C is for this program alone, which tells the measuring side and nobody else.
    server.process_group(0);
    let _server = Server::start(&mut server, LISTEN_PORT)?;

    let mut client = machines.command(0, &own);
    client.arg("versus").arg(links[0].1.address(1).to_string());
    client.args(["--over", first, "--versus", second, "--cluster-key-file"]).arg(&key);
    client.args(["--rounds", &args.rounds.to_string()]);
    client.args(["--slice-ms", &args.slice_ms.to_string()]);
    client.args(["--timeline-s", &args.timeline_s.to_string()]);
    client.args(["--at-most-s", &args.at_most_s.to_string()]);
    client.arg("--out").arg(&args.out).args(["--emulation", &serde_json::to_string(&told)?]);
    let mut client = client.process_group(0).spawn().context("the side that measures")?;
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = client.try_wait()? {
            return match status.success() {
                true => Ok(()),
                false => Err(SaidAlready.into()),
            };
        }
        if crate::interrupt::interrupted() && asked.is_none() {
            asked = Some(Instant::now());
            let pid = nix::unistd::Pid::from_raw(client.id() as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        }
        if asked.is_some_and(|asked| asked.elapsed() > END_PATIENCE) {
            let _ = client.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn emulated_link(profile: &Profile, interface: &str, carries: f64, seed: u64) -> EmulatedLink {
    let capped = profile.fastest_mbps() > carries;
    if capped {
        let title = profile.title;
        eprintln!("{title}: rate-capped, the emulator carries {} here", rate(carries));
    }
    let values = profile.lines().into_iter();
    EmulatedLink {
        interface: interface.into(),
        profile: profile.name.into(),
        title: profile.short.into(),
        values: values
            .map(|(name, value, basis)| (name.to_owned(), value, basis.to_string()))
            .collect(),
        rate_capped_mbps: capped.then_some(carries),
        seed,
    }
}
