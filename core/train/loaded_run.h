// A trained model: from a run's folder (its newest checkpoint) or from one checkpoint.
#pragma once

#include <filesystem>

#include "core/train/run_config.h"

namespace tersor {

struct LoadedRun {
  RunConfig config;
  std::shared_ptr<Llama> model;
  std::filesystem::path checkpoint;
  int64_t step = 0;

  // Whether tokens mean the same in both. If not, what differs, for "A and B …".
  [[nodiscard]] std::string difference(const LoadedRun& other) const;
  // SHA-256 of the tokenizer beside the weights; empty where there is none.
  [[nodiscard]] std::string tokenizer_sum() const;

  // The tokenizer beside the weights. UserError when the run's data came without one.
  [[nodiscard]] std::filesystem::path tokenizer() const;
};

// With the weights on a device; on the meta device without them.
[[nodiscard]] LoadedRun load_run(const std::filesystem::path& run_or_checkpoint, const at::Device& device);

}  // namespace tersor
