// The training data of a run: one source, or several that are drawn from by weight.
//
// Sample n of a run comes from the source that a random number of (seed, n) picks, and is that source's next window in its own
// order: what a source has given before is all there is to save, and weights may change on the way.
#pragma once

#include "core/data/batch.h"

namespace tersor {

struct SourceShare {
  std::string name;
  double weight = 1;
  Choice<token_sources> source;
  void fields(FieldVisitor& v) {
    v("name", name, required, "what it is called in logs");
    v("weight", weight, at_least(0), "how often it is drawn from, relative to the others");
    v("source", source, required, "its tokens, e.g. {type: shards, path: data/code}");
  }
};

class Mixture {
 public:
  Mixture(const std::vector<SourceShare>& shares, const SourceInfo& info, Order order);

  // Samples [first, first + rows). `drawn`, a number a source, counts what each has given and is moved on.
  [[nodiscard]] Batch read(int64_t first, int64_t rows, const std::vector<double>& weights, std::vector<int64_t>& drawn) const;

  // Targets of the same samples that are no padding.
  [[nodiscard]] int64_t num_targets(int64_t first, int64_t rows, const std::vector<double>& weights, std::vector<int64_t> drawn) const;

  // `read` for samples that another process reads.
  void skip(int64_t first, int64_t rows, const std::vector<double>& weights, std::vector<int64_t>& drawn) const;

  [[nodiscard]] size_t size() const { return parts_.size(); }
  [[nodiscard]] const std::string& name(size_t part) const { return parts_[part].name; }
  // The SentencePiece model that made the tokens, where it is known.
  [[nodiscard]] std::filesystem::path tokenizer() const;
  [[nodiscard]] std::filesystem::path tokenizer_of(size_t part) const { return parts_[part].source->tokenizer(); }
  // What tells the tokens of each source from others.
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
