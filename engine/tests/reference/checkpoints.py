"""Tiny random checkpoints in Hugging Face's layout: every architecture, deterministic from a seed."""

import json
import struct

import numpy as np

BASE = dict(
    vocab_size=320, hidden_act="silu", rms_norm_eps=1e-6, max_position_embeddings=4096,
    bos_token_id=257, eos_token_id=258, torch_dtype="bfloat16",
)
LARGE = dict(BASE, hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, intermediate_size=256)
SMALL = dict(LARGE, hidden_size=64, num_hidden_layers=3, intermediate_size=128)
LATENT = dict(
    LARGE, num_key_value_heads=4, moe_intermediate_size=64, first_k_dense_replace=1, moe_layer_freq=1,
    kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32, attention_bias=False,
    tie_word_embeddings=False, rope_theta=10000.0,
)


def yarn(mscale):
    return dict(type="yarn", factor=40, original_max_position_embeddings=256, beta_fast=32,
                beta_slow=1, mscale=mscale, mscale_all_dim=mscale)


# name: (seed, config.json). Seeds are such that no greedy choice is a near tie.
CHECKPOINTS = {
    "llama3": (3, dict(
        LARGE, architectures=["LlamaForCausalLM"], model_type="llama", head_dim=32,
        attention_bias=False, mlp_bias=False, tie_word_embeddings=True, rope_theta=500000.0,
        rope_scaling=dict(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                          original_max_position_embeddings=256, rope_type="llama3"))),
    "mistral": (3, dict(
        LARGE, architectures=["MistralForCausalLM"], model_type="mistral", head_dim=32,
        sliding_window=None, tie_word_embeddings=False, rope_theta=1000000.0)),
    "qwen2": (8, dict(
        LARGE, architectures=["Qwen2ForCausalLM"], model_type="qwen2", tie_word_embeddings=True,
        rope_theta=1000000.0, use_sliding_window=False, sliding_window=32768)),
    "qwen3": (6, dict(
        LARGE, architectures=["Qwen3ForCausalLM"], model_type="qwen3", head_dim=64,
        attention_bias=False, tie_word_embeddings=False, rope_theta=1000000.0, rope_scaling=None)),
    "qwen3_moe": (3, dict(
        LARGE, architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", head_dim=64,
        attention_bias=False, tie_word_embeddings=False, rope_theta=1000000.0, rope_scaling=None,
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=64, norm_topk_prob=True,
        decoder_sparse_step=1, mlp_only_layers=[])),
    "deepseek_v2": (8, dict(
        LATENT, architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", q_lora_rank=None,
        n_routed_experts=8, n_shared_experts=2, num_experts_per_tok=2, routed_scaling_factor=1.0,
        norm_topk_prob=False, topk_method="greedy", scoring_func="softmax", n_group=1, topk_group=1,
        rope_scaling=yarn(0.707))),
    "deepseek_v2-groups": (26, dict(
        LATENT, architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", q_lora_rank=48,
        num_hidden_layers=3, hidden_size=64, kv_lora_rank=32, moe_intermediate_size=32,
        intermediate_size=128, n_routed_experts=16, n_shared_experts=1, num_experts_per_tok=3,
        routed_scaling_factor=4.0, norm_topk_prob=False, topk_method="group_limited_greedy",
        scoring_func="softmax", n_group=4, topk_group=2, rope_scaling=yarn(1.0))),
    "deepseek_v3": (1, dict(
        LATENT, architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", q_lora_rank=96,
        n_routed_experts=16, n_shared_experts=1, num_experts_per_tok=4, routed_scaling_factor=2.5,
        norm_topk_prob=True, topk_method="noaux_tc", scoring_func="sigmoid", n_group=4, topk_group=2,
        rope_scaling=yarn(1.0))),
    "llama2": (15, dict(
        SMALL, architectures=["LlamaForCausalLM"], model_type="llama", num_key_value_heads=4,
        tie_word_embeddings=False, rope_scaling=None, rms_norm_eps=1e-5)),
    "qwen3-tied": (6, dict(
        SMALL, architectures=["Qwen3ForCausalLM"], model_type="qwen3", head_dim=32,
        attention_bias=False, tie_word_embeddings=True, rope_theta=1000000.0, rope_scaling=None)),
    "phi3": (6, dict(
        SMALL, architectures=["Phi3ForCausalLM"], model_type="phi3", hidden_size=96,
        num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=False, rope_theta=10000.0,
        partial_rotary_factor=0.75, original_max_position_embeddings=256, sliding_window=None,
        rope_scaling=dict(type="longrope", short_factor=[1.0] * 12,
                          long_factor=[round(1.0 + 0.25 * i, 2) for i in range(12)]))),
    "gemma3": (29, dict(
        {key: value for key, value in SMALL.items() if key != "hidden_act"},
        architectures=["Gemma3ForCausalLM"], model_type="gemma3_text", num_hidden_layers=4,
        head_dim=32, query_pre_attn_scalar=32, sliding_window=16, sliding_window_pattern=2,
        rope_theta=1000000.0, rope_local_base_freq=10000.0, hidden_activation="gelu_pytorch_tanh",
        rope_scaling=dict(factor=8.0, rope_type="linear"), tie_word_embeddings=True)),
    "gpt_oss": (13, dict(
        SMALL, architectures=["GptOssForCausalLM"], model_type="gpt_oss", num_hidden_layers=4,
        head_dim=32, intermediate_size=64, num_local_experts=8, num_experts_per_tok=2,
        experts_per_token=2, attention_bias=True, sliding_window=16, swiglu_limit=7.0,
        layer_types=["sliding_attention", "full_attention"] * 2, rms_norm_eps=1e-5,
        rope_theta=150000.0, initial_context_length=256, tie_word_embeddings=False,
        rope_scaling=dict(rope_type="yarn", factor=32.0, beta_fast=32.0, beta_slow=1.0,
                          original_max_position_embeddings=256, truncate=True),
        quantization_config=dict(quant_method="mxfp4", modules_to_not_convert=["lm_head"]))),
}
# What a float of 4 bits stands for.
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def weights(config, rng):
    """The tensors by name, in float64."""
    tensors, hidden, kind = {}, config["hidden_size"], config["model_type"]
    latent, gemma = kind.startswith("deepseek"), kind.startswith("gemma")

    def linear(name, outputs, inputs, spread=1.0, bias=False):
        tensors[name + ".weight"] = rng.standard_normal((outputs, inputs)) * spread / np.sqrt(inputs)
        if bias:
            tensors[name + ".bias"] = rng.standard_normal(outputs) * 0.3

    def norm(name, width):
        # Gemma stores its norms less one.
        tensors[name + ".weight"] = (0.0 if gemma else 1.0) + 0.2 * rng.standard_normal(width)

    def blocks(name, rows, columns):
        # MXFP4: codes of 4 bits, two a byte, and a power of two for each 32.
        experts = config["num_local_experts"]
        tensors[name + "_blocks"] = rng.integers(0, 256, (experts, rows, columns // 32, 16), np.uint8)
        tensors[name + "_scales"] = rng.integers(122, 126, (experts, rows, columns // 32), np.uint8)
        tensors[name + "_bias"] = rng.standard_normal((experts, rows)) * 0.3

    def mlp(name, width):
        linear(name + ".gate_proj", width, hidden)
        linear(name + ".up_proj", width, hidden)
        linear(name + ".down_proj", hidden, width)

    spread = 0.1 if config["tie_word_embeddings"] else 1.0
    tensors["model.embed_tokens.weight"] = rng.standard_normal((config["vocab_size"], hidden)) * spread
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        attention = prefix + ".self_attn"
        norm(prefix + ".input_layernorm", hidden)
        norm(prefix + ".post_attention_layernorm", hidden)
        if gemma:
            norm(prefix + ".pre_feedforward_layernorm", hidden)
            norm(prefix + ".post_feedforward_layernorm", hidden)
        if latent:
            width = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
            if rank := config["q_lora_rank"]:
                linear(attention + ".q_a_proj", rank, hidden)
                norm(attention + ".q_a_layernorm", rank)
                linear(attention + ".q_b_proj", heads * width, rank, 1.5)
            else:
                linear(attention + ".q_proj", heads * width, hidden, 1.5)
            rank = config["kv_lora_rank"]
            linear(attention + ".kv_a_proj_with_mqa", rank + config["qk_rope_head_dim"], hidden, 1.5)
            norm(attention + ".kv_a_layernorm", rank)
            of_head = config["qk_nope_head_dim"] + config["v_head_dim"]
            linear(attention + ".kv_b_proj", heads * of_head, rank)
            linear(attention + ".o_proj", hidden, heads * config["v_head_dim"])
        elif kind == "phi3":
            width = hidden // heads
            linear(attention + ".qkv_proj", (heads + 2 * kv_heads) * width, hidden, 1.5)
            linear(attention + ".o_proj", hidden, heads * width)
        else:
            width, bias = config.get("head_dim") or hidden // heads, kind in ("qwen2", "gpt_oss")
            linear(attention + ".q_proj", heads * width, hidden, 1.5, bias)
            linear(attention + ".k_proj", kv_heads * width, hidden, 1.5, bias)
            linear(attention + ".v_proj", kv_heads * width, hidden, 1.0, bias)
            linear(attention + ".o_proj", hidden, heads * width, bias=kind == "gpt_oss")
            if kind == "gpt_oss":
                tensors[attention + ".sinks"] = rng.standard_normal(heads)
            if kind.startswith(("qwen3", "gemma3")):
                norm(attention + ".q_norm", width)
                norm(attention + ".k_norm", width)
        sparse = latent and layer >= config["first_k_dense_replace"] or kind == "qwen3_moe"
        if kind == "gpt_oss":
            linear(prefix + ".mlp.router", config["num_local_experts"], hidden, 2.0, True)
            blocks(prefix + ".mlp.experts.gate_up_proj", 2 * config["intermediate_size"], hidden)
            blocks(prefix + ".mlp.experts.down_proj", hidden, config["intermediate_size"])
        elif kind == "phi3":
            linear(prefix + ".mlp.gate_up_proj", 2 * config["intermediate_size"], hidden)
            linear(prefix + ".mlp.down_proj", hidden, config["intermediate_size"])
        elif not sparse:
            mlp(prefix + ".mlp", config["intermediate_size"])
        else:
            experts, width = config.get("n_routed_experts") or config["num_experts"], config["moe_intermediate_size"]
            tensors[prefix + ".mlp.gate.weight"] = rng.standard_normal((experts, hidden)) * 2 / np.sqrt(hidden)
            if kind == "deepseek_v3":
                tensors[prefix + ".mlp.gate.e_score_correction_bias"] = rng.uniform(0.0, 0.3, experts)
            for expert in range(experts):
                mlp(f"{prefix}.mlp.experts.{expert}", width)
            if shared := config.get("n_shared_experts"):
                mlp(prefix + ".mlp.shared_experts", width * shared)
    norm("model.norm", hidden)
    if config["tie_word_embeddings"]:
        if not gemma:
            tensors["model.norm.weight"] *= 4.0
    else:
        linear("lm_head", config["vocab_size"], hidden, 4.0)
    return tensors


def bf16(numbers):
    """Nearest even, as bits."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write(tensors, file):
    header, offset, chunks = {"__metadata__": {"format": "pt"}}, 0, []
    for name in sorted(tensors):
        codes = tensors[name].dtype == np.uint8
        chunk = tensors[name].tobytes() if codes else bf16(tensors[name]).tobytes()
        header[name] = dict(dtype="U8" if codes else "BF16", shape=list(tensors[name].shape),
                            data_offsets=[offset, offset + len(chunk)])
        offset += len(chunk)
        chunks.append(chunk)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def write_sharded(tensors, folder):
    """In two files of about the same size, with an index: no file of the repository is large."""
    total, run, shards = sum(tensor.size for tensor in tensors.values()), 0, [{}, {}]
    for name in sorted(tensors):
        shards[0 if run < total / 2 else 1][name] = tensors[name]
        run += tensors[name].size
    placed = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-00002.safetensors"
        write(shard, folder / file)
        placed |= dict.fromkeys(shard, file)
    index = dict(metadata=dict(total_size=2 * total), weight_map=dict(sorted(placed.items())))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=0))


def make(name, folder, seed=None):
    """Writes a checkpoint; returns its config and its tensors, rounded as they are stored."""
    known, config = CHECKPOINTS[name]
    tensors = weights(config, np.random.Generator(np.random.PCG64(known if seed is None else seed)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    if sum(tensor.size for tensor in tensors.values()) > 1_000_000:
        write_sharded(tensors, folder)
    else:
        write(tensors, folder / "model.safetensors")
    rounded = {name: tensor if tensor.dtype == np.uint8 else (bf16(tensor).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
               for name, tensor in tensors.items()}
    return config, rounded
