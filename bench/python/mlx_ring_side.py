"""One rank of MLX's ring: `pingpong` or `stream` of arrays of SIZE bytes, COUNT times. Prints JSON.

Rank 0 times and sends first. MLX_RANK and MLX_HOSTFILE say who and where.
"""

import json
import resource
import sys
import time

import mlx.core as mx

job, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
mx.set_default_device(mx.cpu)
group = mx.distributed.init(strict=True, backend="ring")
rank, other = group.rank(), 1 - group.rank()
arrays = [mx.full((size // 4,), float(i), dtype=mx.float32) for i in range(8)]
mx.eval(arrays)


def send(array):
    mx.eval(mx.distributed.send(array, other))


def receive(like):
    mx.eval(mx.distributed.recv_like(like, other))


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def pingpong():
    warmup, times = max(count // 10, 100), []
    for step in range(warmup + count):
        began = time.perf_counter_ns()
        if rank == 0:
            send(arrays[0])
            receive(arrays[0])
        else:
            receive(arrays[0])
            send(arrays[0])
        if step >= warmup:
            times.append(time.perf_counter_ns() - began)
    times.sort()
    return {"p50_us": times[len(times) // 2] / 1e3, "p99_us": times[len(times) * 99 // 100] / 1e3}


def stream():
    end = mx.zeros((1,))
    for messages in (max(count // 10, 16), count):
        used, began = cpu_s(), time.perf_counter()
        for step in range(messages):
            (send if rank == 0 else receive)(arrays[step % len(arrays)])
        # The receiver has them all.
        (receive if rank == 0 else send)(end)
        seconds, used = time.perf_counter() - began, cpu_s() - used
    return {"seconds": seconds, "cpu_s": used}


print(json.dumps({"pingpong": pingpong, "stream": stream}[job]()))
