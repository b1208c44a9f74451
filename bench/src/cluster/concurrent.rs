//! How do requests fare together, as many as there are, over which link?

use serde::Serialize;

use super::{
    Args, Controls, compare,
    measures::{self, Measured},
    nodes::Setup,
    report::{Answer, Control},
};
use crate::emulator::{PROFILES, Profile};

/// This kernel's own cable.
const CABLE: &str = "cable";
const ALL: &str = "all";

/// The same requests on one node and on the ring, over one link.
#[derive(Serialize)]
pub(super) struct Concurrent {
    link: &'static str,
    title: &'static str,
    emulated: bool,
    answers: Vec<Answer>,
}

/// Links by their names; `None` is the cable.
fn links(names: &[String]) -> Result<Vec<Option<&'static Profile>>, String> {
    let mut links = Vec::new();
    for name in names {
        match name.as_str() {
            CABLE => links.push(None),
            ALL => links.extend(std::iter::once(None).chain(PROFILES.iter().map(Some))),
            name => links.push(Some(Profile::find(name)?)),
        }
    }
    Ok(links)
}

/// Whether all of them are.
pub(super) fn known(names: &[String]) -> anyhow::Result<()> {
    links(names).map(|_| ()).map_err(anyhow::Error::msg)
}

/// Every link in turn; what was measured when something ends is there.
pub(super) fn measure(
    args: &Args,
    setup: &Setup,
    controls: &Controls<'_>,
    control: &mut Control,
    found: &mut Vec<Concurrent>,
) -> anyhow::Result<()> {
    let requests: Vec<usize> = args.concurrent.iter().map(|&count| count as usize).collect();
    for link in links(&args.links).map_err(anyhow::Error::msg)? {
        let setup = Setup { link, ..setup.clone() };
        let loads = measures::concurrent(&requests, args.tokens);
        let mut measured: Vec<Measured> = loads.into_iter().map(Measured::new).collect();
        let ended = compare(args, &setup, &mut measured, controls, control);
        measured.retain(Measured::is_something);
        if measured.is_empty() {
            return ended;
        }
        found.push(Concurrent {
            link: link.map_or(CABLE, |link| link.name),
            title: link.map_or("the kernel's own cable", |link| link.title),
            emulated: link.is_some(),
            answers: measured.iter().map(Answer::of).collect(),
        });
        ended?;
    }
    Ok(())
}

pub(super) fn print(all: &[Concurrent]) {
    for one in all {
        let how = if one.emulated { "emulated" } else { "not emulated" };
        println!("concurrent: the same requests on either, over {} ({how})", one.title);
        println!(
            "  {:<10}{:<10}{:>10}{:>14}{:>26}{:>10}{:>10}",
            "at once", "on", "tokens/s", "first token s", "token p50/p90/p99 ms", "gain", "hops ms"
        );
        for answer in &one.answers {
            answer.print_as_row();
        }
        println!();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_known_by_their_names() {
        let names =
            |names: &[&str]| links(&names.iter().map(|&name| name.into()).collect::<Vec<_>>());
        assert_eq!(names(&["cable"]).unwrap().len(), 1);
        assert_eq!(names(&["all"]).unwrap().len(), PROFILES.len() + 1);
        assert!(names(&["cable", "string"]).unwrap_err().contains("string"));
    }
}
