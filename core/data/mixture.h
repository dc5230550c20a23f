// The training data of a run: one source, or several sampled by weight.
//
// A random number from (seed, n) picks the source of sample n, which is that source's next window in its own order. So the only
// state to save is how many windows each source has given, and weights may change during a run.
#pragma once

#include "core/data/batch.h"

namespace tersor {

struct SourceShare {
  std::string name;
  double weight = 1;
  Choice<token_sources> source;
  void fields(FieldVisitor& v) {
    v("name", name, required, "its name in logs");
    v("weight", weight, at_least(0), "how often it is drawn from, relative to the others");
    v("source", source, required, "its tokens, e.g. {type: shards, path: data/code}");
  }
};

class Mixture {
 public:
  Mixture(const std::vector<SourceShare>& shares, const SourceInfo& info, Order order);

  // Reads samples [first, first + rows). `drawn` counts the windows that each source has given, and is advanced.
  [[nodiscard]] Batch read(int64_t first, int64_t rows, const std::vector<double>& weights, std::vector<int64_t>& drawn) const;

  // Number of targets in the same samples that are not padding.
  [[nodiscard]] int64_t num_targets(int64_t first, int64_t rows, const std::vector<double>& weights, std::vector<int64_t> drawn) const;

  // Advances `drawn` as `read` does, for samples that another process reads.
  void skip(int64_t first, int64_t rows, const std::vector<double>& weights, std::vector<int64_t>& drawn) const;

  [[nodiscard]] size_t size() const { return parts_.size(); }
  [[nodiscard]] const std::string& name(size_t part) const { return parts_[part].name; }
  // The SentencePiece model that made the tokens; empty if unknown.
  [[nodiscard]] std::filesystem::path tokenizer() const;
  [[nodiscard]] std::filesystem::path tokenizer_of(size_t part) const { return parts_[part].source->tokenizer(); }
  // One per source; see TokenSource::fingerprint.
  [[nodiscard]] std::vector<std::string> fingerprints() const;

 private:
  struct Part {
    std::string name;
    std::unique_ptr<TokenSource> source;
    SampleOrder order;
  };
  [[nodiscard]] size_t pick(int64_t sample, const std::vector<double>& weights) const;

  std::vector<Part> parts_;
  uint64_t seed_;
  int64_t sequence_length_;
};

}  // namespace tersor
