//! What most architectures have in common: grouped-query attention, read from `q_proj`, `k_proj`,
//! `v_proj` and `o_proj`.

use super::{
    ConfigError,
    config::Loader,
    fields::{Fields, unsupported},
};
use crate::{
    nn::{Attention, AttentionArgs, GroupedAttention, Linear},
    weights::{Pairing, Part, ShardError},
};

/// Heads of a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    /// Numbers of a head that are turned.
    pub(super) rotary: usize,
}

/// How a layer's attention differs from its model's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Variant {
    /// Whether queries, keys and values have biases.
    pub(super) qkv_bias: bool,
    /// Whether the output has one.
    pub(super) output_bias: bool,
    /// Whether queries and keys are normed.
    pub(super) norms: bool,
    /// Whether each head has a sink.
    pub(super) sinks: bool,
    /// What scores are multiplied with, if not with the root of a head's width.
    pub(super) scale: Option<f32>,
    /// Tokens that a row sees.
    pub(super) window: Option<i32>,
    /// Which of the model's rotary embeddings.
    pub(super) rope: usize,
}

impl Heads {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        let heads: usize = fields.need("num_attention_heads")?;
        let kv_heads: usize = fields.or("num_key_value_heads", heads)?;
        let hidden: usize = fields.need("hidden_size")?;
        let contradiction = |what: String| Err(ConfigError::Contradiction(what));
        if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return contradiction(format!("{heads} heads over {kv_heads} key-value heads"));
        }
        let head_dim = match fields.maybe("head_dim")? {
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => return contradiction(format!("{hidden} numbers over {heads} heads")),
        };
        if !(2..=1024).contains(&head_dim) || head_dim % 2 != 0 || heads > 4096 {
            return contradiction("heads of sizes that no model has".into());
        }
        Ok(Self { heads, kv_heads, head_dim, rotary: head_dim })
    }

    /// Numbers of keys and values that a token takes in a layer.
    pub(super) fn cache_numbers(self) -> usize {
        2 * self.kv_heads * self.head_dim
    }

    /// The width of all queries.
    pub(super) fn query_width(self) -> usize {
        self.heads * self.head_dim
    }

    /// How queries and keys have to be reordered for the rotary embedding.
    pub(super) fn pairing(self) -> Option<Pairing> {
        Some(Pairing { head_dim: self.head_dim, rotary: self.rotary })
    }

    /// Reads the attention of `prefix` (`model.layers.0.self_attn`) and its output.
    pub(super) fn load(
        self,
        loader: &Loader<'_>,
        prefix: &str,
        variant: Variant,
    ) -> Result<(Attention, Linear), ShardError> {
        let kv = self.kv_heads * self.head_dim;
        let part = |name: &str, rows: usize| Part::whole(format!("{prefix}.{name}"), rows);
        let parts = [
            part("q_proj", self.query_width()).paired(self.pairing()),
            part("k_proj", kv).paired(self.pairing()),
            part("v_proj", kv),
        ];
        self.load_parts(loader, prefix, &parts, variant)
    }

    /// The same, of queries, keys and values that lie elsewhere.
    pub(super) fn load_parts(
        self,
        loader: &Loader<'_>,
        prefix: &str,
        qkv: &[Part],
        variant: Variant,
    ) -> Result<(Attention, Linear), ShardError> {
        let hidden = loader.config.hidden;
        let qkv = Linear::load(loader.reader, qkv, hidden, variant.qkv_bias)?;
        let output = Part::whole(format!("{prefix}.o_proj"), hidden);
        let width = self.query_width();
        let output = Linear::load(loader.reader, &[output], width, variant.output_bias)?;
        let norms = if variant.norms {
            let norm = |name: &str| {
                loader.paired_norm(&format!("{prefix}.{name}"), self.head_dim, self.pairing())
            };
            Some([norm("q_norm")?, norm("k_norm")?])
        } else {
            None
        };
        let args = AttentionArgs {
            heads: self.heads as i32,
            kv_heads: self.kv_heads as i32,
            head_dim: self.head_dim as i32,
            scale: variant.scale.unwrap_or((self.head_dim as f32).sqrt().recip()),
            window: variant.window,
            rope: variant.rope,
        };
        let sinks = || loader.reader.vector(&format!("{prefix}.sinks"), self.heads, None);
        let sinks = variant.sinks.then(sinks).transpose()?;
        let attention = GroupedAttention::new(args, loader.kernels, qkv, norms, sinks);
        Ok((Attention::Grouped(attention), output))
    }
}

/// `layer_types`: of each layer, whether it sees all tokens.
pub(super) fn global_layers(
    fields: &Fields<'_>,
    layers: usize,
) -> Result<Option<Vec<bool>>, ConfigError> {
    let Some(types) = fields.maybe::<Vec<String>>("layer_types")? else { return Ok(None) };
    if types.len() != layers {
        let problem = format!("{} layer_types for {layers} layers", types.len());
        return Err(ConfigError::Contradiction(problem));
    }
    let kind = |name: String| match name.as_str() {
        "full_attention" => Ok(true),
        "sliding_attention" => Ok(false),
        _ => Err(unsupported("layer_types", &name.into(), "")),
    };
    types.into_iter().map(kind).collect::<Result<_, _>>().map(Some)
}

/// `sliding_window`, where it is shorter than the context.
pub(super) fn window(fields: &Fields<'_>) -> Result<Option<i32>, ConfigError> {
    let context: i64 = fields.need("max_position_embeddings")?;
    let window = fields.maybe::<i64>("sliding_window")?;
    match window.filter(|&window| window < context) {
        Some(window) if window < 1 => {
            Err(ConfigError::Contradiction(format!("a sliding window of {window} tokens")))
        }
        Some(window) => Ok(Some(window as i32)),
        None => Ok(None),
    }
}
