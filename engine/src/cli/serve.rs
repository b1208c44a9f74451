//! `exo-node serve`.

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use super::{args::ServeArgs, local::LocalNode, report::print};

pub(super) fn serve(args: ServeArgs) -> Result<()> {
    let node = LocalNode::start(args.node, args.model, args.api, args.api_key)?;
    print(&format!("API: http://{}\n", node.address))?;
    node.runtime.block_on(until_told_to_stop())?;
    // A second signal is not waited for: it ends the process where it is.
    node.runtime.spawn(async {
        if until_told_to_stop().await.is_ok() {
            std::process::exit(130);
        }
    });
    tracing::info!("stopping");
    drop(node);
    Ok(())
}

async fn until_told_to_stop() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
