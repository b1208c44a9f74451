//! `exo-node plan`: the placement that `serve` would come to, on paper, and why.
//!
//! | file | question |
//! |---|---|
//! | `machines` | over which machines? |
//! | `model` | how large is the model, be it here or only known by name? |
//! | `shown` | the plan for a person, and as JSON |

mod machines;
mod model;
mod shown;

use anyhow::Result;
use exo_engine::cluster::{NodesWanted, Wish, plan as place};

use self::{machines::Machines, model::PlannedModel};
use super::{
    args::{PlacementArgs, PlanArgs},
    host,
    report::print,
};

pub(super) fn plan(args: PlanArgs) -> Result<()> {
    let data = host::data_dir(args.data.data.clone())?;
    let machines = Machines::of(&args)?;
    let model = PlannedModel::find(&data, &args.model, args.weights, &machines)?;
    let plan = place(&machines.offers, &model.shape, &wish(args.placement), &machines.links)
        .map_err(|error| {
            anyhow::anyhow!("{}: {error}\nhint: offer more memory, or another machine", model.name)
        })?;
    if args.json {
        print(&format!("{:#}\n", shown::json(&plan, &model, &machines)))
    } else {
        print(&shown::text(&plan, &model, &machines))
    }
}

fn wish(args: PlacementArgs) -> Wish {
    let nodes = match (args.nodes, args.all_nodes) {
        (Some(count), _) => NodesWanted::Exactly(count as usize),
        (None, true) => NodesWanted::All,
        (None, false) => NodesWanted::Smallest,
    };
    Wish { nodes, goal: args.place, by_hand: args.layers, rebalance: false }
}
