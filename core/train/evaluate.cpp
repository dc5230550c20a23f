#include "core/train/evaluate.h"

#include <chrono>
#include <cmath>

#include "core/data/batch.h"

namespace tersor {

EvalReport evaluate(Llama& model, const TokenSource& source, int64_t tokens, int64_t rows, int64_t sequence_length,
                    int64_t loss_chunk) {
  const at::NoGradGuard no_grad;
  const auto begin = std::chrono::steady_clock::now();
  const int64_t windows = std::min(source.size(), (tokens + sequence_length - 1) / sequence_length);
  double sum = 0;
  double sum_of_means = 0;
  int64_t batches = 0;
  for (int64_t first = 0; first < windows; first += rows, ++batches) {
    const int64_t count = std::min(rows, windows - first);
    std::vector<int64_t> chosen;
    for (int64_t i = first; i < first + count; ++i)
      chosen.push_back(static_cast<int64_t>(static_cast<__int128>(i) * source.size() / windows));
    const Batch batch = read_windows(source, chosen, sequence_length);
    const double loss = model.loss(batch.inputs, batch.targets, 1, loss_chunk).item<double>();
    sum += loss;
    sum_of_means += loss / static_cast<double>(count * sequence_length);
  }
  EvalReport report{.loss = sum / static_cast<double>(windows * sequence_length), .tokens = windows * sequence_length};
  report.ppl = std::exp(report.loss);
  report.ppl_legacy = std::exp(sum_of_means / static_cast<double>(batches + 1));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

}  // namespace tersor
