//! `exo-node plan`: the placement that `serve` would come to, on paper.

use anyhow::Result;
use bytesize::ByteSize;
use exo_engine::{
    cluster::{NodesWanted, Offer, Placement, needed_bytes, place},
    layers::LayerRange,
    model::{ModelConfig, ModelShape},
    weights::{ModelFolder, ModelLibrary, Precision, WeightsChoice},
};
use exo_transport::NodeId;

use super::{
    args::PlanArgs,
    host,
    report::{print, table},
};

pub(super) fn plan(args: PlanArgs) -> Result<()> {
    let model = ModelLibrary::new(&host::data_dir(args.data.data)?).find(&args.model)?;
    let folder = ModelFolder::open(&model.dir)?;
    let config = ModelConfig::from_json(folder.config())?;
    let machines = match args.memory {
        named if named.is_empty() => vec![(host::name(), ByteSize(host::memory_bytes()?))],
        named => named,
    };
    let offers = offers(machines);
    // As the node with most memory would see it.
    let shape = |choice, dense_fits| {
        ModelShape::of(&folder, &config, Precision::of(folder.config(), choice, dense_fits))
    };
    let all = LayerRange::checked(0, config.layers)?;
    let dense = needed_bytes(all, &shape(WeightsChoice::Dense, true)?);
    let shape = shape(args.weights, offers.iter().any(|offer| dense <= offer.memory))?;
    let wanted = if args.all_nodes { NodesWanted::All } else { NodesWanted::Smallest };
    let placement = place(&offers, &shape, wanted).map_err(|error| {
        anyhow::anyhow!("{}: {error}\nhint: offer more memory, or another machine", model.name)
    })?;
    print(&laid_out(&placement, &offers, &shape))
}

fn offers(machines: Vec<(String, ByteSize)>) -> Vec<Offer> {
    let numbered = machines.into_iter().zip(0_u64..);
    numbered
        .map(|((name, memory), number)| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            Offer { node: NodeId::from_bytes(id), name, memory: memory.as_u64() }
        })
        .collect()
}

/// A line per machine, in ring order; those that hold nothing come last.
fn laid_out(placement: &Placement, offers: &[Offer], model: &ModelShape) -> String {
    let size = |bytes| ByteSize(bytes).display().iec().to_string();
    let mut rows = Vec::with_capacity(offers.len());
    for part in placement.assignments() {
        let name = offers.iter().find(|offer| offer.node == part.node);
        let offered = name.map_or(0, |offer| offer.memory);
        rows.push([
            name.map_or_else(String::new, |offer| offer.name.clone()),
            part.range.to_string(),
            size(needed_bytes(part.range, model)),
            size(offered),
        ]);
    }
    for offer in offers.iter().filter(|offer| placement.position(offer.node).is_none()) {
        rows.push([offer.name.clone(), "-".to_owned(), "-".to_owned(), size(offer.memory)]);
    }
    table(["NODE", "LAYERS", "NEEDS", "OFFERS"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_without_layers_are_shown_last() {
        let shape = ModelShape {
            layers: 4,
            layer_bytes: 1 << 30,
            embedding_bytes: 0,
            head_bytes: 0,
            tied: true,
            kv_token_layer_bytes: 0,
            context: 1024,
        };
        let offers = offers(vec![
            ("air".to_owned(), ByteSize::gib(1)),
            ("mini".to_owned(), ByteSize::gib(8)),
        ]);
        let placement = place(&offers, &shape, NodesWanted::Smallest).unwrap();
        let lines = laid_out(&placement, &offers, &shape);
        let lines: Vec<Vec<_>> =
            lines.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1][..2], ["mini", "0..4"]);
        assert_eq!(lines[2][..2], ["air", "-"]);
    }
}
