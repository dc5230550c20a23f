"""Weights made of factors, beside the same equations in PyTorch inside Transformers' LLaMA."""

import torch
from safetensors.torch import load_file

from references.harness import TRAINING, adamw, check_below, column, load, relative, run_config, tersor, train, train_reference

TRAINED = TRAINING["untied"] | dict(lr=0.005, weight_decay=0.0, beta2=0.999, steps=100)
METHODS = {
    "low_rank": {"type": "low_rank", "rank": 16},
    "low_rank with alpha": {"type": "low_rank", "rank": 16, "alpha": 40},
    "lora": {"type": "lora", "rank": 8, "alpha": 16},
    "sltrain": {"type": "sltrain", "rank": 8, "alpha": 16, "density": 0.05},
}


class FactoredLinear(torch.nn.Module):
    """y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ. W is frozen (LoRA, Hu et al. 2021), absent (low rank), or trained at the positions of a mask
    (SLTrain, Han et al. 2024)."""

    def __init__(self, tensors, options, support):
        super().__init__()
        self.frozen, self.support = tensors.get("base"), support
        self.a, self.b = torch.nn.Parameter(tensors["A"]), torch.nn.Parameter(tensors["B"])
        if support is not None:
            self.values = torch.nn.Parameter(tensors["values"])
        self.scale = options["alpha"] / options["rank"] if "alpha" in options else 1.0

    def forward(self, x):
        y = self.scale * ((x @ self.a.T) @ self.b.T)
        if self.support is not None:
            sparse = torch.zeros(self.b.shape[0] * self.a.shape[1]).index_put((self.support,), self.values)
            y = y + x @ sparse.view(self.b.shape[0], self.a.shape[1]).T
        return y if self.frozen is None else x @ self.frozen.T + y


def check_factored(name, folder, train_tokens):
    """From the same factors, as tersor saves them before anything has moved, beside torch's AdamW."""
    options = METHODS[name]
    c = TRAINED
    method = {"parameterization": {"method": options}}
    label = name.replace(" ", "_")
    first = run_config(folder.parent / "tokens", c | {"lr": 0.0, "warmup": 0, "steps": 1}, evaluation={"every": "never"})
    if name == "sltrain":  # an imported weight would be spread over factors and values: begin as the paper does
        first["run"]["init_from"] = None
    before = train(f"{label}_start", folder / "imported", first | method)
    start = load_file(before / "checkpoints/step-00000001/model.safetensors")
    tersor("export", before, folder / f"{label}_dense", "--keep-factors")
    tersor("export", before, folder / f"{label}_hf")
    dense = load_file(folder / f"{label}_hf/model.safetensors")
    run = train(label, folder / f"{label}_dense", run_config(folder.parent / "tokens", c, evaluation={"every": "never"}) | method)

    model = load(folder / f"{label}_hf", dtype=torch.float32)
    layers = [key for key, module in model.named_modules() if isinstance(module, torch.nn.Linear) and key.endswith("_proj")]
    for key in layers:
        parent, part = model.get_submodule(key.rpartition(".")[0]), key.rpartition(".")[2]
        words = ("base", "A", "B", "values")
        tensors = {word: start[f"{key}.{word}"] for word in words if f"{key}.{word}" in start}
        support = None
        if "values" in tensors:  # B is zero at the start, so the weight shows where its values are
            support = dense[f"{key}.weight"].flatten().nonzero().squeeze(1)
            assert torch.equal(dense[f"{key}.weight"].flatten()[support], tensors["values"])
        setattr(parent, part, FactoredLinear(tensors, options, support))
    losses, norms, _ = train_reference(model, train_tokens, c, adamw(model, c))
    mine = column(run, "step", "train/loss")
    detail = f"{len(layers)} layers, {mine[0]:.3f} to {mine[-1]:.3f}"
    check_below(f"{name}: train/loss of {c['steps']} steps beside PyTorch ({detail})", relative(mine, losses), 1e-5)
    check_below(f"{name}: grad_norm", relative(column(run, "step", "grad_norm"), norms), 1e-5)


def check_factors(work, train_tokens):
    for name in METHODS:
        check_factored(name, work / "untied", train_tokens)
