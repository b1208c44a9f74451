"""mlx-lm, asked by lines on standard input: {"prompt": [ids], "decode": n} -> figures of one run."""

import json
import sys
import time

import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.utils import load_model
from pathlib import Path

mx.set_default_device(mx.cpu)
model, _ = load_model(Path(sys.argv[1]))
model.set_dtype(mx.float32)
mx.eval(model.parameters())
print("ready", flush=True)

for line in sys.stdin:
    asked = json.loads(line)
    prompt = mx.array(asked["prompt"])
    begun = time.perf_counter()
    first = None
    token = None
    for count, (token, _) in enumerate(generate_step(prompt, model, max_tokens=asked["decode"])):
        if first is None:
            first = time.perf_counter()
    ended = time.perf_counter()
    assert count + 1 == asked["decode"]
    print(
        json.dumps(
            {
                "prefill": len(asked["prompt"]) / (first - begun),
                "decode": count / (ended - first),
                "last": int(token),
            }
        ),
        flush=True,
    )
