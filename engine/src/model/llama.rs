//! Llama 2, 3 and 3.x, SmolLM2: read from top to bottom, a token's way.

use mlx_rs::{Array, error::Exception, fast, ops};

use super::LlamaConfig;
use crate::{
    layers::LayerRange,
    nn::{Attention, KvCache, Linear, Rope},
    weights::{ShardError, ShardReader},
};

/// The layers of one stage, with the embedding and the head where it has them.
pub struct Llama {
    config: LlamaConfig,
    range: LayerRange,
    rope: Rope,
    /// `[vocabulary, hidden]`, on the first stage (and, tied, on the last).
    embedding: Option<Array>,
    blocks: Vec<Block>,
    head: Option<Head>,
}

struct Block {
    attention_norm: Array,
    attention: Attention,
    mlp_norm: Array,
    /// Rows: the gate, then up.
    gate_up: Linear,
    down: Linear,
    intermediate: i32,
}

struct Head {
    norm: Array,
    output: Linear,
}

impl Llama {
    /// Reads the tensors of `range`, and of no other layer.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or cannot be read.
    pub fn load(
        config: &LlamaConfig,
        range: LayerRange,
        reader: &ShardReader<'_>,
    ) -> Result<Self, ShardError> {
        let (hidden, vocabulary) = (config.hidden, config.vocabulary);
        let last = range.is_last(config.layers);
        let embed = || reader.rows_f32(&[("model.embed_tokens.weight", vocabulary)], hidden);
        let embedding = range.is_first().then(embed).transpose()?;
        let head = if last {
            let output = match (&embedding, config.tied) {
                (Some(embedding), true) => embedding.clone(),
                (None, true) => embed()?,
                (_, false) => reader.rows_f32(&[("lm_head.weight", vocabulary)], hidden)?,
            };
            let norm = reader.vector_f32("model.norm.weight", hidden)?;
            Some(Head { norm, output: Linear::new(&output)? })
        } else {
            None
        };
        let mut blocks = Vec::with_capacity(range.count() as usize);
        for layer in range.start()..range.end() {
            blocks.push(Block::load(config, layer, reader)?);
        }
        let head_dim = config.attention.head_dim;
        let rope = match config.rope_scaling {
            Some(scaling) => Rope::with_llama3(head_dim, config.rope_theta, scaling),
            None => Rope::new(head_dim, config.rope_theta),
        };
        Ok(Self { config: config.clone(), range, rope, embedding, blocks, head })
    }

    /// The layers held.
    #[must_use]
    pub fn range(&self) -> LayerRange {
        self.range
    }

    /// The model's settings.
    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Token ids → `[rows, hidden]`. First stage only.
    ///
    /// # Errors
    /// What MLX says.
    ///
    /// # Panics
    /// On another stage: a mistake in this crate.
    pub fn embed(&self, tokens: &[u32]) -> Result<Array, Exception> {
        let embedding = self.embedding.as_ref().expect("the first stage has the embedding");
        let ids = Array::from_slice(tokens, &[tokens.len() as i32]);
        embedding.take_axis(&ids, 0)
    }

    /// `[rows, hidden]` through this stage's layers. `caches[s].1[l]` is the cache of the `s`-th
    /// sequence in the `l`-th layer of the stage; `caches[s].0` says how many rows are its.
    ///
    /// With `wanted`, row numbers of the input, only these come out: the last layer computes the
    /// others no further than their keys and values.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(
        &self,
        mut x: Array,
        caches: &mut [(i32, &mut [KvCache])],
        wanted: Option<&[i32]>,
    ) -> Result<Array, Exception> {
        let eps = self.config.norm_eps;
        for (layer, block) in self.blocks.iter().enumerate() {
            let mut own: Vec<(i32, &mut KvCache)> =
                caches.iter_mut().map(|(rows, layers)| (*rows, &mut layers[layer])).collect();
            let wanted = wanted.filter(|_| layer + 1 == self.blocks.len());
            x = block.forward(&x, eps, &self.rope, &mut own, wanted)?;
        }
        Ok(x)
    }

    /// `[rows, hidden]` → logits `[rows, vocabulary]`. Last stage only.
    ///
    /// # Errors
    /// What MLX says.
    ///
    /// # Panics
    /// On another stage: a mistake in this crate.
    pub fn logits(&self, x: &Array) -> Result<Array, Exception> {
        let head = self.head.as_ref().expect("the last stage has the head");
        head.output.forward(&fast::rms_norm(x, Some(&head.norm), self.config.norm_eps)?)
    }
}

impl Block {
    fn load(
        config: &LlamaConfig,
        layer: u32,
        reader: &ShardReader<'_>,
    ) -> Result<Self, ShardError> {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        let args = config.attention;
        let query = args.heads as usize * args.head_dim as usize;
        let kv = args.kv_heads as usize * args.head_dim as usize;
        let (hidden, intermediate) = (config.hidden, config.intermediate);
        let linear = |parts: &[(&str, usize)], inputs: usize| {
            let named: Vec<(String, usize)> =
                parts.iter().map(|&(part, rows)| (name(part), rows)).collect();
            let named: Vec<(&str, usize)> =
                named.iter().map(|(part, rows)| (part.as_str(), *rows)).collect();
            Ok::<_, ShardError>(Linear::new(&reader.rows_f32(&named, inputs)?)?)
        };
        let qkv = linear(
            &[("self_attn.q_proj", query), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)],
            hidden,
        )?;
        let output = linear(&[("self_attn.o_proj", hidden)], query)?;
        Ok(Self {
            attention_norm: reader.vector_f32(&name("input_layernorm"), hidden)?,
            attention: Attention::new(args, qkv, output),
            mlp_norm: reader.vector_f32(&name("post_attention_layernorm"), hidden)?,
            gate_up: linear(
                &[("mlp.gate_proj", intermediate), ("mlp.up_proj", intermediate)],
                hidden,
            )?,
            down: linear(&[("mlp.down_proj", hidden)], intermediate)?,
            intermediate: intermediate as i32,
        })
    }

    fn forward(
        &self,
        x: &Array,
        eps: f32,
        rope: &Rope,
        caches: &mut [(i32, &mut KvCache)],
        wanted: Option<&[i32]>,
    ) -> Result<Array, Exception> {
        let normed = fast::rms_norm(x, Some(&self.attention_norm), eps)?;
        let x = self.attention.forward_add(&normed, x, rope, caches, wanted)?;
        let normed = fast::rms_norm(&x, Some(&self.mlp_norm), eps)?;
        let both = self.gate_up.forward(&normed)?.split_at_indices(&[self.intermediate], 1)?;
        let [gate, up] = both.as_slice() else {
            return Err(Exception::custom("gate and up do not split in two"));
        };
        let activated = gate.multiply(ops::sigmoid(gate)?)?.multiply(up)?;
        self.down.forward_add(&activated, &x)
    }
}
