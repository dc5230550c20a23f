// The validation loss over a fixed set of windows: the same ones each time, on any number of processes.
#pragma once

#include "core/train/observer.h"

namespace tersor {

// The sum of a batch's losses over its targets, without padding: a scalar on the model's device.
using LossSum = std::function<at::Tensor(const Batch&)>;

[[nodiscard]] LossSum loss_of(Llama& model, int64_t loss_chunk);
// The loss of the mean of several models' probabilities: −log (1/n Σ pᵢ(target)). The models must share a vocabulary.
[[nodiscard]] LossSum loss_of_ensemble(const std::vector<std::shared_ptr<Llama>>& models, int64_t loss_chunk);

// Evaluates windows spread evenly over `source`, enough for `tokens`, in batches of `rows`. The mean is over targets, not over batches.
// Several processes share the batches.
[[nodiscard]] EvalReport evaluate(const LossSum& loss, const TokenSource& source, int64_t tokens, int64_t rows, int64_t sequence_length,
                                  Communicator& comm = alone());

// A source to evaluate, and its weight in the mean.
struct ValidationPart {
  std::string name;
  double weight = 1;
  std::unique_ptr<TokenSource> source;
};

// `data.validation`, or the validation windows of every training source of nonzero weight.
[[nodiscard]] std::vector<ValidationPart> validation_parts(const RunConfig& config);
// Evaluates `tokens` tokens of each part. The mean over parts has the weights by which training draws from them at the run's start.
[[nodiscard]] EvalReport evaluate(const LossSum& loss, const std::vector<ValidationPart>& parts, int64_t tokens, const RunConfig& config,
                                  Communicator& comm = alone());

}  // namespace tersor
