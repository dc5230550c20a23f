// A whole run as written in YAML. `tersor describe` prints every option here with its default.
#pragma once

#include "core/data/mixture.h"
#include "core/device/device.h"
#include "core/train/lr_schedule.h"
#include "core/timeline/timeline.h"

namespace tersor {

enum class Resume { kNever, kAuto, kOverwrite };
template <>
struct EnumNames<Resume> {
  static constexpr std::array values{std::pair{Resume::kNever, std::string_view("never")},
                                     std::pair{Resume::kAuto, std::string_view("auto")},
                                     std::pair{Resume::kOverwrite, std::string_view("overwrite")}};
};

enum class Dtype { kFp32, kBf16 };
template <>
struct EnumNames<Dtype> {
  static constexpr std::array values{std::pair{Dtype::kFp32, std::string_view("fp32")},
                                     std::pair{Dtype::kBf16, std::string_view("bf16")}};
};

struct RunSection {
  std::string name = "run";
  std::filesystem::path out_dir = "runs";
  int64_t seed = 42;
  Resume resume = Resume::kNever;
  Choice<devices> device{"auto"};
  Dtype dtype = Dtype::kFp32;
  int64_t threads = 0;
  std::filesystem::path init_from;
  std::optional<Bytes> memory_limit;

  [[nodiscard]] at::ScalarType scalar_type() const { return dtype == Dtype::kBf16 ? at::kBFloat16 : at::kFloat; }
  void fields(FieldVisitor& v) {
    v("name", name, "the run's folder inside out_dir");
    v("out_dir", out_dir, "where runs are kept; relative to the file that sets it, or, by default, to the working directory");
    v("seed", seed, at_least(0), "seed of all randomness: initial weights, order of the data, rounding");
    v("resume", resume, "what to do if the run exists: refuse, resume from its last checkpoint, or start over");
    v("device", device, "where the run computes");
    v("dtype", dtype, "weights and compute; bf16 weights are updated with stochastic rounding");
    v("threads", threads, between(0, 1024), "CPU threads; 0: one per core");
    v("init_from", init_from, "where the initial weights come from: an import, an export, a checkpoint, or a run (its newest checkpoint)");
    v("memory_limit", memory_limit, "refuse a run if a process is planned to take more; absent: what the device has free; 0: no limit");
  }
};

struct DataSection {
  std::optional<Choice<token_sources>> source;
  std::vector<SourceShare> sources;
  std::optional<Choice<token_sources>> validation;
  int64_t sequence_length = 256;
  Order order = Order::kShuffled;
  void fields(FieldVisitor& v) {
    v("source", source, "training tokens, e.g. {type: shards, path: data/tokens}");
    v("sources", sources, "several sources of training tokens instead of one, drawn from by weight");
    v("validation", validation, "validation tokens; absent: those of each source, evaluated separately");
    v("sequence_length", sequence_length, at_least(1), "tokens per window");
    v("order", order, "shuffled: a new permutation of all windows each epoch; sequential: as they lie in the files");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;
  // `source` as the only one, or `sources`.
  [[nodiscard]] std::vector<SourceShare> shares() const;
};

struct TrainSection {
  Span steps{1000, Span::Unit::kSteps};
  int64_t global_batch_size = 32;
  int64_t micro_batch_size = 8;
  int64_t loss_chunk = 512;
  Recompute recompute = Recompute::kNone;
  void fields(FieldVisitor& v) {
    v("steps", steps, positive, "length of the run: 20000, or 2B tokens");
    v("global_batch_size", global_batch_size, at_least(1), "windows in one update");
    v("micro_batch_size", micro_batch_size, at_least(1), "windows in one forward and backward pass");
    v("loss_chunk", loss_chunk, at_least(1), "tokens whose logits are in memory at a time");
    v("recompute", recompute, "what the backward pass recomputes instead of keeping it");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;
};

struct EvaluationSection {
  Cadence every = Cadence::every(100);
  int64_t tokens = 131072;
  void fields(FieldVisitor& v) {
    v("every", every, "when the validation loss is measured, besides at the end; never: not at all");
    v("tokens", tokens, at_least(1), "validation tokens of each source, the same ones each time; the loss over several sources is their mean, weighted as in `sources`");
  }
};

struct CheckpointSection {
  Cadence every = Cadence::every(500);
  bool at_end = true;
  int64_t keep = 2;
  void fields(FieldVisitor& v) {
    v("every", every, "when to save, besides at the end and when stopped by a signal");
    v("at_end", at_end, "save at the end; false for runs of which only the records are wanted");
    v("keep", keep, at_least(1), "how many checkpoints are kept");
  }
};

struct LogSection {
  int64_t every = 10;
  bool tensorboard = true;
  Cadence profile;
  void fields(FieldVisitor& v) {
    v("every", every, at_least(1), "steps between two log lines");
    v("tensorboard", tensorboard, "write TensorBoard events beside metrics.jsonl");
    v("profile", profile, "steps to profile, e.g. at 20; where their time goes is written to profile/ in the run's folder");
  }
};

struct DistributedSection {
  Shard shard = Shard::kNone;
  double timeout = 600;
  void fields(FieldVisitor& v) {
    v("shard", shard, "what each of several processes holds only for the parameters it owns, instead of for all");
    v("timeout", timeout, positive, "seconds after which a process that does not answer is given up; saving a checkpoint must take less");
  }
};

struct DistillSection {
  OneOrMore<std::filesystem::path> from;
  double weight = 0.5;
  double temperature = 1;
  void fields(FieldVisitor& v) {
    v("from", from, required, "finished runs or checkpoints; several teach the mean of their probabilities");
    v("weight", weight, greater_than(0), between(0, 1), "weight w of the teachers' predictions in the loss; the targets have 1 − w");
    v("temperature", temperature, positive, "T, by which the logits of teachers and student are divided");
  }
};

struct RunConfig {
  OneOrMore<std::filesystem::path> plugins;
  RunSection run;
  ModelConfig model;
  OneOrMore<ParameterizationConfig> parameterization{ParameterizationConfig{}};
  DataSection data;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  TrainSection train;
  std::optional<DistillSection> distill;
  EvaluationSection evaluation;
  CheckpointSection checkpoint;
  LogSection log;
  DistributedSection distributed;
  std::vector<TimelineEntry> timeline;

  void fields(FieldVisitor& v) {
    v("plugins", plugins, "shared libraries with methods of your own");
    v("run", run, "the run itself");
    v("model", model, "the LLaMA decoder, in Hugging Face's names");
    v("parameterization", parameterization, "how weight matrices are stored and trained; in a list, the last entry whose targets match a weight applies");
    v("data", data, "training and validation tokens, and the windows that are cut from them");
    v("optimizer", optimizer, "how weights are updated");
    v("schedule", schedule, "the learning rate over the run");
    v("train", train, "length of the run and size of its batches");
    v("distill", distill, "also learn what finished runs predict");
    v("evaluation", evaluation, "when and on how much the validation loss is measured");
    v("checkpoint", checkpoint, "when the run is saved and how many saves are kept");
    v("log", log, "what is logged");
    v("distributed", distributed, "several processes, as torchrun, srun, mpirun or scripts/launch start them");
    v("timeline", timeline, "actions at chosen steps");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;

  [[nodiscard]] std::filesystem::path folder() const { return run.out_dir / run.name; }
  // The optimizer's options on the run's device: on a CPU nothing is offloaded, as everything is in host memory anyway.
  [[nodiscard]] OptimizerConfig optimizer_on_device() const;
  [[nodiscard]] int64_t tokens_per_step() const { return train.global_batch_size * data.sequence_length; }
  [[nodiscard]] int64_t total_steps() const;
};

// Loads the plugins that a tree of options names, and reads it. The tree may come from `load_config` or from a checkpoint.
[[nodiscard]] RunConfig read_run_config(const ConfigNode& node, Diagnostics& diagnostics);
// Reads, merges and checks. Throws one UserError that lists everything that is wrong.
[[nodiscard]] RunConfig read_run_config(const std::vector<std::filesystem::path>& files,
                                        const std::vector<std::string>& overrides);

}  // namespace tersor
