// The validation loss over a fixed set of windows: the same ones each time, on any number of processes.
#pragma once

#include "core/train/observer.h"

namespace tersor {

// The sum of the losses of a batch's targets, padding left out: a number that lies where the model does.
using LossSum = std::function<at::Tensor(const Batch&)>;

[[nodiscard]] LossSum loss_of(Llama& model, int64_t loss_chunk);
// Of the mean of several models' probabilities: −log (1/n Σ pᵢ(target)). The models know the same tokens.
[[nodiscard]] LossSum loss_of_ensemble(const std::vector<std::shared_ptr<Llama>>& models, int64_t loss_chunk);

// Windows spread evenly over `source`, enough for `tokens`, in batches of `rows`. The mean is over targets, not over batches.
// Several processes share the batches.
[[nodiscard]] EvalReport evaluate(const LossSum& loss, const TokenSource& source, int64_t tokens, int64_t rows, int64_t sequence_length,
                                  Communicator& comm = alone());

// One of the sources that are evaluated, and its weight in the mean.
struct ValidationPart {
  std::string name;
  double weight = 1;
  std::unique_ptr<TokenSource> source;
};

// `data.validation`, or the validation windows of every source of the training data.
[[nodiscard]] std::vector<ValidationPart> validation_parts(const RunConfig& config);
// `tokens` of each part. The mean of several is weighted, as training draws from them at the start of the run.
[[nodiscard]] EvalReport evaluate(const LossSum& loss, const std::vector<ValidationPart>& parts, int64_t tokens, const RunConfig& config,
                                  Communicator& comm = alone());

}  // namespace tersor
