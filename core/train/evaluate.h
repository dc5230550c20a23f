// The validation loss over a fixed set of windows: the same ones each time, on any number of processes.
#pragma once

#include "core/train/observer.h"

namespace tersor {

// Windows spread evenly over `source`, enough for `tokens`, in batches of `rows`. The mean is over tokens, not over batches.
// Several processes share the batches.
[[nodiscard]] EvalReport evaluate(Llama& model, const TokenSource& source, int64_t tokens, int64_t rows,
                                  int64_t sequence_length, int64_t loss_chunk, Communicator& comm = alone());

// One of the sources that are evaluated, and its weight in the mean.
struct ValidationPart {
  std::string name;
  double weight = 1;
  std::unique_ptr<TokenSource> source;
};

// `data.validation`, or the validation windows of every source of the training data.
[[nodiscard]] std::vector<ValidationPart> validation_parts(const RunConfig& config);
// `tokens` of each part. The mean of several is weighted, as training draws from them at the start of the run.
[[nodiscard]] EvalReport evaluate(Llama& model, const std::vector<ValidationPart>& parts, int64_t tokens, const RunConfig& config,
                                  Communicator& comm = alone());

}  // namespace tersor
