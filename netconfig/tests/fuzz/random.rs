//! Where the inputs come from: everything of one follows from its seed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant, UNIX_EPOCH},
};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    pub(crate) fn word<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// Up to four faults: lines that go, come twice, change places or end too early, words that are
    /// others, bytes that are others.
    pub(crate) fn spoil(&mut self, text: String) -> String {
        let mut text = text;
        for _ in 0..=self.below(4) {
            let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
            let at = self.below(lines.len());
            match self.below(8) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[at].clone()),
                2 => {
                    let other = self.below(lines.len());
                    lines.swap(at, other);
                }
                3 => lines.truncate(at),
                4 => {
                    let end = self.edge(&lines[at]);
                    lines[at].truncate(end);
                }
                5 => {
                    let word = self.word(NASTY);
                    let (from, to) = (self.edge(&lines[at]), self.edge(&lines[at]));
                    lines[at].replace_range(from.min(to)..from.max(to), word);
                }
                6 => {
                    let mut words: Vec<&str> = lines[at].split(' ').collect();
                    let word = self.below(words.len());
                    words[word] = self.word(NASTY);
                    lines[at] = words.join(" ");
                }
                _ => {
                    let mut bytes = std::mem::take(&mut lines[at]).into_bytes();
                    if !bytes.is_empty() {
                        let byte = self.below(bytes.len());
                        bytes[byte] ^= 1 << self.below(8);
                    }
                    lines[at] = String::from_utf8_lossy(&bytes).into_owned();
                }
            }
            text = lines.join("\n");
        }
        text
    }

    /// A place in a text where a character begins.
    fn edge(&mut self, text: &str) -> usize {
        let edges: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        *self.of(&edges)
    }
}

/// Words that parsers stumble over.
const NASTY: &[&str] = &[
    "",
    " ",
    "\t",
    "\r",
    ":",
    ": ",
    ", ",
    "(",
    ")",
    "(*)",
    "*",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "=>",
    "=",
    "<",
    ">",
    "%",
    "/",
    "0",
    "-1",
    "33",
    "129",
    "4294967296",
    "99999999999999999999",
    "0x",
    "0xffffffffff",
    "0xff00ff00",
    "255.255.255.255",
    "0.0.0.0",
    "169.254.7.7",
    "1.2.3",
    "fe80::1%bridge0",
    "::",
    "(null)",
    "null",
    "none",
    "\u{0}",
    "\u{1b}[2J",
    "\u{feff}",
    "\u{202e}",
    "브리지",
    "-setdhcp",
    "--",
    "..",
    "../../x",
    "Device:",
    "Hardware Port:",
    "inet",
    "inet6",
    "member:",
    "status:",
    "flags=",
    "netmask",
    "prefixlen",
];

/// Runs `one` on seed after seed. Gives how many inputs it took for good, and how many for bad.
pub(crate) fn fuzz(name: &str, usual: u64, one: impl Fn(&mut Random) -> bool) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("EXO_SEED") {
        one(&mut Random(seed));
        return;
    }
    let until = number("EXO_FUZZ_SECONDS").map(|n| Instant::now() + Duration::from_secs(n));
    let now = UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64;
    let first = until.map_or(0, |_| now);
    let (mut good, mut bad) = (0u64, 0u64);
    for seed in first.. {
        let over = match until {
            Some(until) => seed.is_multiple_of(64) && Instant::now() >= until,
            None => seed == usual,
        };
        if over {
            break;
        }
        match catch_unwind(AssertUnwindSafe(|| one(&mut Random(seed)))) {
            Ok(true) => good += 1,
            Ok(false) => bad += 1,
            Err(panic) => {
                eprintln!("EXO_SEED={seed} cargo test -p exo-netconfig --test fuzz {name}");
                resume_unwind(panic);
            }
        }
    }
    println!("{name}: {good} inputs taken, {bad} refused");
    assert!(good > 0 && bad > 0, "inputs of one sort only: {good} good, {bad} bad");
}
