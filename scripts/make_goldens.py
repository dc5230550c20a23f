#!/usr/bin/env python3
"""Writes tests/golden: llama_*.txt, what Transformers' LlamaForCausalLM computes for four tiny models, and factors.txt, how
weights made of factors train by their equations.

    scripts/make_goldens.py            with the Python of `scripts/setup --python`

tests/model/llama_golden_test.cpp rebuilds the same weights and tokens from the formulas below and compares. Weights are
multiples of 1/2048, so they are the same numbers in fp32 and in double. The double reference runs Transformers'
code with every mention of float32 read as float64: as written, it rounds norms, softmax and rotary tables to fp32.

tests/param/factors_golden_test.cpp trains the same factors by the optimizer and compares. Here their gradients are written
out, in double: nothing of autograd, of torch.optim or of a package takes part.
"""

import json
import math
import pathlib

import torch
import transformers
from torch.overrides import TorchFunctionMode

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
SHAPE = (2, 11)  # sequences, and tokens in each
LOGIT_ROWS = [(0, 0), (0, 9), (1, 5)]
MODELS = {
    "mha_untied": dict(vocab_size=61, hidden_size=32, intermediate_size=88, num_hidden_layers=2, num_attention_heads=4),
    "gqa_tied": dict(vocab_size=67, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6,
                     num_key_value_heads=2, tie_word_embeddings=True, rope_theta=500000.0, rms_norm_eps=1e-5),
    "biases": dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=2, attention_bias=True, mlp_bias=True),
    "odd_sizes": dict(vocab_size=53, hidden_size=30, intermediate_size=41, num_hidden_layers=3, num_attention_heads=3,
                      num_key_value_heads=1, head_dim=14, rope_theta=1000.0),
}


class Float32AsFloat64(TorchFunctionMode):
    """Reads every mention of float32 as float64, so that nothing is rounded on the way."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        def widen(value):
            return torch.float64 if value is torch.float32 else value

        if function is torch.Tensor.float:
            function = torch.Tensor.double
        return function(*map(widen, args), **{key: widen(value) for key, value in (kwargs or {}).items()})


def pattern(tensor_index, count):
    """Integers in [-504, 504]: (31 i² + 17 i + 101 k) mod 1009 − 504."""
    return [(31 * i * i + 17 * i + 101 * tensor_index) % 1009 - 504 for i in range(count)]


def fill(model):
    """Matrices and biases p/2048, norm gains 1 + p/2048, with k counting the names in alphabetical order."""
    for k, (name, parameter) in enumerate(sorted(model.named_parameters())):
        p = torch.tensor(pattern(k, parameter.numel()), dtype=torch.float64).reshape(parameter.shape)
        parameter.data.copy_(1 + p / 2048 if "norm" in name else p / 2048)


def batch(vocab_size):
    """Tokens, and targets of which two are ignored."""
    rows, length = SHAPE
    tokens = torch.tensor(pattern(7, rows * length)).add(504).remainder(vocab_size).reshape(SHAPE)
    labels = tokens.clone()
    labels[0, 3] = labels[1, length - 1] = -100
    return tokens, labels


def picked_entries(gradient):
    """The largest entry, the first and the one in the middle, with their places."""
    flat = gradient.reshape(-1)
    return [(place, flat[place].item()) for place in (int(flat.abs().argmax()), 0, flat.numel() // 2)]


def reference(shape, dtype):
    """Lines with loss, logits and gradients of one model in one precision."""
    shape = dict(shape)
    config = transformers.LlamaConfig(
        rope_parameters={"rope_type": "default", "rope_theta": shape.pop("rope_theta", 10000.0)},
        max_position_embeddings=32, use_cache=False, attn_implementation="eager", pad_token_id=None, **shape)
    model = transformers.LlamaForCausalLM(config).to(dtype)
    assert model.config._attn_implementation == "eager"
    fill(model)
    tokens, labels = batch(config.vocab_size)
    output = model(input_ids=tokens, labels=labels)
    assert output.logits.dtype == dtype
    output.loss.backward()
    name = str(dtype).removeprefix("torch.")
    lines = [f"loss {name} {output.loss.item()!r}"]
    for row, position in LOGIT_ROWS:
        values = " ".join(repr(value) for value in output.logits[row, position].tolist())
        lines.append(f"logits {name} {row} {position} {values}")
    for key, parameter in sorted(model.named_parameters()):
        entries = " ".join(f"{place} {value!r}" for place, value in picked_entries(parameter.grad))
        lines.append(f"grad {name} {key} {parameter.grad.double().norm().item()!r} {entries}")
    return lines


# Factors of one weight (6, 5) on a fixed quadratic: ½ Σ (Y − X·Tᵀ)² with Y = X·(W + s·B·A)ᵀ.
OUT, IN, TOKENS, RANK, STEPS = 6, 5, 7, 2, 16
RATE, BETA1, BETA2, EPSILON = 0.01, 0.9, 0.999, 1e-8
MERGE_AFTER = 8  # steps of LoRA
SUPPORT = [0, 1, 6, 9, 10, 13, 22, 27, 28]  # positions of SLTrain's values, as tersor draws them


def matrix(tensor_index, *shape):
    return torch.tensor(pattern(tensor_index, math.prod(shape)), dtype=torch.float64).reshape(shape) / 2048


class Adam:
    """Kingma and Ba 2015, Algorithm 1."""

    def __init__(self):
        self.t, self.m, self.v = 0, 0, 0

    def step(self, weight, gradient):
        self.t += 1
        self.m = BETA1 * self.m + (1 - BETA1) * gradient
        self.v = BETA2 * self.v + (1 - BETA2) * gradient ** 2
        mean, variance = self.m / (1 - BETA1 ** self.t), self.v / (1 - BETA2 ** self.t)
        return weight - RATE * mean / (variance.sqrt() + EPSILON)


def factor_lines(name, base, a, b, scale, merge_after=None, support=None):
    """Lines with the loss before each step and the tensors at the end. At the merge moments begin anew, and A is matrix 6.
    The base is frozen but for the entries of `support`, positions by row."""
    x, target = matrix(0, TOKENS, IN), matrix(1, OUT, IN)
    of_a, of_b, of_values = Adam(), Adam(), Adam()
    lines = []
    for step in range(1, STEPS + 1):
        difference = x @ (base + scale * b @ a - target).T
        lines.append(f"{name} loss {step} {0.5 * (difference ** 2).sum().item()!r}")
        gradient = difference.T @ x  # of the whole weight
        a, b = of_a.step(a, scale * b.T @ gradient), of_b.step(b, scale * gradient @ a.T)
        if support:
            base = base.clone()
            base.view(-1)[support] = of_values.step(base.view(-1)[support], gradient.view(-1)[support])
        if step == merge_after:
            base, a, b = base + scale * b @ a, matrix(6, RANK, IN), torch.zeros_like(b)
            of_a, of_b = Adam(), Adam()
    rest = ("values", base.view(-1)[support]) if support else ("base", base)
    for key, value in (rest, ("A", a), ("B", b)):
        lines.append(f"{name} {key} {' '.join(repr(number) for number in value.flatten().tolist())}")
    return lines


def write_factors():
    zero = torch.zeros(OUT, IN, dtype=torch.float64)
    a, b = matrix(3, RANK, IN), matrix(4, OUT, RANK)
    lines = ["# Made by scripts/make_goldens.py."]
    lines += factor_lines("low_rank", zero, a, b, 1.0)  # α absent
    lines += factor_lines("low_rank_alpha", zero, a, b, 3 / RANK)
    lines += factor_lines("lora", matrix(2, OUT, IN), a, torch.zeros_like(b), 4 / RANK, MERGE_AFTER)
    sparse = zero.clone()
    sparse.view(-1)[SUPPORT] = matrix(5, len(SUPPORT))
    lines += factor_lines("sltrain", sparse, a, b, 3 / RANK, support=SUPPORT)
    (FOLDER / "factors.txt").write_text("\n".join(lines) + "\n")


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_factors()
    for name, shape in MODELS.items():
        lines = [f"# Made by scripts/make_goldens.py with Transformers {transformers.__version__} "
                 f"and PyTorch {torch.__version__.split('+')[0]}.",
                 f"model {json.dumps(shape | {'max_position_embeddings': 32})}"]
        lines += reference(shape, torch.float32)
        with Float32AsFloat64():
            lines += reference(shape, torch.float64)
        (FOLDER / f"llama_{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
