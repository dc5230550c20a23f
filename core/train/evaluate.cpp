#include "core/train/evaluate.h"

#include <chrono>
#include <cmath>

#include "core/data/batch.h"
#include "core/train/prepare.h"

namespace tersor {

LossSum loss_of(Llama& model, int64_t loss_chunk) {
  return [&model, loss_chunk](const Batch& batch) { return model.loss(batch.inputs, batch.targets, 1, loss_chunk); };
}

LossSum loss_of_ensemble(const std::vector<std::shared_ptr<Llama>>& models, int64_t loss_chunk) {
  return [models, loss_chunk](const Batch& batch) {
    at::Tensor sum;  // log Σ pᵢ
    for (const auto& model : models) {
      const at::Tensor own = model->log_likelihoods(batch.inputs, batch.targets, loss_chunk).to(at::kDouble);
      sum = sum.defined() ? at::logaddexp(sum, own) : own;
    }
    const at::Tensor losses = std::log(static_cast<double>(models.size())) - sum;
    return losses.masked_select(batch.targets.to(losses.device()).ge(0)).sum();
  };
}

EvalReport evaluate(const LossSum& loss_sum, const TokenSource& source, int64_t tokens, int64_t rows, int64_t sequence_length,
                    Communicator& comm) {
  const at::NoGradGuard no_grad;
  const auto begin = std::chrono::steady_clock::now();
  const int64_t windows = std::min(source.size(), (tokens + sequence_length - 1) / sequence_length);
  const int64_t batches = (windows + rows - 1) / rows;
  const at::Tensor sums = at::zeros({3}, at::kDouble);  // of losses, batch means, and target counts
  for (int64_t round = 0; round < batches; round += comm.size()) {
    const bool counts = round + comm.rank() < batches;
    const int64_t first = (counts ? round + comm.rank() : 0) * rows;  // all run equally many passes, as weights may be scattered
    std::vector<int64_t> chosen;
    int64_t targets = 0;
    for (int64_t i = first; i < std::min(first + rows, windows); ++i) {
      chosen.push_back(static_cast<int64_t>(static_cast<__int128>(i) * source.size() / windows));
      targets += source.num_targets(chosen.back());
    }
    const at::Tensor sum = loss_sum(read_windows(source, chosen, sequence_length));
    comm.settle();
    const double loss = sum.item<double>();
    if (!counts) continue;
    sums[0] += loss;
    sums[1] += loss / static_cast<double>(targets);
    sums[2] += targets;
  }
  comm.all_reduce(sums).wait();
  EvalReport report{.loss = (sums[0] / sums[2]).item<double>(), .tokens = sums[2].item<int64_t>()};
  report.ppl = std::exp(report.loss);
  report.ppl_legacy = std::exp(sums[1].item<double>() / static_cast<double>(batches + 1));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

std::vector<ValidationPart> validation_parts(const RunConfig& config) {
  SourceInfo info = source_info(config, "validation");
  std::vector<ValidationPart> parts;
  if (config.data.validation) {
    parts.push_back({"validation", 1, build_source(*config.data.validation, "validation", info)});
    return parts;
  }
  info.shares_path = true;
  for (const SourceShare& share : config.data.shares())
    if (share.weight > 0) parts.push_back({share.name, share.weight, build_source(share.source, share.name, info)});
  return parts;
}

EvalReport evaluate(const LossSum& loss, const std::vector<ValidationPart>& parts, int64_t tokens, const RunConfig& config,
                    Communicator& comm) {
  EvalReport whole;
  double weights = 0;
  double legacy = 0;
  for (const ValidationPart& part : parts) {
    const EvalReport one = evaluate(loss, *part.source, tokens, config.train.micro_batch_size, config.data.sequence_length, comm);
    whole.loss += part.weight * one.loss;
    legacy += part.weight * std::log(one.ppl_legacy);
    weights += part.weight;
    whole.tokens += one.tokens;
    whole.seconds += one.seconds;
    if (parts.size() > 1) whole.losses.emplace_back(part.name, one.loss);
  }
  whole.loss /= weights;
  whole.ppl = std::exp(whole.loss);
  whole.ppl_legacy = std::exp(legacy / weights);
  return whole;
}

}  // namespace tersor
