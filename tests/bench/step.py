"""A whole training step against the Python stack: Transformers' LLaMA, torch and the authors' packages. Run by scripts/bench.

    step.py TERSOR [--model configs/model/llama_60m.yaml] [--batch 4x256] [--rounds 3] [METHOD…]
    step.py TERSOR --device cuda [--model configs/model/llama_1b.yaml] [--batch 8x1024] …
    step.py TERSOR --device cuda --large

--with KEY=VALUE changes an option of the model on both sides, for instance --with num_hidden_layers=3.

Both have the same model, batch, rule and threads (OMP_NUM_THREADS, 2 unless set), fp32, no clipping. In each round they run one
after the other, 10 steps of random tokens each; the first four, which include the first search for a basis, do not count. A line
shows the median step of the best round, the median ratio of the two over rounds with the smallest and the largest, and the peak
resident memory of the whole process. Methods that only tersor runs here have no second column.

On a GPU both compute in bf16, and memory is what tensors take there. A line also has tokens per second, their share of the GPU's
peak and, for rules with bases, the share of time spent finding them at a period of 200 steps. The Python stack runs if its torch
has a GPU; a method that fails there or has no package has no second column. --large: time and memory of LLaMA-7B's steps.
"""
import argparse
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

STEPS, WARM_UP = 10, 4
RANK = 128
ROOT = pathlib.Path(__file__).resolve().parents[2]
# Name: the file in configs/method, further overrides, and whether the Python stack has it.
METHODS = {
    "adamw": ("adamw", [], True),
    "adamw_int8": ("adamw_int8", [], False),
    "galore": ("galore", [], True),
    "fira": ("fira", [], True),
    "galore subspace": ("galore", ["optimizer.groups.0.rule.decomposition=subspace"], False),
    "fira subspace": ("fira", ["optimizer.groups.0.rule.decomposition=subspace"], False),
    "apollo": ("apollo", [], True),
    "sltrain": ("sltrain", [], True),
    "low_rank": ("low_rank", ["optimizer.clip_norm=~"], True),
    "adamw per layer": ("adamw", ["optimizer.update=during_backward"], False),
    "adamw bf16": ("adamw", ["run.dtype=bf16"], False),
}


def resident_peak(command):
    """Runs a command; returns its output and its peak resident size in bytes, which wait4 counts in kilobytes."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0)
        text = out.read()
        if status:
            raise RuntimeError(text[-2000:])
        return text, usage.ru_maxrss * 1024


# Runs of LLaMA-7B: the file in configs/method, windows x tokens, further overrides.
SMALL = ["optimizer.update=during_backward", "train.recompute=block", "optimizer.clip_norm=~", "train.steps=6"]
QUICK = [*SMALL, "optimizer.groups.0.rule.decomposition=subspace"]
LARGE_MODELS = [("galore_int8", "1x256", QUICK), ("q_galore", "1x256", QUICK), ("q_galore", "1x2048", QUICK), ("apollo_mini", "1x256", SMALL),
                ("apollo_mini", "1x2048", SMALL), ("adamw", "1x2048", [*SMALL, "optimizer.groups.0.offload=true"])]


DEVICE_WORDS = {"cpu": ["run.device=cpu"], "cuda": ["run.device=cuda", "run.dtype=bf16"]}


def records_of(program, file, words, model, batch, length, device):
    """The step records of a run, and its peak resident memory."""
    with tempfile.TemporaryDirectory() as folder:
        configs = [model, ROOT / "configs/data/synthetic.yaml", ROOT / f"configs/method/{file}.yaml"]
        _, peak = resident_peak([program, "train", *map(str, configs), f"run.out_dir={folder}", "run.name=step",
                                 f"run.threads={threads()}", f"train.steps={STEPS}", f"train.global_batch_size={batch}",
                                 f"train.micro_batch_size={batch}", f"data.sequence_length={length}", "evaluation.every=never",
                                 "checkpoint.every=never", "checkpoint.at_end=false", "log.every=1", "log.tensorboard=false", *DEVICE_WORDS[device], *words])
        records = [json.loads(line) for line in open(f"{folder}/step/metrics.jsonl")]
    return [r for r in records if r["type"] == "step"], peak


def run_tersor(program, method, model, batch, length, changed):
    file, words, _ = METHODS[method]
    steps, peak = records_of(program, file, [*words, *(f"model.{c}" for c in changed)], model, batch, length, "cpu")
    return statistics.median(s["time/step_ms"] for s in steps[WARM_UP:]), peak


def run_python(method, model, batch, length, changed, device="cpu"):
    """Milliseconds of a step, and the peak of resident memory or of the GPU's."""
    text, peak = resident_peak([sys.executable, "-W", "ignore", __file__, "--child", method, "--model", str(model), "--batch", f"{batch}x{length}",
                                "--device", device, *(word for c in changed for word in ("--with", c))])
    took, on_gpu = json.loads(text.strip().splitlines()[-1])
    return took, on_gpu if device == "cuda" else peak


def threads():
    return int(os.environ.get("OMP_NUM_THREADS", 2))


def build(model_file, method, dtype, changed):
    import torch
    import yaml
    from transformers import LlamaConfig, LlamaForCausalLM

    options = yaml.safe_load(open(model_file))["model"] | {key: yaml.safe_load(value) for key, value in (c.split("=") for c in changed)}
    model = LlamaForCausalLM(LlamaConfig(**options, tie_word_embeddings=False)).to(dtype)
    linears = [(layer, name) for layer in model.model.layers for part in (layer.self_attn, layer.mlp)
               for layer, name in ((part, n) for n, m in part.named_children() if isinstance(m, torch.nn.Linear))]
    if method in ("low_rank", "sltrain"):
        for part, name in linears:
            linear = getattr(part, name)
            setattr(part, name, (low_rank if method == "low_rank" else sparse_low_rank)(linear.in_features, linear.out_features))
    matrices = [getattr(part, name).weight for part, name in linears] if method in ("galore", "fira", "apollo") else []
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    if not matrices:
        return model, torch.optim.AdamW(others, lr=1e-3, fused=True)
    from packages import stand_in_for_bitsandbytes  # none of which is used here
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        stand_in_for_bitsandbytes()
    package, name, options = {
        "galore": ("galore_torch", "GaLoreAdamW", dict(scale=0.25)),
        "fira": ("fira", "FiraAdamW", dict(alpha=0.25)),
        "apollo": ("apollo_torch", "APOLLOAdamW", dict(scale=1.0, proj="random", scale_type="channel")),
    }[method]
    group = dict(params=matrices, rank=RANK, update_proj_gap=200, proj_type="std") | options
    return model, getattr(importlib.import_module(package), name)([dict(params=others), group], lr=1e-2)


def low_rank(width_in, width_out):
    import torch
    return torch.nn.Sequential(torch.nn.Linear(width_in, RANK, bias=False), torch.nn.Linear(RANK, width_out, bias=False))


def sparse_low_rank(width_in, width_out, density=0.03):
    """x·(scale·B·A + S)ᵀ as in its paper: W is composed, not kept, and composed again in the backward pass."""
    import torch

    class Product(torch.autograd.Function):
        @staticmethod
        def composed(b, a, index, values, scale):
            w = (b @ a).mul_(scale)
            w.view(-1).scatter_add_(0, index, values)
            return w

        @staticmethod
        def forward(ctx, x, b, a, index, values, scale):
            ctx.save_for_backward(x, b, a, index, values)
            ctx.scale = scale
            return torch.nn.functional.linear(x, Product.composed(b, a, index, values, scale))

        @staticmethod
        def backward(ctx, dy):
            x, b, a, index, values = ctx.saved_tensors
            dy, rows = dy.flatten(0, -2), x.flatten(0, -2)
            dw = dy.t() @ rows
            dx = (dy @ Product.composed(b, a, index, values, ctx.scale)).view(x.shape)
            return dx, (dw @ a.t()).mul_(ctx.scale), (b.t() @ dw).mul_(ctx.scale), None, dw.view(-1)[index], None

    class SparseLowRank(torch.nn.Module):
        def __init__(self):
            super().__init__()
            count = int(density * width_in * width_out)
            self.b = torch.nn.Parameter(torch.zeros(width_out, RANK))
            self.a = torch.nn.Parameter(torch.randn(RANK, width_in) * width_in**-0.5)
            self.values = torch.nn.Parameter(torch.rand(count) * 0.01)
            self.register_buffer("index", torch.randperm(width_in * width_out)[:count].sort().values)

        def forward(self, x):
            return Product.apply(x, self.b, self.a, self.index, self.values, 32 / RANK)

    return SparseLowRank()


def child(method, model_file, batch, length, changed, device):
    """Trains, and prints the median step in milliseconds and the peak of tensor memory on the GPU."""
    import torch
    torch.set_num_threads(threads())
    torch.manual_seed(0)
    on_gpu = device == "cuda"
    with torch.device(device):
        model, optimizer = build(model_file, method, torch.bfloat16 if on_gpu else torch.float32, changed)
    took = []
    for _ in range(STEPS):
        tokens = torch.randint(model.config.vocab_size, (batch, length), device=device)
        begin = time.perf_counter()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if on_gpu:
            torch.cuda.synchronize()
        took.append((time.perf_counter() - begin) * 1e3)
    print(json.dumps([statistics.median(took[WARM_UP:]), torch.cuda.max_memory_allocated() if on_gpu else 0]))


def compare(program, methods, model, batch, length, changed, rounds):
    name = " ".join([pathlib.Path(model).stem, *changed])
    print(f"{name}, {batch} x {length} tokens a step, fp32 unless named, {threads()} threads, {rounds} rounds", flush=True)
    print(f"{'':16}  {'tersor':>9} {'Python':>9}   {'tokens/s, tersor : Python':<26} {'tersor':>8} {'Python':>8}   memory", flush=True)
    for method in methods:
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(run_tersor(program, method, model, batch, length, changed))
            if METHODS[method][2]:
                theirs.append(run_python(method, model, batch, length, changed))
        best, peak = min(o[0] for o in ours), max(o[1] for o in ours)
        line = f"{method:16}  {best:6.0f} ms "
        if not theirs:
            print(line + f"{'':39} {peak / 1e9:5.2f} GB", flush=True)
            continue
        ratios = sorted(t[0] / o[0] for o, t in zip(ours, theirs))
        their_peak = max(t[1] for t in theirs)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(line + f"{min(t[0] for t in theirs):6.0f} ms   {spread:<26} {peak / 1e9:5.2f} GB {their_peak / 1e9:5.2f} GB   "
              f"{peak / their_peak:.2f} of theirs", flush=True)


def compare_on_gpu(program, methods, model, batch, length, changed, rounds):
    python = subprocess.run([sys.executable, "-c", "import torch; assert torch.cuda.is_available()"], capture_output=True, check=False).returncode == 0
    print(f"{' '.join([pathlib.Path(model).stem, *changed])}, {batch} x {length} tokens a step, bf16, {rounds} rounds" + ("" if python else "; this Python has no GPU"), flush=True)
    print(f"{'':16}  {'tersor':>9} {'tokens/s':>9} {'of peak':>8} {'memory':>9} {'bases':>7}   {'Python':>9} {'memory':>9}   tokens/s, tersor : Python", flush=True)
    for method in methods:
        file, words, by_python = METHODS[method]
        words = [*(w for w in words if not w.startswith("run.dtype")), *(f"model.{c}" for c in changed)]
        best, ratios, theirs = None, [], []
        for _ in range(rounds):
            steps, _ = records_of(program, file, words, model, batch, length, "cuda")
            took = statistics.median(s["time/step_ms"] for s in steps[WARM_UP:])
            if best is None or took < best[0]:
                best = took, steps
            if python and by_python:
                try:
                    theirs.append(run_python(method, model, batch, length, changed, "cuda"))
                    ratios.append(theirs[-1][0] / took)
                except RuntimeError as error:  # the other methods are still compared
                    by_python = False
                    print(f"{method:16}  Python: {str(error).strip().splitlines()[-1]}", flush=True)
        took, steps = best
        peak = max(s["mem/allocated_peak_bytes"] for s in steps)
        mfu = max(s.get("mfu", 0) for s in steps[WARM_UP:])
        finding = (steps[0]["time/step_ms"] - took) / (200 * took)  # includes all else that the first step has to do
        line = f"{method:16}  {took:6.1f} ms {batch * length / took * 1e3:9.0f} {mfu:8.1%} {peak / 1e9:6.2f} GB {finding:7.2%}"
        if theirs:
            line += f"   {min(t[0] for t in theirs):6.1f} ms {max(t[1] for t in theirs) / 1e9:6.2f} GB   {statistics.median(ratios):.2f}"
        print(line, flush=True)


def try_large(program):
    print("llama_7b in bf16", flush=True)
    for file, size, words in LARGE_MODELS:
        rows, columns = map(int, size.split("x"))
        try:
            steps, _ = records_of(program, file, words, ROOT / "configs/model/llama_7b.yaml", rows, columns, "cuda")
        except RuntimeError as error:
            print(f"{file:16}  {size:>7}  {str(error).strip().splitlines()[-1]}", flush=True)
            continue
        took = statistics.median(s["time/step_ms"] for s in steps[WARM_UP:])
        print(f"{file:16}  {size:>7} {took:8.1f} ms {max(s['mem/allocated_peak_bytes'] for s in steps) / 1e9:6.2f} GB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", metavar="TERSOR")
    parser.add_argument("methods", nargs="*", metavar="METHOD")
    parser.add_argument("--device", choices=list(DEVICE_WORDS), default="cpu")
    parser.add_argument("--model", help="default: llama_60m, on a GPU llama_1b")
    parser.add_argument("--batch", help="sequences x tokens; default: 4x256, on a GPU 8x1024")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--with", dest="changed", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    on_gpu = options.device == "cuda"
    model = options.model or str(ROOT / f"configs/model/llama_{'1b' if on_gpu else '60m'}.yaml")
    batch, length = map(int, (options.batch or ("8x1024" if on_gpu else "4x256")).split("x"))
    if options.child:
        return child(options.child, model, batch, length, options.changed, options.device)
    unknown = [m for m in options.methods if m not in METHODS]
    if unknown or not options.program:
        parser.error(f"TERSOR and methods out of {', '.join(METHODS)}" + (f"; not {unknown[0]}" if unknown else ""))
    methods = options.methods or [m for m in METHODS if not (on_gpu and m.endswith("bf16"))]
    try:
        if options.large:
            return try_large(options.program)
        (compare_on_gpu if on_gpu else compare)(options.program, methods, model, batch, length, options.changed, options.rounds)
    except RuntimeError as error:  # from a program that was run
        sys.exit(str(error).strip().splitlines()[-1])


if __name__ == "__main__":
    main()
