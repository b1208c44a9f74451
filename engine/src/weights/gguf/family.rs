//! What is each architecture called, and what does it consist of, at llama.cpp and at Hugging Face?
//!
//! | `general.architecture` | models | what differs from `llama` |
//! |---|---|---|
//! | `llama` | Llama, Mistral, SmolLM, TinyLlama | rows of q and k lie in another order |
//! | `qwen2` | Qwen 2, 2.5 | biases on q, k and v |
//! | `qwen3` | Qwen 3 | norms on queries and keys |
//! | `qwen3moe` | Qwen 3 with experts | the same, and experts, stacked |
//! | `gemma3` | Gemma 3, text | norms after, too; norms' weights are stored plus one |
//! | `phi3` | Phi-3, 3.5, 4 | q, k and v in one matrix, gate and up in one |
//! | `gpt-oss` | gpt-oss | sinks, biases, experts with biases |
//! | `deepseek2` | DeepSeek V2, V3, R1 | keys and values compressed, shared experts, first layers dense |

/// What a tensor's shape is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A vector of the residual stream.
    Hidden,
    /// A norm of one head.
    Head,
    /// Queries, in llama.cpp's order if the family's rows are.
    Query,
    /// Keys, likewise.
    Key,
    /// Values.
    Value,
    /// Biases of those.
    QueryBias,
    /// Of keys, and of values.
    KeyBias,
    /// Queries, keys and values below each other.
    Joined,
    /// From heads to the residual stream.
    Output,
    /// Into the feed-forward block, and its gate.
    Up,
    /// Gate and up below each other.
    GateUp,
    /// Out of it.
    Down,
    /// A score for each expert.
    Router,
    /// A bias for each expert.
    RouterBias,
    /// A number for each head.
    Sinks,
    /// Biases into all experts.
    ExpertsUpBias,
    /// Biases out of them.
    ExpertsDownBias,
    /// Into all experts, stacked.
    ExpertsUp,
    /// Out of them.
    ExpertsDown,
    /// Into and out of the experts that every token sees, behind each other.
    SharedUp,
    /// Out of them.
    SharedDown,
    /// What is added to the experts' scores for the choice alone.
    Correction,
    /// Of compressed queries: down, the norm between, up.
    QueryDown,
    /// The norm.
    QueryNorm,
    /// Up.
    QueryUp,
    /// Of compressed keys and values: down, with what is turned.
    LatentDown,
    /// The norm.
    LatentNorm,
    /// Up, keys and values of a head below each other.
    LatentUp,
    /// Up to keys alone, the other way round.
    KeysUp,
    /// Up to values alone.
    ValuesUp,
    /// From values to the residual stream.
    LatentOutput,
}

/// llama.cpp's name in `blk.N.`, Hugging Face's in `model.layers.N.`, and the shape.
pub(super) type Named = (&'static str, &'static str, Shape);

/// An architecture.
#[derive(Debug)]
pub(super) struct Family {
    /// `general.architecture`.
    pub(super) name: &'static str,
    /// `model_type` of the configuration.
    pub(super) model_type: &'static str,
    /// `architectures` of the configuration.
    pub(super) class: &'static str,
    /// A layer's tensors.
    pub(super) tensors: &'static [&'static [Named]],
    /// Keys that are understood beside [`KEYS`], without the architecture before them.
    pub(super) keys: &'static [&'static str],
    /// Whether rows of q and k lie in llama.cpp's order.
    pub(super) permuted: bool,
    /// Whether norms' weights are stored plus one.
    pub(super) norms_plus_one: bool,
    /// Whether keys and values are compressed, and the first layers dense.
    pub(super) latent: bool,
}

/// What a layer of a family with compressed keys and values is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerForm {
    /// Without experts.
    pub(super) is_dense: bool,
    /// With experts that every token sees.
    pub(super) has_shared: bool,
    /// Queries are compressed too.
    pub(super) compresses_queries: bool,
    /// Up-projections of keys and values lie in one matrix, as in older files.
    pub(super) joins_up: bool,
}

/// Keys that all architectures have, without the architecture before them.
pub(super) const KEYS: [&str; 15] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "vocab_size",
];

const NORMS: &[Named] = &[
    ("attn_norm.weight", "input_layernorm.weight", Shape::Hidden),
    ("ffn_norm.weight", "post_attention_layernorm.weight", Shape::Hidden),
];
const GEMMA_NORMS: &[Named] = &[
    ("attn_norm.weight", "input_layernorm.weight", Shape::Hidden),
    ("post_attention_norm.weight", "post_attention_layernorm.weight", Shape::Hidden),
    ("ffn_norm.weight", "pre_feedforward_layernorm.weight", Shape::Hidden),
    ("post_ffw_norm.weight", "post_feedforward_layernorm.weight", Shape::Hidden),
];
const QKV: &[Named] = &[
    ("attn_q.weight", "self_attn.q_proj.weight", Shape::Query),
    ("attn_k.weight", "self_attn.k_proj.weight", Shape::Key),
    ("attn_v.weight", "self_attn.v_proj.weight", Shape::Value),
];
const QKV_BIASES: &[Named] = &[
    ("attn_q.bias", "self_attn.q_proj.bias", Shape::QueryBias),
    ("attn_k.bias", "self_attn.k_proj.bias", Shape::KeyBias),
    ("attn_v.bias", "self_attn.v_proj.bias", Shape::KeyBias),
];
const HEAD_NORMS: &[Named] = &[
    ("attn_q_norm.weight", "self_attn.q_norm.weight", Shape::Head),
    ("attn_k_norm.weight", "self_attn.k_norm.weight", Shape::Head),
];
const JOINED: &[Named] = &[("attn_qkv.weight", "self_attn.qkv_proj.weight", Shape::Joined)];
const OUTPUT: &[Named] = &[("attn_output.weight", "self_attn.o_proj.weight", Shape::Output)];
const MLP: &[Named] = &[
    ("ffn_gate.weight", "mlp.gate_proj.weight", Shape::Up),
    ("ffn_up.weight", "mlp.up_proj.weight", Shape::Up),
    ("ffn_down.weight", "mlp.down_proj.weight", Shape::Down),
];
const JOINED_MLP: &[Named] = &[
    ("ffn_up.weight", "mlp.gate_up_proj.weight", Shape::GateUp),
    ("ffn_down.weight", "mlp.down_proj.weight", Shape::Down),
];
const EXPERTS: &[Named] = &[
    ("ffn_gate_inp.weight", "mlp.gate.weight", Shape::Router),
    ("ffn_gate_exps.weight", "mlp.switch_mlp.gate_proj.weight", Shape::ExpertsUp),
    ("ffn_up_exps.weight", "mlp.switch_mlp.up_proj.weight", Shape::ExpertsUp),
    ("ffn_down_exps.weight", "mlp.switch_mlp.down_proj.weight", Shape::ExpertsDown),
];

const GPT_OSS_NORMS: &[Named] = &[
    ("attn_norm.weight", "input_layernorm.weight", Shape::Hidden),
    ("post_attention_norm.weight", "post_attention_layernorm.weight", Shape::Hidden),
];
const SINKS: &[Named] = &[
    ("attn_sinks.weight", "self_attn.sinks", Shape::Sinks),
    ("attn_output.bias", "self_attn.o_proj.bias", Shape::Hidden),
];
const GPT_OSS_EXPERTS: &[Named] = &[
    ("ffn_gate_inp.weight", "mlp.router.weight", Shape::Router),
    ("ffn_gate_inp.bias", "mlp.router.bias", Shape::RouterBias),
    ("ffn_gate_exps.weight", "mlp.experts.gate_proj.weight", Shape::ExpertsUp),
    ("ffn_up_exps.weight", "mlp.experts.up_proj.weight", Shape::ExpertsUp),
    ("ffn_down_exps.weight", "mlp.experts.down_proj.weight", Shape::ExpertsDown),
    ("ffn_gate_exps.bias", "mlp.experts.gate_proj.bias", Shape::ExpertsUpBias),
    ("ffn_up_exps.bias", "mlp.experts.up_proj.bias", Shape::ExpertsUpBias),
    ("ffn_down_exps.bias", "mlp.experts.down_proj.bias", Shape::ExpertsDownBias),
];
const SHARED: &[Named] = &[
    ("ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight", Shape::SharedUp),
    ("ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight", Shape::SharedUp),
    ("ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight", Shape::SharedDown),
];
const CORRECTION: &[Named] =
    &[("exp_probs_b.bias", "mlp.gate.e_score_correction_bias", Shape::Correction)];
const QUERY: &[Named] = &[("attn_q.weight", "self_attn.q_proj.weight", Shape::Query)];
const LATENT_QUERY: &[Named] = &[
    ("attn_q_a.weight", "self_attn.q_a_proj.weight", Shape::QueryDown),
    ("attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", Shape::QueryNorm),
    ("attn_q_b.weight", "self_attn.q_b_proj.weight", Shape::QueryUp),
];
const LATENT: &[Named] = &[
    ("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight", Shape::LatentDown),
    ("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", Shape::LatentNorm),
    ("attn_output.weight", "self_attn.o_proj.weight", Shape::LatentOutput),
];
const LATENT_UP: &[Named] = &[("attn_kv_b.weight", "self_attn.kv_b_proj.weight", Shape::LatentUp)];
/// MLX's own layout has them apart too, and the keys' the other way round.
const APART_UP: &[Named] = &[
    ("attn_k_b.weight", "self_attn.embed_q.weight", Shape::KeysUp),
    ("attn_v_b.weight", "self_attn.unembed_out.weight", Shape::ValuesUp),
];

const PLAIN: Family = Family {
    name: "llama",
    model_type: "llama",
    class: "LlamaForCausalLM",
    tensors: &[NORMS, QKV, OUTPUT, MLP],
    keys: &[],
    permuted: false,
    norms_plus_one: false,
    latent: false,
};
const DEEPSEEK: Family = Family {
    name: "deepseek2",
    model_type: "deepseek_v2",
    class: "DeepseekV2ForCausalLM",
    tensors: &[NORMS, LATENT],
    keys: &[
        "attention.key_length_mla",
        "attention.kv_lora_rank",
        "attention.q_lora_rank",
        "attention.value_length_mla",
        "expert_feed_forward_length",
        "expert_gating_func",
        "expert_group_count",
        "expert_group_used_count",
        "expert_shared_count",
        "expert_weights_norm",
        "expert_weights_scale",
        "leading_dense_block_count",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.yarn_log_multiplier",
    ],
    latent: true,
    ..PLAIN
};

/// All of them.
pub(super) const FAMILIES: [Family; 9] = [
    Family { permuted: true, ..PLAIN },
    Family {
        name: "qwen2",
        model_type: "qwen2",
        class: "Qwen2ForCausalLM",
        tensors: &[NORMS, QKV, QKV_BIASES, OUTPUT, MLP],
        ..PLAIN
    },
    Family {
        name: "qwen3",
        model_type: "qwen3",
        class: "Qwen3ForCausalLM",
        tensors: &[NORMS, QKV, HEAD_NORMS, OUTPUT, MLP],
        ..PLAIN
    },
    Family {
        name: "qwen3moe",
        model_type: "qwen3_moe",
        class: "Qwen3MoeForCausalLM",
        tensors: &[NORMS, QKV, HEAD_NORMS, OUTPUT, EXPERTS],
        keys: &["expert_feed_forward_length"],
        ..PLAIN
    },
    Family {
        name: "gemma3",
        model_type: "gemma3_text",
        class: "Gemma3ForCausalLM",
        tensors: &[GEMMA_NORMS, QKV, HEAD_NORMS, OUTPUT, MLP],
        keys: &[
            "attention.sliding_window",
            "attention.sliding_window_pattern",
            "rope.freq_base_swa",
            "rope.scaling.factor",
        ],
        norms_plus_one: true,
        ..PLAIN
    },
    Family {
        name: "phi3",
        model_type: "phi3",
        class: "Phi3ForCausalLM",
        tensors: &[NORMS, JOINED, OUTPUT, JOINED_MLP],
        keys: &[
            "attention.sliding_window",
            "rope.scaling.attn_factor",
            "rope.scaling.original_context_length",
        ],
        ..PLAIN
    },
    Family {
        name: "gpt-oss",
        model_type: "gpt_oss",
        class: "GptOssForCausalLM",
        tensors: &[GPT_OSS_NORMS, QKV, QKV_BIASES, OUTPUT, SINKS, GPT_OSS_EXPERTS],
        keys: &[
            "attention.sliding_window",
            "expert_feed_forward_length",
            "rope.scaling.factor",
            "rope.scaling.original_context_length",
        ],
        ..PLAIN
    },
    DEEPSEEK,
    Family { model_type: "deepseek_v3", class: "DeepseekV3ForCausalLM", ..DEEPSEEK },
];

impl Family {
    /// Whether a tensor of that shape is a norm.
    pub(super) fn is_norm(shape: Shape) -> bool {
        matches!(shape, Shape::Hidden | Shape::Head | Shape::QueryNorm | Shape::LatentNorm)
    }

    /// Whether it has experts.
    pub(super) fn has_experts(&self) -> bool {
        let routes = |named: &Named| named.2 == Shape::Router;
        self.latent || self.tensors.iter().copied().flatten().any(routes)
    }

    /// The tensors of a layer of that form.
    pub(super) fn layer(&self, form: LayerForm) -> Vec<&'static [Named]> {
        let mut tensors = self.tensors.to_vec();
        if !self.latent {
            return tensors;
        }
        tensors.push(if form.compresses_queries { LATENT_QUERY } else { QUERY });
        tensors.push(if form.joins_up { LATENT_UP } else { APART_UP });
        if form.is_dense {
            tensors.push(MLP);
            return tensors;
        }
        tensors.push(EXPERTS);
        if self.model_type == "deepseek_v3" {
            tensors.push(CORRECTION);
        }
        if form.has_shared {
            tensors.push(SHARED);
        }
        tensors
    }
}
