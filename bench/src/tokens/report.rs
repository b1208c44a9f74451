//! What is told of the links: tokens per second, late tokens, and the link's part.

use anyhow::Context as _;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::Args;
use crate::{cluster::client, emulator::profile::rate, figures::Figure};

/// What was heard over one link, answer by answer.
pub(super) struct Heard {
    title: String,
    rate_capped_mbps: Option<f64>,
    rates: Vec<f64>,
    firsts_ms: Vec<f64>,
    gaps_ms: Vec<f64>,
}

impl Heard {
    pub(super) fn over(title: &str, rate_capped_mbps: Option<f64>) -> Self {
        let title = title.to_owned();
        let (rates, firsts_ms, gaps_ms) = (Vec::new(), Vec::new(), Vec::new());
        Self { title, rate_capped_mbps, rates, firsts_ms, gaps_ms }
    }

    pub(super) fn push(&mut self, one: &client::Heard) {
        self.firsts_ms.push(one.first_s() * 1e3);
        self.gaps_ms.extend(one.gaps_ms());
        self.rates.push(client::rate_in_turn(std::slice::from_ref(one)));
    }
}

/// One link.
#[derive(Debug, Serialize)]
struct Link {
    title: String,
    rate_capped_mbps: Option<f64>,
    tokens_per_s: Figure,
    /// Until the first token.
    first_ms: Figure,
    /// From one token to the next: the median, the mean, the ninety-ninth of a hundred, the longest.
    gap_p50_ms: f64,
    gap_mean_ms: f64,
    gap_p99_ms: f64,
    gap_max_ms: f64,
    /// How much longer than over the link that costs nothing, and the share of the token that this is;
    /// in the median, and on average, which late tokens weigh on.
    link_p50_ms: f64,
    link_p50_share: f64,
    link_mean_ms: f64,
    link_mean_share: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    model: String,
    layers: Vec<u32>,
    prompt: u64,
    tokens: u64,
    repeats: u64,
    seed: u64,
    links: Vec<Link>,
}

impl Report {
    /// Of links of which the first costs nothing.
    pub(super) fn of(args: &Args, heard: Vec<Heard>) -> anyhow::Result<Self> {
        let free = heard.first().and_then(|free| Gaps::of(&free.gaps_ms)).context("no tokens")?;
        let links = heard.into_iter().map(|heard| Link::of(heard, free));
        Ok(Self {
            model: args.model.file_name().unwrap_or_default().to_string_lossy().into(),
            layers: args.layers.clone(),
            prompt: args.prompt,
            tokens: args.tokens,
            repeats: args.repeats,
            seed: args.seed,
            links: links.collect::<anyhow::Result<_>>()?,
        })
    }

    pub(super) fn print(&self) {
        println!(
            "{} over two nodes ({} and {} layers), prompts of {} tokens, {} answers of {} over each link, \
             in turns. No link was a real one.\n",
            self.model, self.layers[0], self.layers[1], self.prompt, self.repeats, self.tokens
        );
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "",
            "tokens/s",
            "first token",
            "next, median",
            "99 %",
            "longest",
            "link's part, median",
            "on average",
        ]);
        for link in &self.links {
            let ms = |ms: f64| format!("{ms:.1} ms");
            let part = |ms: f64, share: f64| format!("{ms:.1} ms, {:.0} %", 100.0 * share);
            let capped =
                link.rate_capped_mbps.map(|mbps| format!(" (rate-capped, {})", rate(mbps)));
            table.add_row([
                format!("{}{}", link.title, capped.unwrap_or_default()),
                format!("{:.1}", link.tokens_per_s.median),
                ms(link.first_ms.median),
                ms(link.gap_p50_ms),
                ms(link.gap_p99_ms),
                ms(link.gap_max_ms),
                part(link.link_p50_ms, link.link_p50_share),
                part(link.link_mean_ms, link.link_mean_share),
            ]);
        }
        println!("{table}");
    }
}

/// Times from one token to the next, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Gaps {
    p50: f64,
    mean: f64,
    p99: f64,
    max: f64,
}

impl Gaps {
    fn of(gaps_ms: &[f64]) -> Option<Self> {
        let mut sorted = gaps_ms.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |share: f64| sorted[(share * last as f64).round() as usize];
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        Some(Self { p50: at(0.5), mean, p99: at(0.99), max: sorted[last] })
    }
}

impl Link {
    fn of(heard: Heard, free: Gaps) -> anyhow::Result<Self> {
        let gaps = Gaps::of(&heard.gaps_ms).context("no tokens")?;
        let (more_p50, more_mean) = (gaps.p50 - free.p50, gaps.mean - free.mean);
        Ok(Self {
            title: heard.title,
            rate_capped_mbps: heard.rate_capped_mbps,
            tokens_per_s: Figure::of(heard.rates),
            first_ms: Figure::of(heard.firsts_ms),
            gap_p50_ms: gaps.p50,
            gap_mean_ms: gaps.mean,
            gap_p99_ms: gaps.p99,
            gap_max_ms: gaps.max,
            link_p50_ms: more_p50,
            link_p50_share: more_p50 / gaps.p50,
            link_mean_ms: more_mean,
            link_mean_share: more_mean / gaps.mean,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_s_part_is_what_a_token_takes_longer_than_without_it() {
        let free = Gaps::of(&[10.0; 100]).unwrap();
        let mut heard = Heard::over("a link", None);
        heard.rates.push(1.0);
        heard.firsts_ms.push(1.0);
        heard.gaps_ms = vec![14.0; 100];
        heard.gaps_ms[7] = 114.0;
        let link = Link::of(heard, free).unwrap();
        assert_eq!((link.link_p50_ms, link.gap_max_ms), (4.0, 114.0));
        assert!((link.link_p50_share - 4.0 / 14.0).abs() < 1e-9);
        assert!((link.link_mean_ms - 5.0).abs() < 1e-9);
        assert!(Gaps::of(&[]).is_none());
    }
}
