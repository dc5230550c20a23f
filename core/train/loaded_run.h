// A trained model, loaded from a run's folder (its newest checkpoint), from one checkpoint, or from a Hugging Face folder, such as an
// import or an export, which has the default configuration and step 0.
#pragma once

#include <filesystem>

#include "core/train/run_config.h"

namespace tersor {

struct LoadedRun {
  RunConfig config;
  std::shared_ptr<Llama> model;
  std::filesystem::path checkpoint;
  int64_t step = 0;
  bool of_run = true;  // false: only the model is known

  // What makes the tokens of the two runs differ, to complete "A and B …"; empty if they mean the same.
  [[nodiscard]] std::string difference(const LoadedRun& other) const;
  // SHA-256 of the tokenizer beside the weights; empty where there is none.
  [[nodiscard]] std::string tokenizer_sum() const;

  // The tokenizer beside the weights. Throws UserError if there is none.
  [[nodiscard]] std::filesystem::path tokenizer() const;
};

// Loads the weights onto `device`; on the meta device only their shapes.
[[nodiscard]] LoadedRun load_run(const std::filesystem::path& place, const at::Device& device);

}  // namespace tersor
