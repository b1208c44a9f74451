//! The links there are. Whatever is measured names its public source; the rest is assumed and says
//! why. Round trips that were measured between two computers hold their network stacks as well, so
//! half of one is taken as the delay of a direction.

use super::profile::{Known, Profile, assumed, measured};

const EXO_2295: &str = "Thunderbolt bridge 0.38–0.95 ms there and back under inference, Wi-Fi 4.9–54 ms: \
     https://github.com/exo-explore/exo/issues/2295";
const TCP_300_US: &str = "about 300 µs over TCP between Mac Studios: \
     https://localrig.pages.dev/apple-silicon/mac-studio-cluster-for-giant-models/";
const BREJCHA: &str = "Mac to PC 16.4 Gb/s by iperf3 over 20 Gb/s USB4 peer to peer: \
     https://www.jiribrejcha.net/tag/intel-nuc/";
const ZEN_KERNEL: &str = "15 Gb/s both ways between two Thunderbolt 3 controllers: \
     https://github.com/zen-kernel/zen-kernel/pull/102";
const HUITEMA: &str = "a Mac over Wi-Fi, a packet each 20 ms for ten minutes: median 4.04 ms there and \
     back, 95 % below 8 ms, 99 % below 51 ms, 18 times above 100 ms, 12 times above 200 ms, 0.12 % lost: \
     https://privateoctopus.com/2023/05/18/the-weird-case-of-wifi-latency-spikes.html";
const WIFI_LOSS: &str = "0.12 % there and back were measured, as the delay was, with a packet each 20 ms; \
     that they are lost for a moment rather than one by one is assumed, since TCP would not reach the \
     533 Mb/s that a MacBook of 2013 reached over Wi-Fi 5 (AnandTech)";
const AWDL: &str = "about 90 ms, twice a second, while awdl0 is active: \
     https://news.ycombinator.com/item?id=48628302";
const ETHERNET: &str =
    "941 Mb/s by iperf3 from a MacBook Pro: https://github.com/esnet/iperf/issues/1170";
const TAILSCALE: &str = "275 Mb/s over a 1 Gb/s link with 1 ms: \
     https://forum.tailscale.com/t/tailscale-vs-wireguard-performance/893";

const NO_STALLS: Known<Option<(f64, f64)>> = assumed(None, "a cable does not leave its channel");
const NO_LOSS: Known<(f64, f64)> = assumed((0.0, 0.0), "a cable in order loses nothing");
const NO_TAIL: Known<(f64, f64)> = assumed((0.0, 0.0), "nobody else is on the cable");
const NO_GATHERING: Known<f64> = assumed(0.0, "moderation of interrupts is part of the delay");
const CABLE_JITTER: Known<f64> = assumed(8.0, "the spread of waking up, on the Macs' side");
const CABLE_QUEUE: Known<u64> = assumed(8192, "macOS lets a socket hold 8 MiB");
const THUNDERBOLT_MTU: Known<u16> =
    assumed(65_518, "the largest that bridge0 takes; the relay carries few large packets best");

const THUNDERBOLT_4: Profile = Profile {
    name: "thunderbolt4",
    title: "Thunderbolt 4 bridge",
    short: "Thunderbolt 4",
    mtu: THUNDERBOLT_MTU,
    rate_mbps: [
        measured(16_400.0, BREJCHA),
        assumed(16_400.0, "as there, between two Macs; a PC at MTU 1500 sent 5.3 Gb/s"),
    ],
    shared: false,
    delay_us: measured(150.0, TCP_300_US),
    jitter_us: CABLE_JITTER,
    tail: NO_TAIL,
    loss: NO_LOSS,
    gather_us: NO_GATHERING,
    stalls_ms: NO_STALLS,
    queue_kib: CABLE_QUEUE,
};

const WIFI_6: Profile = Profile {
    name: "wifi6",
    title: "Wi-Fi 6",
    short: "Wi-Fi 6",
    mtu: assumed(1500, "every Wi-Fi has it"),
    rate_mbps: [
        assumed(600.0, "two streams of 80 MHz at half of their 1,200 Mb/s"),
        assumed(600.0, "the same channel"),
    ],
    shared: true,
    delay_us: measured(1950.0, HUITEMA),
    jitter_us: measured(700.0, HUITEMA),
    tail: measured((0.006, 275_000.0), HUITEMA),
    loss: assumed((0.0006, 1000.0), WIFI_LOSS),
    gather_us: assumed(500.0, "packets are sent in aggregates of a few milliseconds at most"),
    stalls_ms: assumed(None, "AWDL asleep: see wifi6-awdl"),
    queue_kib: assumed(1024, "an access point with a sensible queue: 14 ms at its rate"),
};

const WIFI_6E: Profile = Profile {
    name: "wifi6e",
    title: "Wi-Fi 6E",
    short: "Wi-Fi 6E",
    rate_mbps: [
        assumed(700.0, "160 MHz of an empty band, and what Macs reach in it"),
        assumed(700.0, "the same channel"),
    ],
    delay_us: assumed(1300.0, "an empty band: less waiting than in wifi6"),
    jitter_us: assumed(400.0, "an empty band jitters less"),
    tail: assumed((0.003, 275_000.0), "half as often as measured for wifi6"),
    loss: assumed((0.0003, 1000.0), "half as often as wifi6, as long as there"),
    stalls_ms: assumed(None, "AWDL asleep: see wifi6e-awdl"),
    ..WIFI_6
};

/// Every link that can be asked for.
pub(crate) const PROFILES: &[Profile] = &[
    Profile {
        name: "thunderbolt3",
        title: "Thunderbolt 3 bridge",
        short: "Thunderbolt 3",
        rate_mbps: [measured(15_000.0, ZEN_KERNEL), measured(15_000.0, ZEN_KERNEL)],
        delay_us: assumed(150.0, "as Thunderbolt 4: the same 40 Gb/s link, the same network stack"),
        ..THUNDERBOLT_4
    },
    THUNDERBOLT_4,
    Profile {
        name: "thunderbolt5",
        title: "Thunderbolt 5 bridge",
        short: "Thunderbolt 5",
        rate_mbps: [
            assumed(30_000.0, "TCP at three quarters of the 40 Gb/s that RDMA gets of it"),
            assumed(30_000.0, "the same as there"),
        ],
        delay_us: measured(190.0, EXO_2295),
        ..THUNDERBOLT_4
    },
    WIFI_6,
    Profile {
        name: "wifi6-awdl",
        title: "Wi-Fi 6 with AWDL (AirDrop, Sidecar)",
        short: "Wi-Fi 6 + AWDL",
        stalls_ms: measured(Some((500.0, 90.0)), AWDL),
        ..WIFI_6
    },
    WIFI_6E,
    Profile {
        name: "wifi6e-awdl",
        title: "Wi-Fi 6E with AWDL (AirDrop, Sidecar)",
        short: "Wi-Fi 6E + AWDL",
        stalls_ms: measured(Some((500.0, 90.0)), AWDL),
        ..WIFI_6E
    },
    Profile {
        name: "ethernet1g",
        title: "1 Gigabit Ethernet",
        short: "1 GbE",
        mtu: assumed(1500, "the default everywhere"),
        rate_mbps: [measured(983.0, ETHERNET), measured(983.0, ETHERNET)],
        delay_us: assumed(200.0, "a switch between, and both network stacks"),
        jitter_us: assumed(15.0, "the spread of waking up"),
        queue_kib: assumed(512, "a small switch's buffer"),
        ..THUNDERBOLT_4
    },
    Profile {
        name: "ethernet10g",
        title: "10 Gigabit Ethernet",
        short: "10 GbE",
        mtu: assumed(9000, "jumbo frames, as whoever pays for 10 Gb/s sets"),
        rate_mbps: [
            assumed(9_900.0, "the line less preambles and gaps"),
            assumed(9_900.0, "the same as there"),
        ],
        delay_us: assumed(100.0, "a switch between, and both network stacks"),
        jitter_us: assumed(10.0, "the spread of waking up"),
        ..THUNDERBOLT_4
    },
    Profile {
        name: "tailscale",
        title: "Tailscale, direct, over 1 Gigabit Ethernet",
        short: "Tailscale",
        mtu: assumed(1280, "Tailscale's own"),
        rate_mbps: [measured(288.0, TAILSCALE), measured(288.0, TAILSCALE)],
        delay_us: measured(500.0, TAILSCALE),
        jitter_us: assumed(100.0, "two more trips through user space at each end"),
        queue_kib: assumed(512, "a small switch's buffer"),
        ..THUNDERBOLT_4
    },
];
