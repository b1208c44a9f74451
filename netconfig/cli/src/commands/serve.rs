//! `tbnet serve`

use exo_exchange::{Reporter, Served, serve};
use exo_netconfig::{Link, text::live as say};

use super::{Exit, peer::Voice};
use crate::{
    args::ServeArgs,
    output::{Mistake, Output},
};

pub(crate) fn run(args: &ServeArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let link = Link::open(&args.interface).map_err(Mistake::from)?;
    let voice = Voice::open(&link, args.peers.port, &args.peers);
    let voice = voice.map_err(|none| none.mistake(&link))?;
    let endpoint = &voice.endpoint;
    output.say(say::serve_listening(endpoint.local_addr(), link.name(), link.kind()))?;
    output.say(say::serve_ask(link.address()))?;
    let mut reporter = Reporter::new(voice.name.clone());
    let own = |number| reporter.report(endpoint.link().name(), number);
    serve(endpoint, None, own, |event| {
        let text = match event {
            Served::Connected(peer) => say::serve_connected(&peer.name, peer.addr),
            Served::Gone(peer) => say::serve_gone(&peer.name),
            Served::Refused(why) => say::serve_refused(why),
            Served::Answered(_) => return,
        };
        // Nobody reads any more: answering goes on.
        let _ = output.say(text);
    });
    Ok(Exit::Good)
}
