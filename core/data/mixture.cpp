#include "core/data/mixture.h"

#include <numeric>

#include "core/base/rng.h"

namespace tersor {

Mixture::Mixture(const std::vector<SourceShare>& shares, const SourceInfo& info, Order order)
    : seed_(info.seed), sequence_length_(info.sequence_length) {
  for (const SourceShare& share : shares) {
    std::unique_ptr<TokenSource> source = build_source(share.source, share.name, info);
    // A single source is ordered by the seed itself; several each by a stream of their own.
    const uint64_t seed = shares.size() == 1 ? info.seed : random_stream(info.seed, "mixture", share.name).key();
    const int64_t windows = source->size();
    parts_.push_back({share.name, std::move(source), SampleOrder(order, seed, windows)});
  }
}

// The index of a sample's source.
size_t Mixture::pick(int64_t sample, const std::vector<double>& weights) const {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  double left = random_stream(seed_, "mixture").uniform(static_cast<uint64_t>(sample)) * sum;
  size_t part = 0;
  while (part + 1 < parts_.size() && (left >= weights[part] || weights[part] == 0)) left -= weights[part++];
  while (weights[part] == 0 && part > 0) --part;  // rounding may end at a source of weight 0
  return part;
}

void Mixture::skip(int64_t first, int64_t rows, const std::vector<double>& weights, std::vector<int64_t>& drawn) const {
  for (int64_t row = 0; row < rows; ++row) ++drawn[pick(first + row, weights)];
}

Batch Mixture::read(int64_t first, int64_t rows, const std::vector<double>& weights, std::vector<int64_t>& drawn) const {
  TERSOR_CHECK(weights.size() == parts_.size() && drawn.size() == parts_.size(), "{} weights for {} sources", weights.size(), parts_.size());
  const int64_t width = sequence_length_ + 1;
  const at::Tensor tokens = at::empty({rows, width}, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    const size_t part = pick(first + row, weights);
    const int64_t window = parts_[part].order.window(drawn[part]++);
    parts_[part].source->read(window, {tokens.data_ptr<int64_t>() + row * width, static_cast<size_t>(width)});
  }
  return as_batch(tokens);
}

int64_t Mixture::num_targets(int64_t first, int64_t rows, const std::vector<double>& weights, std::vector<int64_t> drawn) const {
  int64_t sum = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const size_t part = pick(first + row, weights);
    sum += parts_[part].source->num_targets(parts_[part].order.window(drawn[part]++));
  }
  return sum;
}

std::filesystem::path Mixture::tokenizer() const {
  for (const Part& part : parts_)
    if (const auto file = part.source->tokenizer(); !file.empty()) return file;
  return {};
}

std::vector<std::string> Mixture::fingerprints() const {
  std::vector<std::string> all;
  for (const Part& part : parts_) all.push_back(part.source->fingerprint());
  return all;
}

}  // namespace tersor
