#include "core/train/evaluate.h"

#include <chrono>
#include <cmath>

#include "core/data/batch.h"

namespace tersor {

EvalReport evaluate(Llama& model, const TokenSource& source, int64_t tokens, int64_t rows, int64_t sequence_length,
                    int64_t loss_chunk, Communicator& comm) {
  const at::NoGradGuard no_grad;
  const auto begin = std::chrono::steady_clock::now();
  const int64_t windows = std::min(source.size(), (tokens + sequence_length - 1) / sequence_length);
  const at::Tensor sums = at::zeros({2}, at::kDouble);  // of losses, and of the batches' means
  int64_t batches = 0;
  for (int64_t first = 0; first < windows; first += rows, ++batches) {
    if (batches % comm.size() != comm.rank()) continue;
    const int64_t count = std::min(rows, windows - first);
    std::vector<int64_t> chosen;
    for (int64_t i = first; i < first + count; ++i)
      chosen.push_back(static_cast<int64_t>(static_cast<__int128>(i) * source.size() / windows));
    const Batch batch = read_windows(source, chosen, sequence_length);
    const double loss = model.loss(batch.inputs, batch.targets, 1, loss_chunk).item<double>();
    sums[0] += loss;
    sums[1] += loss / static_cast<double>(count * sequence_length);
  }
  comm.all_reduce(sums).wait();
  const double sum = sums[0].item<double>();
  const double sum_of_means = sums[1].item<double>();
  EvalReport report{.loss = sum / static_cast<double>(windows * sequence_length), .tokens = windows * sequence_length};
  report.ppl = std::exp(report.loss);
  report.ppl_legacy = std::exp(sum_of_means / static_cast<double>(batches + 1));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

std::vector<ValidationPart> validation_parts(const RunConfig& config) {
  SourceInfo info{.sequence_length = config.data.sequence_length, .vocab_size = config.model.vocab_size,
                  .split = "validation", .seed = static_cast<uint64_t>(config.run.seed)};
  std::vector<ValidationPart> parts;
  if (config.data.validation) {
    parts.push_back({"validation", 1, config.data.validation->build(info)});
    return parts;
  }
  info.shares_path = true;
  for (const SourceShare& share : config.data.shares())
    if (share.weight > 0) parts.push_back({share.name, share.weight, share.source.build(info)});
  return parts;
}

EvalReport evaluate(Llama& model, const std::vector<ValidationPart>& parts, int64_t tokens, const RunConfig& config,
                    Communicator& comm) {
  EvalReport whole;
  double weights = 0;
  double legacy = 0;
  for (const ValidationPart& part : parts) {
    const EvalReport one = evaluate(model, *part.source, tokens, config.train.micro_batch_size, config.data.sequence_length,
                                    config.train.loss_chunk, comm);
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
