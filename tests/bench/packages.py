"""The authors' packages and torch's AdamW on the matrices of optimizers_bench.cpp; run by scripts/bench.

Prints ns a parameter for one step without a refresh of the basis, and milliseconds for one with it.
"""
import importlib
import sys
import time
import types

import torch

STEPS = 20


def load(module, name):
    for missing in ("bitsandbytes", "bitsandbytes.optim", "bitsandbytes.optim.optimizer"):
        if missing not in sys.modules:  # only their 8-bit variants need it
            stub = types.ModuleType(missing)
            stub.Optimizer2State = object
            sys.modules[missing] = stub
    return getattr(importlib.import_module(module), name)


def time_steps(optimizer, count):
    begin = time.perf_counter()
    for _ in range(count):
        optimizer.step()
    return (time.perf_counter() - begin) / count


def main():
    for rows, columns in [(512, 1376), (2048, 5461)]:
        def parameter():
            w = torch.nn.Parameter(torch.randn(rows, columns) * 0.02)
            w.grad = torch.randn(rows, columns) * 0.001
            return w

        rank = rows // 4
        galore = dict(rank=rank, update_proj_gap=10**9, scale=0.25, proj_type="std")
        fira = dict(rank=rank, update_proj_gap=10**9, alpha=0.25, proj_type="std")
        apollo = dict(rank=rank, update_proj_gap=10**9, scale=1.0, proj_type="std", proj="random", scale_type="channel")
        cases = {
            "torch AdamW fused": lambda: torch.optim.AdamW([parameter()], fused=True),
            "torch AdamW foreach": lambda: torch.optim.AdamW([parameter()], foreach=True),
            "galore_torch GaLoreAdamW": lambda: load("galore_torch", "GaLoreAdamW")([dict(params=[parameter()], **galore)]),
            "fira FiraAdamW": lambda: load("fira", "FiraAdamW")([dict(params=[parameter()], **fira)]),
            "apollo_torch APOLLOAdamW": lambda: load("apollo_torch", "APOLLOAdamW")([dict(params=[parameter()], **apollo)]),
        }
        for name, make in cases.items():
            try:
                optimizer = make()
                first = time_steps(optimizer, 1)
                step = min(time_steps(optimizer, STEPS) for _ in range(3))
            except Exception as error:  # a package that does not run here is said to, and the others go on
                print(f"{name}/{rows}x{columns}: does not run: {error!r}")
                continue
            print(f"{name}/{rows}x{columns}: {step / (rows * columns) * 1e9:.3f} ns a parameter, first step {first * 1e3:.0f} ms")


main()
