"""The authors' packages, bitsandbytes and torch's AdamW on the matrices of optimizers_bench.cpp; run by scripts/bench.

    packages.py [ROWSxCOLUMNS]

Prints, for each, ns per parameter of one `optimizer.step()` without a refresh of the basis (the fastest of several rounds), the
milliseconds that a refresh adds, and ns per parameter with one refresh in 200 steps. Gradients exist already, and their norm is
not computed.
"""
import importlib
import sys
import time
import types

import torch

SHAPES = [(512, 1376, 128), (1376, 512, 128), (4096, 11008, 512)]
PERIOD = 200
ROUNDS = 15


def stand_in_for_bitsandbytes():
    """The packages import it for their 8-bit variants, which are not used here."""
    for name in ("bitsandbytes", "bitsandbytes.functional", "bitsandbytes.optim", "bitsandbytes.optim.optimizer"):
        module = sys.modules[name] = types.ModuleType(name)
        module.__path__ = []
        if "." in name:
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, module)
    sys.modules["bitsandbytes.optim.optimizer"].Optimizer2State = object


def seconds(step, count):
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - begin) / count


def measure(make, numbers):
    """Seconds of a step, and of the first step, which finds a basis."""
    small = numbers < 1e7
    first = min(seconds(make().step, 1) for _ in range(5 if small else 1))
    optimizer = make()
    optimizer.step()
    return min(seconds(optimizer.step, 10 if small else 1) for _ in range(ROUNDS if small else 5)), first


def main():
    try:
        import bitsandbytes
    except ImportError:
        bitsandbytes = None
        stand_in_for_bitsandbytes()
        print("bitsandbytes: not installed, left out")
    for rows, columns, rank in SHAPES:
        if len(sys.argv) > 1 and sys.argv[1] != f"{rows}x{columns}":
            continue

        def parameter():
            w = torch.nn.Parameter(torch.randn(rows, columns) * 0.02)
            w.grad = torch.randn(rows, columns) * 0.001
            return w

        def package(module, name, **options):
            group = dict(rank=rank, update_proj_gap=10**9, proj_type="std") | options
            return lambda: getattr(importlib.import_module(module), name)([dict(params=[parameter()], **group)])

        cases = {
            "torch AdamW fused": (lambda: torch.optim.AdamW([parameter()], fused=True), False),
            "torch AdamW foreach": (lambda: torch.optim.AdamW([parameter()], foreach=True), False),
            "bitsandbytes AdamW8bit": (lambda: bitsandbytes.optim.AdamW8bit([parameter()]), False),
            "galore_torch GaLoreAdamW": (package("galore_torch", "GaLoreAdamW", scale=0.25), True),
            "fira FiraAdamW": (package("fira", "FiraAdamW", alpha=0.25), True),
            "apollo_torch APOLLOAdamW": (package("apollo_torch", "APOLLOAdamW", scale=1.0, proj="random", scale_type="channel"), True),
        }
        for name, (make, refreshes) in cases.items():
            if bitsandbytes is None and name.startswith("bitsandbytes"):
                continue
            try:
                step, first = measure(make, rows * columns)
            except Exception as error:  # report a package that does not run here, and go on with the others
                print(f"{name}/{rows}x{columns}: does not run: {error!r}", flush=True)
                continue
            line = f"{name}/{rows}x{columns}: {step / (rows * columns) * 1e9:.3f} ns a parameter"
            if refreshes:
                amortised = step + max(0, first - step) / PERIOD
                line += f", {amortised / (rows * columns) * 1e9:.3f} with a refresh of {max(0, first - step) * 1e3:.0f} ms in {PERIOD} steps"
            print(line, flush=True)


if __name__ == "__main__":
    main()
