// Whole training runs of a model so small that a step takes milliseconds.
#pragma once

#include <map>

#include "core/base/files.h"
#include "core/train/prepare.h"
#include "core/train/trainer.h"
#include "tests/support/temporary_folder.h"

namespace tersor::testing {

// A run on the synthetic language, with overrides as on the command line.
inline RunConfig tiny_config(const std::filesystem::path& out_dir, std::vector<std::string> overrides = {}) {
  std::vector<std::string> all{
      "run.out_dir=" + out_dir.string(), "run.name=tiny",           "data.source={type: synthetic}",
      "data.sequence_length=16",         "model.vocab_size=64",     "model.hidden_size=32",
      "model.intermediate_size=48",      "model.num_hidden_layers=2", "model.num_attention_heads=4",
      "model.num_key_value_heads=2",     "train.steps=6",           "train.global_batch_size=8",
      "train.micro_batch_size=4",        "train.loss_chunk=20",     "optimizer.lr=0.01",
      "optimizer.clip_norm=1.0",         "evaluation={every: every 3, tokens: 256}", "checkpoint.every=every 3",
      "log={every: 1, tensorboard: false}"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return read_run_config({}, all);
}

inline int train(const RunConfig& config) { return Trainer(config).run(); }

// The records of one type in a run's metrics.jsonl, by step.
inline std::map<int64_t, Json> records(const std::filesystem::path& run, const std::string& type) {
  std::map<int64_t, Json> found;
  std::istringstream lines(read_text(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json record = Json::parse(line, nullptr, false);
    if (record.is_object() && record["type"] == type) found[record["step"].get<int64_t>()] = record;
  }
  return found;
}

inline std::string checkpoint_sums(const std::filesystem::path& checkpoint) {
  return sha256_of_file(checkpoint / "model.safetensors") + sha256_of_file(checkpoint / "optim-00000.safetensors");
}

}  // namespace tersor::testing
