"""mlx-lm, asked by lines on standard input:
{"load": true} -> seconds; {"prompt": [ids], "decode": n} -> figures of one run; {"peak": true} -> bytes."""

import gc
import json
import resource
import sys
import time
from pathlib import Path

import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.utils import load_model

mx.set_default_device(mx.cpu)
model = None


def load():
    global model
    model = None
    gc.collect()
    begun = time.perf_counter()
    model, _ = load_model(Path(sys.argv[1]))
    model.set_dtype(mx.float32)
    mx.eval(model.parameters())
    return time.perf_counter() - begun


def run(asked):
    prompt = mx.array(asked["prompt"])
    begun = time.perf_counter()
    first = None
    token = None
    for count, (token, _) in enumerate(generate_step(prompt, model, max_tokens=asked["decode"])):
        if first is None:
            first = time.perf_counter()
    ended = time.perf_counter()
    assert count + 1 == asked["decode"]
    return {
        "prefill": len(asked["prompt"]) / (first - begun),
        "decode": count / (ended - first),
        "last": int(token),
    }


print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "load" in asked:
        answer = load()
    elif "peak" in asked:
        answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    else:
        answer = run(asked)
    print(json.dumps(answer), flush=True)
