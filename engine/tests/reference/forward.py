"""An independent forward pass in float64 and plain numpy, by which mlx-lm's answers are confirmed."""

import numpy as np

from checkpoints import FP4


def rms(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def floats(blocks, scales):
    """The numbers of MXFP4: [experts, rows, groups, 16] bytes → [experts, rows, 32 groups]."""
    codes = np.stack([blocks & 15, blocks >> 4], -1).reshape(*blocks.shape[:-1], 32)
    numbers = FP4[codes] * np.exp2(scales.astype(np.float64) - 127)[..., None]
    return numbers.reshape(*scales.shape[:-1], -1)


def frequencies(config, dims, base, scaling):
    """Angle per position of each pair, and what the turned numbers are multiplied with."""
    f, stretch = 1.0 / base ** (np.arange(0, dims, 2) / dims), 1.0
    kind = scaling and (scaling.get("rope_type") or scaling.get("type"))
    if kind == "linear":
        f = f / scaling["factor"]
    elif kind == "llama3":
        old = scaling["original_max_position_embeddings"]
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        smooth = np.clip((old * f / (2 * np.pi) - low) / (high - low), 0, 1)
        f = (1 - smooth) * f / scaling["factor"] + smooth * f
    elif kind == "yarn":
        old, factor = scaling["original_max_position_embeddings"], scaling["factor"]
        pair = lambda turns: dims * np.log(old / (turns * 2 * np.pi)) / (2 * np.log(base))
        low, high = max(np.floor(pair(scaling["beta_fast"])), 0), min(np.ceil(pair(scaling["beta_slow"])), dims - 1)
        ramp = np.clip((np.arange(dims // 2) - low) / ((high - low) or 0.001), 0, 1)
        f = f / factor * ramp + f * (1 - ramp)
        mscale = lambda m: 0.1 * m * np.log(factor) + 1
        stretch = mscale(scaling.get("mscale", 1)) / mscale(scaling.get("mscale_all_dim", 0))
    elif kind == "longrope":
        old = config["original_max_position_embeddings"]
        f = f / np.array(scaling["long_factor"])
        stretch = np.sqrt(1 + np.log(config["max_position_embeddings"] / old) / np.log(old))
    return f, stretch


def turn(x, f, stretch, interleaved):
    """x: [heads, tokens, width]; the first 2 len(f) numbers turn."""
    dims = 2 * len(f)
    angles = np.outer(np.arange(x.shape[1]), f)
    cos, sin = np.cos(angles) * stretch, np.sin(angles) * stretch
    first, second = (np.s_[..., 0:dims:2], np.s_[..., 1:dims:2]) if interleaved else (
        np.s_[..., : dims // 2], np.s_[..., dims // 2 : dims])
    y = x.copy()
    y[first] = x[first] * cos - x[second] * sin
    y[second] = x[first] * sin + x[second] * cos
    return y


def forward(config, tensors, ids):
    """Logits of every row."""
    count, kind, eps = len(ids), config["model_type"], config["rms_norm_eps"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    gemma, latent = kind.startswith("gemma"), kind.startswith("deepseek")
    split = lambda x, n: x.reshape(count, n, -1).transpose(1, 0, 2)
    norm = lambda name, x, eps=eps: rms(x, tensors[name + ".weight"] + (1.0 if gemma else 0.0), eps)

    def linear(name, x):
        bias = tensors.get(name + ".bias", 0.0)
        return x @ tensors[name + ".weight"].T + bias

    def gated(name, x):
        if name + ".gate_up_proj.weight" in tensors:
            gate, up = np.split(linear(name + ".gate_up_proj", x), 2, -1)
        else:
            gate, up = linear(name + ".gate_proj", x), linear(name + ".up_proj", x)
        return linear(name + ".down_proj", (gelu_tanh if gemma else silu)(gate) * up)

    def grouped(layer, name, x):
        base, scaling, window = config.get("rope_theta", 10000.0), config.get("rope_scaling"), None
        if gemma and (layer + 1) % config["sliding_window_pattern"] != 0:
            base, scaling, window = config["rope_local_base_freq"], None, config["sliding_window"]
        if kind == "gpt_oss" and config["layer_types"][layer] == "sliding_attention":
            window = config["sliding_window"]
        if kind == "phi3":
            width = config["hidden_size"] // heads
            parts = np.split(linear(name + ".qkv_proj", x), [heads * width, (heads + kv_heads) * width], -1)
        else:
            parts = [linear(f"{name}.{part}_proj", x) for part in "qkv"]
        q, k, v = (split(part, n) for part, n in zip(parts, (heads, kv_heads, kv_heads)))
        if name + ".q_norm.weight" in tensors:
            q, k = norm(name + ".q_norm", q), norm(name + ".k_norm", k)
        width = q.shape[-1]
        f, stretch = frequencies(config, int(width * config.get("partial_rotary_factor", 1.0)), base, scaling)
        q, k = turn(q, f, stretch, False), turn(k, f, stretch, False)
        k, v = np.repeat(k, heads // kv_heads, 0), np.repeat(v, heads // kv_heads, 0)
        scale = config.get("query_pre_attn_scalar", width) ** -0.5
        return attend(q @ k.swapaxes(-1, -2) * scale, v, window, tensors.get(name + ".sinks"))

    def compressed(layer, name, x):
        nope, rank = config["qk_nope_head_dim"], config["kv_lora_rank"]
        if config["q_lora_rank"]:
            q = linear(name + ".q_b_proj", norm(name + ".q_a_layernorm", linear(name + ".q_a_proj", x), 1e-6))
        else:
            q = linear(name + ".q_proj", x)
        q = split(q, heads)
        scaling = config["rope_scaling"]
        f, stretch = frequencies(config, config["qk_rope_head_dim"], config["rope_theta"], scaling)
        q_nope, q_rope = q[..., :nope], turn(q[..., nope:], f, stretch, True)
        kv = linear(name + ".kv_a_proj_with_mqa", x)
        k_rope = turn(kv[None, :, rank:], f, stretch, True)
        kv = split(linear(name + ".kv_b_proj", norm(name + ".kv_a_layernorm", kv[:, :rank], 1e-6)), heads)
        scale = q.shape[-1] ** -0.5
        scale *= (0.1 * scaling["mscale_all_dim"] * np.log(scaling["factor"]) + 1) ** 2
        scores = (q_nope @ kv[..., :nope].swapaxes(-1, -2) + q_rope @ k_rope.swapaxes(-1, -2)) * scale
        return attend(scores, kv[..., nope:], None)

    def attend(scores, values, window, sinks=None):
        back = np.arange(count)[:, None] - np.arange(count)[None]
        seen = (back >= 0) & (back < (window or count))
        scores = np.where(seen, scores, -np.inf)
        if sinks is not None:
            column = np.broadcast_to(sinks[:, None, None], (heads, count, 1))
            scores = np.concatenate([scores, column], -1)
        out = softmax(scores)[..., :count] @ values
        return out.transpose(1, 0, 2).reshape(count, -1)

    def experts(name, x):
        numbers = x @ tensors[name + ".gate.weight"].T
        chosen, y = config["num_experts_per_tok"], np.zeros_like(x)
        for row in range(count):
            if kind == "deepseek_v3":
                scores = 1 / (1 + np.exp(-numbers[row]))
                ranked = (scores + tensors[name + ".gate.e_score_correction_bias"]).reshape(config["n_group"], -1)
                best = np.argsort(-np.sort(ranked, -1)[:, -2:].sum(-1))[: config["topk_group"]]
                kept = np.full_like(ranked, -np.inf)
                kept[best] = ranked[best]
                order = np.argsort(-kept.reshape(-1))[:chosen]
            else:
                scores = softmax(numbers[row])
                kept = scores.copy()
                if config.get("topk_method") == "group_limited_greedy":
                    groups = scores.reshape(config["n_group"], -1)
                    best = np.argsort(-groups.max(-1))[: config["topk_group"]]
                    kept = np.full_like(groups, -np.inf)
                    kept[best] = groups[best]
                order = np.argsort(-kept.reshape(-1))[:chosen]
            picked = scores[order]
            if config["norm_topk_prob"]:
                picked = picked / picked.sum()
            picked = picked * config.get("routed_scaling_factor", 1.0)
            for weight, expert in zip(picked, order):
                y[row] += weight * gated(f"{name}.experts.{expert}", x[row])
        return y + gated(name + ".shared_experts", x) if config.get("n_shared_experts") else y

    def clamped(name, x):
        limit, numbers, y = config["swiglu_limit"], linear(name + ".router", x), np.zeros_like(x)
        up, down = (floats(tensors[f"{name}.experts.{part}_proj_blocks"],
                           tensors[f"{name}.experts.{part}_proj_scales"]) for part in ("gate_up", "down"))
        for row in range(count):
            order = np.argsort(-numbers[row])[: config["num_experts_per_tok"]]
            for weight, expert in zip(softmax(numbers[row][order]), order):
                both = up[expert] @ x[row] + tensors[name + ".experts.gate_up_proj_bias"][expert]
                gate, straight = np.minimum(both[::2], limit), np.clip(both[1::2], -limit, limit)
                passed = gate / (1 + np.exp(-1.702 * gate)) * (straight + 1)
                y[row] += weight * (down[expert] @ passed + tensors[name + ".experts.down_proj_bias"][expert])
        return y

    h = tensors["model.embed_tokens.weight"][ids]
    if gemma:
        # Rounded to bf16, as the model was trained.
        h = h * float((np.array([config["hidden_size"] ** 0.5], np.float32).view(np.uint32) + 0x8000 & 0xFFFF0000).view(np.float32)[0])
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        x = norm(name + ".input_layernorm", h)
        out = linear(name + ".self_attn.o_proj", (compressed if latent else grouped)(layer, name + ".self_attn", x))
        h = h + (norm(name + ".post_attention_layernorm", out) if gemma else out)
        x = norm(name + (".pre_feedforward_layernorm" if gemma else ".post_attention_layernorm"), h)
        feed = clamped if kind == "gpt_oss" else experts if name + ".mlp.gate.weight" in tensors else gated
        out = feed(name + ".mlp", x)
        h = h + (norm(name + ".post_feedforward_layernorm", out) if gemma else out)
    head = "model.embed_tokens" if config["tie_word_embeddings"] else "lm_head"
    return norm("model.norm", h) @ tensors[head + ".weight"].T
