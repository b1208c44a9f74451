"""Makes the tiny checkpoints of ../fixtures and their references, as mlx-lm computes them in f32.

    python3 -m venv venv && venv/bin/pip install 'mlx[cpu]==0.32.4' mlx-lm==0.32.2 numpy
    venv/bin/python make.py OUT [NAME…]      OUT/tiny-NAME/{config.json,model*.safetensors,reference.json}
    venv/bin/python make.py OUT --seek NAME  looks for a seed without near ties
"""

import json
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model, quantize_model, save_config, save_model

import checkpoints
import forward

PROMPT = list(b"The quick brown fox jumps over the lazy dog. 0123456789")
GREEDY = 24

# Quantised by MLX: of which checkpoint, type of scales, and how.
UNIFORM = dict(group_size=32, bits=4)
QUANTISED = {f"{name}-mlx-4bit": (name, mx.float32, None)
             for name in ("llama3", "qwen2", "qwen3_moe", "deepseek_v3")}
MIXED = {
    "embed_tokens": dict(group_size=64, bits=8),
    "0.self_attn.q_proj": dict(group_size=32, bits=3),
    "1.self_attn.o_proj": False,
    "v_proj": dict(group_size=32, bits=6),
    "2.mlp.gate_proj": dict(group_size=32, bits=5),
    "2.mlp.up_proj": dict(group_size=64, bits=2),
    "down_proj": dict(group_size=128, bits=8),
}


def mixed(path, _):
    return next((how for end, how in MIXED.items() if path.endswith(end)), True)


QUANTISED["qwen3-tied-mlx-mixed"] = ("qwen3-tied", mx.float16, mixed)
# Experts stay as they were published, in MLX's layout; the rest gets 8 bits.
QUANTISED["gpt_oss-mlx-8bit"] = ("gpt_oss", mx.float32, lambda path, _: dict(group_size=32, bits=8))


def reference(folder):
    """Logits of every row, and what is chosen greedily after a prompt that comes in chunks."""
    model, _ = load_model(folder)
    model.set_dtype(mx.float32)
    mx.eval(model.parameters())
    whole = model(mx.array([PROMPT]))[0]
    cache = make_prompt_cache(model)
    last = None
    for chunk in (PROMPT[:20], *([token] for token in PROMPT[20:30]), PROMPT[30:]):
        last = model(mx.array([chunk]), cache=cache)[0, -1]
    assert mx.abs(last - whole[-1]).max().item() < 1e-4
    greedy, margins = [], []
    for _ in range(GREEDY):
        first, second = mx.argsort(-last)[:2].tolist()
        greedy.append(first)
        margins.append(round((last[first] - last[second]).item(), 4))
        last = model(mx.array([[first]]), cache=cache)[0, -1]
    return np.array(whole), greedy, margins


def answers(folder):
    rows, greedy, margins = reference(folder)
    (folder / "reference.json").write_text(json.dumps(dict(
        prompt_ids=PROMPT, last_logits=[round(float(x), 5) for x in rows[-1]],
        argmax_rows=rows.argmax(-1).tolist(), greedy_ids=greedy, greedy_margins=margins,
        compute="float32", mlx_lm=__import__("mlx_lm").__version__, mlx=mx.__version__)))
    return rows, margins


def make(name, out, seed=None):
    folder = out / f"tiny-{name}"
    if name in QUANTISED:
        source, scales, how = QUANTISED[name]
        dense = out / "dense" / source
        checkpoints.make(source, dense)
        model, config = load_model(dense)
        model.set_dtype(scales)
        model, config = quantize_model(model, config, UNIFORM["group_size"], UNIFORM["bits"], quant_predicate=how)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(folder, model)
        (folder / "model.safetensors.index.json").unlink()
        save_config(config, folder / "config.json")
        return answers(folder)[1]
    config, tensors = checkpoints.make(name, folder, seed)
    rows, margins = answers(folder)
    apart = np.abs(rows - forward.forward(config, tensors, PROMPT)).max()
    assert apart < 2e-4, f"{name}: mlx-lm and float64 are {apart} apart"
    return margins


def main():
    mx.set_default_device(mx.cpu)
    out, asked = Path(sys.argv[1]), sys.argv[2:]
    if asked[:1] == ["--seek"]:
        margins = {seed: min(make(asked[1], out, seed)) for seed in range(1, 41)}
        return print(sorted(margins.items(), key=lambda pair: -pair[1])[:3])
    for name in asked or [*checkpoints.CHECKPOINTS, *QUANTISED]:
        print(name, "smallest margin", min(make(name, out)))


if __name__ == "__main__":
    main()
