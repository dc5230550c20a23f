"""Update rules beside the authors' packages and bitsandbytes: the same model, tokens and options in both."""

import dataclasses
import importlib
import types
from sys import modules
from unittest import mock

import numpy
import torch

from references.harness import (PROJECTED, STEPS, check_below, column, load, make_model, relative, run_config, tersor, train,
                                train_reference)

try:
    import bitsandbytes
except ImportError:
    bitsandbytes = None

# The packages import bitsandbytes for their 8-bit variants, of which nothing is used here.
stubs = {name: types.ModuleType(name) for name in ("bitsandbytes", "bitsandbytes.functional", "bitsandbytes.optim",
                                                   "bitsandbytes.optim.optimizer")}
stubs["bitsandbytes.optim.optimizer"].Optimizer2State = object
with mock.patch.dict(modules, {} if bitsandbytes else stubs):
    import apollo_torch
    import fira
    import galore_torch
    random_projector = importlib.import_module("apollo_torch.random_projector")

REFRESH = 20  # bases are found anew at steps 1, 21 and 41
RANK = 16
SEED = 42  # of tersor's runs, when none is given


@dataclasses.dataclass
class Case:
    rule: dict
    package: type
    options: dict  # of the package's group
    training: dict = dataclasses.field(default_factory=dict)
    optimizer: dict = dataclasses.field(default_factory=dict)  # of tersor, besides the groups
    note: str = ""


def galore(side="std", **more):
    sides = {"reverse": "reverse_std"}
    return Case({"type": "galore", "scale": 0.25, "side": side}, galore_torch.GaLoreAdamW,
                {"scale": 0.25, "proj_type": sides.get(side, side)}, **more)


def apollo(rule, scale, scale_type, proj, **more):
    return Case({"type": "apollo"} | rule, apollo_torch.APOLLOAdamW, {"scale": scale, "scale_type": scale_type, "proj": proj}, **more)


MINI = {"rank": 1, "scaling": "tensor", "scale": 128}
CASES = {
    "galore": galore(),
    # The packages decay after the step, w ← (1 − ηλ)(w − ηu), and tersor before it: here the package's weights are decayed
    # before its step, and it is given none to do.
    "galore, weight decay": galore(training={"weight_decay": 0.3}, note=", decayed before the step"),
    # No clipping: its norm would be an estimate.
    "galore, 4 micro-batches added up in the subspace": galore(
        training={"micro_batch_size": 2, "clip_norm": 1e9}, optimizer={"update": "during_backward", "accumulate": "compressed"}),
    **{f"galore, side {side}": galore(side) for side in ("reverse", "left", "right", "full")},
    "fira": Case({"type": "fira", "scale": 0.25}, fira.FiraAdamW, {"alpha": 0.25}),
    "fira, scale 1": Case({"type": "fira", "scale": 1}, fira.FiraAdamW, {"alpha": 1.0}, training={"lr": 0.003}),
    "apollo, singular vectors": apollo({"projection": "svd"}, 1.0, "channel", "svd"),
    "apollo-mini, singular vectors": apollo(MINI | {"projection": "svd"}, 128.0, "tensor", "svd", training={"lr": 0.001}),  # at 0.01 it is chaotic
    # The package's projector is given tersor's draws, worked out here anew from seed, name and step.
    "apollo, random projection": apollo({}, 1.0, "channel", "random"),
    "apollo-mini, random projection": apollo(MINI, 128.0, "tensor", "random", training={"lr": 0.001}),
}


# tersor's random numbers: core/base/rng.h and kernels/fill_normal.h.

MASK = (1 << 64) - 1
GOLDEN = 0x9e3779b97f4a7c15


def mix(z):
    """The finaliser of splitmix64, on integers or on arrays of them."""
    z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & MASK
    z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & MASK
    return z ^ (z >> 31)


def stream_key(seed, purpose, name, step):
    def fnv1a(text):
        h = 0xcbf29ce484222325
        for byte in text.encode():
            h = ((h ^ byte) * 0x100000001b3) & MASK
        return h

    key = mix((seed + GOLDEN) & MASK)
    for part in (fnv1a(purpose), fnv1a(name), step):
        key = mix(key ^ mix((part + GOLDEN) & MASK))
    return key


def normal(shape, key):
    """Box and Muller's numbers over the stream's draws."""
    count = int(numpy.prod(shape))
    draws = range(1, count + count % 2 + 1)
    uniform = numpy.array([mix((key + index * GOLDEN) & MASK) >> 11 for index in draws], dtype=numpy.float64) * 2.0 ** -53
    radius, angle = numpy.sqrt(-2 * numpy.log(1 - uniform[0::2])), 2 * numpy.pi * uniform[1::2]
    numbers = numpy.stack([radius * numpy.cos(angle), radius * numpy.sin(angle)], 1).ravel()[:count]
    return torch.from_numpy(numbers.reshape(shape).astype(numpy.float32))


def draw_as_tersor(names):
    """A replacement for the package's projector's get_orthogonal_matrix; `names` are the parameters in the package's order,
    in which it numbers their seeds from 1."""
    def find(projector, gradient, rank, type, seed):
        if not hasattr(projector, "param"):
            projector.param, projector.draws = names[seed - 1], 0
        step = 1 + projector.draws * REFRESH
        projector.draws += 1
        short = gradient.shape[0 if type == "left" else 1]
        drawn = normal((rank, short), stream_key(SEED, "apollo", projector.param, step)) / rank ** 0.5
        return drawn.t() if type == "left" else drawn
    return find


def fix_signs(find_basis):
    """The package's function, with the entry of largest magnitude of each singular vector made positive, as in tersor."""
    def fixed(basis, axis):
        largest = basis.gather(axis, basis.abs().argmax(axis, keepdim=True))
        return basis * largest.sign()

    def find_fixed(projector, gradient, rank, type):
        basis = find_basis(projector, gradient, rank, type)
        if type == "full":
            return [fixed(basis[0], 0), fixed(basis[1], 1)]
        return fixed(basis, int(type == "right"))
    return find_fixed


def state_bytes(optimizer):
    """Of all tensors in the state, and of the bases, which lie in objects."""
    total = 0
    for value in (value for state in optimizer.state.values() for value in state.values()):
        value = getattr(value, "ortho_matrix", value)
        total += sum(part.nbytes for part in (value if isinstance(value, list) else [value]) if isinstance(part, torch.Tensor))
    return total


def decay_first(optimizer, decay):
    """Has every step of `optimizer` decay the weights before it."""
    step = optimizer.step

    def decayed_step():
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(1 - group["lr"] * decay)
        step()
    optimizer.step = decayed_step


def check_projected(name, folder, train_tokens):
    """A projected rule on the matrices of attention and MLP, AdamW on the rest, beside the authors' package."""
    case = CASES[name]
    c = PROJECTED | case.training
    model = load(folder / "original", dtype=torch.float32)
    betas = {"beta1": c["beta1"], "beta2": c["beta2"]}
    inner = {"type": "adamw", "epsilon": 1e-6, "epsilon_at": "uncorrected"} | betas
    rule = {"rank": RANK, "refresh": f"every {REFRESH}", "inner": inner} | case.rule
    groups = [{"match": {"role": "matrix"}, "rule": rule}, {"match": "any", "rule": inner}]
    config = run_config(folder.parent / "tokens", c, optimizer=case.optimizer | {"groups": groups}, evaluation={"every": "never"})
    run = train(name.replace(",", "").replace(" ", "_"), folder / "imported", config)

    matrices = {key: p for key, p in model.named_parameters() if key.endswith("_proj.weight")}
    others = {key: p for key, p in model.named_parameters() if key not in matrices}
    group = {"params": list(matrices.values()), "rank": rule["rank"], "update_proj_gap": REFRESH, "proj_type": "std"} | case.options
    optimizer = case.package([{"params": list(others.values())}, group], lr=c["lr"], betas=tuple(betas.values()), eps=1e-6,
                             weight_decay=0.0, no_deprecation_warning=True)
    if c["weight_decay"]:
        decay_first(optimizer, c["weight_decay"])
    with mock.patch.object(random_projector.GradientProjector, "get_orthogonal_matrix", draw_as_tersor([*others, *matrices])):
        losses, _, _ = train_reference(model, train_tokens, c, optimizer)
    mine = column(run, "step", "train/loss")
    detail = f"beside {case.package.__module__.split('.')[0]}{case.note} ({mine[0]:.3f} to {mine[-1]:.3f})"
    check_below(f"{name}: train/loss of all {STEPS} steps {detail}", relative(mine, losses), 1e-5)
    print(f"{'':<8}{name}: optimizer state {column(run, 'memory', 'mem/optimizer_bytes')[0]} bytes, the package's {state_bytes(optimizer)}")


def dynamic_map(signed):
    """The 256 numbers of Dettmers et al. 2022: in seven decades, the middles of equal parts of [0.1, 1]."""
    values = [0.0, 1.0]
    for decade in range(7):
        count = 2 ** (decade + (not signed))
        part = [(0.1 + 0.9 * (i + 0.5) / count) * 10.0 ** (decade - 6) for i in range(count)]
        values += part + [-value for value in part] * signed
    return torch.tensor(sorted(values), dtype=torch.float64)


class Adam8bit(torch.optim.Optimizer):
    """AdamW in double, whose moments are rounded to the nearest number of the dynamic map after each step, in blocks of 256."""

    def __init__(self, params, c):
        super().__init__(params, {"lr": c["lr"]})
        self.c, self.steps = c, 0

    def rounded(self, x, signed):
        if x.numel() < 4096:  # kept in fp32, here and there
            return x
        blocks, values = x.reshape(-1, 256), dynamic_map(signed)
        scale = blocks.abs().amax(1, keepdim=True)
        scaled = blocks / torch.where(scale > 0, scale, 1)
        codes = torch.bucketize(scaled, (values[1:] + values[:-1]) / 2)
        if signed:
            codes = torch.where(scaled < 0, codes.clamp_max(126), codes)  # the sign of a first moment is kept
        return (values[codes] * scale).reshape(x.shape)

    @torch.no_grad()
    def step(self):
        self.steps += 1
        beta1, beta2 = self.c["beta1"], self.c["beta2"]
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad.double()
                m, v = self.state[p].get("moments", (torch.zeros_like(g), torch.zeros_like(g)))
                m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
                size = (v / (1 - beta2 ** self.steps)).sqrt() + self.c["epsilon"]
                p.mul_(1 - group["lr"] * self.c["weight_decay"]).sub_(group["lr"] * m / (1 - beta1 ** self.steps) / size)
                self.state[p]["moments"] = self.rounded(m, True), self.rounded(v, False)


def check_8bit(folder, train_tokens):
    """8-bit AdamW beside its formulas in double, and beside bitsandbytes, on a model whose rows are whole blocks of 256
    numbers: tersor's blocks end with their row, the package's do not. A rounding of fp32 may choose the neighbouring code, so
    losses part slowly. The package's quantizer for the CPU does not always find the nearest number of its map, most of all for
    second moments near zero, to which steps are sensitive: the looser bound."""
    folder.mkdir()
    make_model("blocks", folder / "original")
    tersor("import", folder / "original", folder / "imported")
    c = PROJECTED | {"lr": 0.001, "weight_decay": 0.1}
    rule = {"type": "adamw", "beta1": c["beta1"], "beta2": c["beta2"]}
    groups = [{"match": "any", "rule": rule, "state": "int8"}]
    config = run_config(folder.parent / "tokens", c, optimizer={"groups": groups}, evaluation={"every": "never"})
    mine = column(train("int8", folder / "imported", config), "step", "train/loss")

    def losses(make):
        model = load(folder / "original", dtype=torch.float32)
        return train_reference(model, train_tokens, c, make(model.parameters()))[0]

    detail = f"({mine[0]:.3f} to {mine[-1]:.3f})"
    formulas = losses(lambda params: Adam8bit(params, c))
    check_below(f"8-bit adamw: train/loss of {STEPS} steps beside its formulas in double {detail}", relative(mine, formulas), 5e-4)
    if bitsandbytes is None:
        print(f"{'':<8}8-bit adamw: not compared with bitsandbytes, which is not installed")
        return
    for signed in (True, False):
        theirs = bitsandbytes.functional.create_dynamic_map(signed=signed)
        distance = ((theirs - dynamic_map(signed)).abs() / theirs.abs().clamp_min(1e-7)).max().item()
        check_below(f"8-bit adamw: the 256 numbers of bitsandbytes' {'' if signed else 'un'}signed map", distance, 1e-6)
    package = losses(lambda params: bitsandbytes.optim.AdamW8bit(params, lr=c["lr"], betas=(c["beta1"], c["beta2"]), eps=c["epsilon"],
                                                                 weight_decay=c["weight_decay"]))
    check_below(f"8-bit adamw: train/loss of {STEPS} steps beside bitsandbytes {detail}", relative(mine, package), 5e-3)


def check_optimizers(work, train_tokens):
    """`work` holds the model "untied", imported, and the tokens."""
    for projector in (galore_torch.galore_projector.GaLoreProjector, fira.gradient_projection.GradientProjector,
                      apollo_torch.svd_projector.GaLoreProjector):
        projector.get_orthogonal_matrix = fix_signs(projector.get_orthogonal_matrix)
    for name in CASES:
        check_projected(name, work / "untied", train_tokens)
    check_8bit(work / "blocks", train_tokens)
