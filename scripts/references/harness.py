"""What the checks share: counting them, running tersor, tokens, and a training loop in torch to run beside it."""

import json
import math
import pathlib
import subprocess
import sys

import numpy
import torch
import transformers
import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
VOCAB_SIZE = 512
LENGTH = 32  # tokens in a window
STEPS = 60
WARMUP = 6
BATCH = 8
EVAL_WINDOWS = 37
SHAPE = dict(vocab_size=VOCAB_SIZE, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, use_cache=False, attn_implementation="eager")
MODELS = {
    "untied": dict(tie_word_embeddings=False, rms_norm_eps=1e-6),
    "tied": dict(tie_word_embeddings=True, rms_norm_eps=1e-5, attention_bias=True,
                 rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
    "blocks": dict(tie_word_embeddings=False, hidden_size=256, intermediate_size=512),
}
# What each trains with, as tersor names it. The clipping norms bind at some steps only.
TRAINING = {
    "untied": dict(lr=0.003, weight_decay=0.1, clip_norm=0.9, beta1=0.9, beta2=0.95, epsilon=1e-8, micro_batch_size=8,
                   warmup=WARMUP, min_ratio=0.1),
    "tied": dict(lr=0.002, weight_decay=0.3, clip_norm=0.7, beta1=0.8, beta2=0.99, epsilon=1e-6, micro_batch_size=2,
                 warmup=WARMUP, min_ratio=0.0),
}
PROJECTED = TRAINING["untied"] | dict(lr=0.01, weight_decay=0.0, beta2=0.999)

program = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "build/release/tersor").resolve()
passed = failed = 0


def check(name, good, detail):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"{'ok' if good else 'FAILED':<8}{name}: {detail}", flush=True)


def check_below(name, value, bound):
    check(name, value <= bound, f"{value:.2g} (at most {bound:g})")


def tersor(*words, code=0):
    """Runs a command and returns what it printed."""
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if done.returncode != code:
        sys.exit(f"tersor {' '.join(map(str, words))}: exit code {done.returncode}, expected {code}\n"
                 f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def relative(mine, reference):
    return max(abs(a - b) / abs(b) for a, b in zip(mine, reference, strict=True))


# Tokens.

def write_shard(file, tokens):
    header = numpy.zeros(256, dtype=numpy.int32)
    header[:3] = 20240520, 1, len(tokens)
    file.write_bytes(header.tobytes() + tokens.astype(numpy.uint16).tobytes())


def make_tokens(folder):
    """Shards of a language in which most tokens follow from the one before; the training tokens lie in two files."""
    random = numpy.random.default_rng(0)
    successor = random.permutation(VOCAB_SIZE)

    def sequence(count):
        tokens = random.integers(0, VOCAB_SIZE, count)
        for i in numpy.flatnonzero(random.random(count) < 0.7):
            tokens[i] = successor[tokens[i - 1]]
        return tokens

    train, validation = sequence(400 * LENGTH + 5), sequence(EVAL_WINDOWS * LENGTH + 1)
    folder.mkdir()
    write_shard(folder / "text_train_000.bin", train[:5000])
    write_shard(folder / "text_train_001.bin", train[5000:])
    write_shard(folder / "text_val_000.bin", validation)
    return torch.from_numpy(train), torch.from_numpy(validation)


def windows(tokens, first, count):
    """Rows of LENGTH + 1 tokens; targets follow inputs by one, and the windows begin again after the last."""
    total = (len(tokens) - 1) // LENGTH
    rows = torch.stack([tokens[i * LENGTH:(i + 1) * LENGTH + 1] for i in (j % total for j in range(first, first + count))])
    return rows[:, :-1], rows[:, 1:]


# The reference.

def summed_loss(model, inputs, targets):
    logits = model(input_ids=inputs).logits.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


@torch.no_grad()
def validation_loss(model, tokens):
    return summed_loss(model, *windows(tokens, 0, EVAL_WINDOWS)).item() / (EVAL_WINDOWS * LENGTH)


def rate(step, c):
    """Linear warm-up, then a half cosine down to a share of the peak."""
    if step < c["warmup"]:
        return c["lr"] * step / c["warmup"]
    share = (step - c["warmup"]) / (c.get("steps", STEPS) - c["warmup"])
    return c["lr"] * (c["min_ratio"] + (1 - c["min_ratio"]) * 0.5 * (1 + math.cos(math.pi * share)))


def adamw(model, c):
    return torch.optim.AdamW(model.parameters(), lr=c["lr"], betas=(c["beta1"], c["beta2"]), eps=c["epsilon"],
                             weight_decay=c["weight_decay"])


def train_reference(model, tokens, c, optimizer):
    """Losses, norms of the gradient and learning rates of all steps."""
    losses, norms, rates = [], [], []
    for step in range(1, c.get("steps", STEPS) + 1):
        rates.append(rate(step, c))
        for group in optimizer.param_groups:
            group["lr"] = rates[-1]
        optimizer.zero_grad()
        losses.append(0)
        for i in range(0, BATCH, c["micro_batch_size"]):
            loss = summed_loss(model, *windows(tokens, (step - 1) * BATCH + i, c["micro_batch_size"])) / (BATCH * LENGTH)
            loss.backward()
            losses[-1] += loss.item()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), c["clip_norm"]).item())
        optimizer.step()
    return losses, norms, rates


# Runs of tersor.

def run_config(data, c, **changes):
    """A run's YAML as a dictionary, without the model."""
    config = {
        "run": {},
        "data": {"source": {"type": "shards", "path": str(data)}, "sequence_length": LENGTH, "order": "sequential"},
        "optimizer": {key: c[key] for key in ("lr", "weight_decay", "clip_norm")},
        "schedule": {"type": "cosine", "warmup": c["warmup"], "min_ratio": c["min_ratio"]},
        "train": {"steps": c.get("steps", STEPS), "global_batch_size": BATCH, "micro_batch_size": c["micro_batch_size"]},
        "evaluation": {"every": "every 25", "tokens": EVAL_WINDOWS * LENGTH},
        "log": {"every": 1},
    }
    config["optimizer"]["groups"] = [
        {"match": "any", "rule": {"type": "adamw"} | {key: c[key] for key in ("beta1", "beta2", "epsilon")}}]
    for section, options in changes.items():
        config[section] |= options
    return config


def train(name, imported, config):
    """Trains an imported model; returns the run's folder."""
    folder = imported.parent
    config = {"extends": str(imported / "model.yaml")} | config
    config["run"] |= {"name": name, "out_dir": str(folder / "runs"), "threads": 1}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config))
    tersor("train", file)
    return folder / "runs" / name


def records(run, kind):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["type"] == kind]


def column(run, kind, key):
    return [record[key] for record in records(run, kind)]


def load(folder, **options):
    """A model as Transformers reads it; every tensor must have its place and every place its tensor."""
    model, report = transformers.LlamaForCausalLM.from_pretrained(
        folder, attn_implementation="eager", use_cache=False, output_loading_info=True, **options)
    problems = {key: value for key, value in report.items() if value}
    assert not problems, f"{folder}: {problems}"
    return model


def differing(mine, reference):
    """Names of tensors that are not the same bits, or are on one side only."""
    return [name for name in sorted(mine.keys() | reference.keys())
            if name not in mine or name not in reference or not torch.equal(mine[name], reference[name])]


def check_equal(name, mine, reference):
    wrong = differing(mine, reference)
    check(name, not wrong, f"{len(reference) - len(wrong)} of {len(reference)} tensors are the same bits")


def make_model(name, folder):
    """A random model in Transformers' files; the tied one lies in several."""
    torch.manual_seed(len(name))
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE | MODELS[name]))
    with torch.no_grad():  # gains and biases begin as ones and zeros, which would hide a mix-up
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder, max_shard_size="5GB" if name == "untied" else "150KB")
    return model


def stored(model):
    """The tensors that a file of the model holds: a tied head is not one."""
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
