//! `exo-node models pull`, and the same on the way where a model is asked for that is not here.

use std::path::Path;

use anyhow::{Context, Result};
use exo_engine::weights::{
    LibraryError, ModelEntry, ModelLibrary,
    catalogue::{Catalogue, Meaning},
    hub::{self, HubClient, HubOptions, Listing, PullOptions},
};
use indicatif::ProgressBar;

use super::{
    args::PullArgs,
    host,
    models::{size, style},
    report::print,
};

pub(super) fn pull(args: PullArgs) -> Result<()> {
    let data = host::data_dir(args.data.data)?;
    let library = ModelLibrary::new(&data);
    let asked = args.name.as_deref().unwrap_or(&args.model);
    let here = library.find(asked);
    if let Ok(model) = &here
        && !args.replace
    {
        return print(&format!("{} is here: {}\n", model.name, model.dir.display()));
    }
    if args.offline {
        return Err(not_here(here.err(), asked));
    }
    let catalogue = Catalogue::built_in();
    let meaning = catalogue.resolve(&args.model)?;
    let name = args.name.unwrap_or_else(|| meaning.name().to_owned());
    let offered = match args.memory {
        Some(size) => size.as_u64(),
        None => host::memory_bytes()?,
    };
    // What is known of it is looked at before anybody is asked, what is true of it after.
    if let (Meaning::Known { model, variant, .. }, None) = (&meaning, args.layers) {
        catalogue.check_fit(&name, model.weight_bytes(variant), offered)?;
    }
    let client = HubClient::new(HubOptions::from_environment());
    let listing = Listing::ask(&client, meaning.repository(), &args.revision)?;
    if args.layers.is_none() {
        catalogue.check_fit(&name, listing.weight_bytes(), offered)?;
    }
    let free_bytes = host::free_bytes(&data);
    let options = PullOptions { layers: args.layers, replace: args.replace, free_bytes };
    bring(&client, &listing, &library, &name, &options)
}

/// The model that is meant; fetched if it is not here.
pub(super) fn find_or_pull(data: &Path, named: &str, offline: bool) -> Result<ModelEntry> {
    let library = ModelLibrary::new(data);
    let unknown = match library.find(named) {
        Err(error @ LibraryError::Unknown { .. }) => error,
        found => return Ok(found?),
    };
    let Ok(meaning) = Catalogue::built_in().resolve(named) else {
        return Err(unknown.into());
    };
    if offline {
        return Err(not_here(Some(unknown), named));
    }
    // Whether it fits is the cluster's to say: other nodes may offer memory as well.
    let client = HubClient::new(HubOptions::from_environment());
    let listing = Listing::ask(&client, meaning.repository(), "main")?;
    let options = PullOptions { free_bytes: host::free_bytes(data), ..PullOptions::default() };
    bring(&client, &listing, &library, meaning.name(), &options)?;
    Ok(library.find(meaning.name())?)
}

fn bring(
    client: &HubClient,
    listing: &Listing,
    library: &ModelLibrary,
    name: &str,
    options: &PullOptions,
) -> Result<()> {
    let dir = library.dir_for(name)?;
    let bar = ProgressBar::new(0).with_style(style()?).with_message(listing.repo.clone());
    let pulled = hub::pull(client, listing, &dir, options, &|progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
    });
    bar.finish_and_clear();
    let report = pulled.with_context(|| format!("cannot fetch {name} from {}", listing.repo))?;
    let part = match options.layers {
        Some(range) => format!("layers {range} of {}", report.layers),
        None => format!("{} layers", report.layers),
    };
    print(&format!("{name}: {part}, {} in {}\n", size(report.bytes), report.dir.display()))
}

fn not_here(why: Option<LibraryError>, name: &str) -> anyhow::Error {
    match why {
        Some(LibraryError::Unknown { .. }) | None => anyhow::anyhow!(
            "{name} is not on this machine, and --offline keeps the hub from being asked\n\
             hint: leave out --offline once, or name a folder"
        ),
        Some(other) => other.into(),
    }
}
