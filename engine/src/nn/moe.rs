//! A mixture of experts: each row goes through the few that its router chooses.

use mlx_rs::{Array, Dtype, error::Exception, ops, ops::indexing::TryIndexOp};

use super::{Linear, Mlp, kernels, kernels::Activation, linear::Weight};
use crate::weights::{Part, ShardError, ShardReader};

/// How a router's numbers become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scoring {
    /// Over all experts.
    Softmax,
    /// Each for itself.
    Sigmoid,
}

/// Experts in groups, of which only the best are chosen from.
#[derive(Debug, Clone, Copy)]
pub struct Groups {
    /// How many: a divisor of the experts.
    pub count: i32,
    /// How many are chosen from.
    pub chosen: i32,
    /// How many of its best experts a group's score is the sum of.
    pub best: i32,
}

/// What a router does.
#[derive(Debug, Clone, Copy)]
pub struct RouterArgs {
    /// Experts.
    pub experts: usize,
    /// Experts of a row.
    pub chosen: i32,
    /// See there.
    pub scoring: Scoring,
    /// See there.
    pub groups: Option<Groups>,
    /// Whether the scores of a row's experts are divided by their sum.
    pub normalise: bool,
    /// What they are multiplied with at the end.
    pub scale: f32,
}

/// Chooses a row's experts.
pub struct Router {
    args: RouterArgs,
    gate: Linear,
    /// Added to the scores for the choice alone, `[experts]`.
    correction: Option<Array>,
}

impl Router {
    /// Of that projection `hidden → experts`.
    #[must_use]
    pub fn new(args: RouterArgs, gate: Linear, correction: Option<Array>) -> Self {
        Self { args, gate, correction }
    }

    /// `[rows, hidden]` → the experts of each row and their scores, `[rows, chosen]` each.
    fn choose(&self, x: &Array) -> Result<(Array, Array), Exception> {
        let numbers = self.gate.forward(x)?.as_dtype(Dtype::Float32)?;
        let scores = match self.args.scoring {
            Scoring::Softmax => ops::softmax_axis(&numbers, -1, true)?,
            Scoring::Sigmoid => ops::sigmoid(&numbers)?,
        };
        let mut ranked = match &self.correction {
            Some(correction) => scores.add(correction)?,
            None => scores.clone(),
        };
        if let Some(groups) = self.args.groups {
            ranked = within_best_groups(&ranked, groups)?;
        }
        let chosen = self.args.chosen;
        let order = ops::argpartition_axis(ranked.negative()?, chosen - 1, -1)?;
        let experts = order.try_index((.., ..chosen))?;
        let mut scores = scores.take_along_axis(&experts, -1)?;
        if self.args.normalise {
            scores = scores.divide(scores.sum_axis(-1, true)?)?;
        }
        if self.args.scale != 1.0 {
            scores = scores.multiply(Array::from_f32(self.args.scale))?;
        }
        Ok((experts, scores))
    }
}

/// Scores of experts outside the best groups become minus infinity.
fn within_best_groups(scores: &Array, groups: Groups) -> Result<Array, Exception> {
    let (rows, experts) = (scores.dim(0), scores.dim(1));
    let grouped = scores.reshape(&[rows, groups.count, experts / groups.count])?;
    let best = ops::indexing::topk_axis(&grouped, groups.best, -1)?.sum_axis(-1, true)?;
    let order = ops::argpartition_axis(best.negative()?, groups.chosen - 1, 1)?;
    let left_out = order.try_index((.., groups.chosen.., ..))?;
    let left_out = ops::broadcast_to(
        &left_out,
        &[rows, groups.count - groups.chosen, experts / groups.count],
    )?;
    let never = Array::from_f32(f32::NEG_INFINITY);
    grouped.put_along_axis(left_out, never, 1)?.reshape(&[rows, experts])
}

/// From this many choices in a step on, rows are sorted by expert, so that each expert's weights
/// are read once.
const SORTED_CHOICES: i32 = 64;

/// Which rows of the checkpoint are experts.
pub struct ExpertParts {
    /// Into them, expert by expert: gates and up, as `activation` wants them.
    pub gate_up: Vec<Part>,
    /// Out of them, expert by expert.
    pub down: Vec<Part>,
    /// Whether both have biases.
    pub biased: bool,
    /// What gates are passed through.
    pub activation: Activation,
}

/// The experts, and those that every row goes through.
pub struct Moe {
    router: Router,
    /// `[experts, 2 width, hidden]`: the gates, then up.
    gate_up: Weight,
    /// `[experts, hidden, width]`.
    down: Weight,
    /// `[experts, 2 width]`, `[experts, hidden]`.
    biases: Option<[Array; 2]>,
    activation: Activation,
    shared: Option<Mlp>,
}

impl Moe {
    /// Reads the experts of `prefix` (`model.layers.0.mlp`), in Hugging Face's layout or in MLX's.
    ///
    /// # Errors
    /// What the reader says.
    pub fn load(
        reader: &ShardReader<'_>,
        prefix: &str,
        [hidden, width]: [usize; 2],
        router: Router,
        shared: Option<Mlp>,
    ) -> Result<Self, ShardError> {
        let count = router.args.experts;
        let stacked = reader.has(&format!("{prefix}.switch_mlp.gate_proj.weight"));
        let part = |name: &str, expert: usize, rows: usize| {
            if stacked {
                Part::stacked(format!("{prefix}.switch_mlp.{name}"), expert, count, rows)
            } else {
                Part::whole(format!("{prefix}.experts.{expert}.{name}"), rows)
            }
        };
        let both = |expert| [part("gate_proj", expert, width), part("up_proj", expert, width)];
        let parts = ExpertParts {
            gate_up: (0..count).flat_map(both).collect(),
            down: (0..count).map(|expert| part("down_proj", expert, hidden)).collect(),
            biased: false,
            activation: Activation::Silu,
        };
        Self::of_parts(reader, &parts, [hidden, width], router, shared)
    }

    /// Reads experts that are called otherwise.
    ///
    /// # Errors
    /// What the reader says.
    pub fn of_parts(
        reader: &ShardReader<'_>,
        parts: &ExpertParts,
        [hidden, width]: [usize; 2],
        router: Router,
        shared: Option<Mlp>,
    ) -> Result<Self, ShardError> {
        let count = router.args.experts;
        let biases = |parts: &[Part]| {
            let biases = reader.biases(parts)?;
            Ok::<_, ShardError>(biases.reshape(&[count as i32, -1])?)
        };
        let biases =
            if parts.biased { Some([biases(&parts.gate_up)?, biases(&parts.down)?]) } else { None };
        Ok(Self {
            router,
            gate_up: Weight::new(&reader.experts(&parts.gate_up, count, hidden)?)?,
            down: Weight::new(&reader.experts(&parts.down, count, width)?)?,
            biases,
            activation: parts.activation,
            shared,
        })
    }

    /// `[rows, hidden]` → the same, plus `residual`.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward_add(&self, x: &Array, residual: &Array) -> Result<Array, Exception> {
        let (experts, scores) = self.router.choose(x)?;
        let (rows, chosen) = (experts.dim(0), experts.dim(1));
        let choices = rows * chosen;
        let out = if choices >= SORTED_CHOICES {
            let flat = experts.reshape(&[choices])?;
            let order = ops::argsort_axis(&flat, 0)?;
            let row = order.floor_divide(Array::from_int(chosen).as_dtype(order.dtype())?)?;
            // Taken from `[rows, 1, hidden]`: an axis that is added to rows already taken makes a
            // view, whose stride MLX's sorted products misread on a GPU (ml-explore/mlx#4253).
            let sorted = x.expand_dims(1)?.take_axis(&row, 0)?;
            let out = self.through(&sorted, &flat.take_axis(&order, 0)?, true)?;
            out.take_axis(ops::argsort_axis(&order, 0)?, 0)?
        } else {
            self.through(&x.expand_dims_axes(&[1, 2])?, &experts, false)?
        };
        let out = out.reshape(&[rows, chosen, x.dim(1)])?;
        let scores = scores.as_dtype(x.dtype())?.expand_dims(1)?;
        let out = scores.matmul(out)?.squeeze_axes(&[1])?.add(residual)?;
        match &self.shared {
            Some(shared) => shared.forward(x, Some(&out)),
            None => Ok(out),
        }
    }

    /// `x`: `[…, 1, hidden]`, each row through its expert.
    fn through(&self, x: &Array, experts: &Array, sorted: bool) -> Result<Array, Exception> {
        let plus = |out: Array, which: usize| match &self.biases {
            Some(biases) => out.add(biases[which].take_axis(experts, 0)?.expand_dims(-2)?),
            None => Ok(out),
        };
        let both = plus(self.gate_up.gather(x, experts, sorted)?, 0)?;
        let passed = kernels::gated(&both, self.activation)?;
        plus(self.down.gather(&passed, experts, sorted)?, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_best_groups_are_chosen_from() {
        let scores = Array::from_slice(&[0.9f32, 0.0, 0.5, 0.5, 0.1, 0.2], &[1, 6]);
        // Sums of the best two: 0.9, 1.0, 0.3.
        let groups = Groups { count: 3, chosen: 1, best: 2 };
        let ranked = within_best_groups(&scores, groups).unwrap();
        ranked.eval().unwrap();
        let never = f32::NEG_INFINITY;
        assert_eq!(ranked.as_slice::<f32>(), [never, never, 0.5, 0.5, never, never]);
        // The best one alone: 0.9, 0.5, 0.2.
        let groups = Groups { count: 3, chosen: 2, best: 1 };
        let ranked = within_best_groups(&scores, groups).unwrap();
        ranked.eval().unwrap();
        assert_eq!(ranked.as_slice::<f32>(), [0.9, 0.0, 0.5, 0.5, never, never]);
    }
}
