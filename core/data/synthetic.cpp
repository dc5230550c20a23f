// A made-up language that can be learned, for tests and benchmarks without data: token a is followed, with falling
// probability, by one of four tokens that depend on a alone. Its entropy is 1.75 bits, so a perfect model reaches a loss of 1.21.
#include "core/base/rng.h"
#include "core/data/token_source.h"

namespace tersor {
namespace {

class Synthetic final : public TokenSource {
 public:
  struct Config {
    int64_t windows = 100'000;
    std::optional<int64_t> seed;
    void fields(FieldVisitor& v) {
      v("windows", windows, at_least(1), "how many windows there are before they repeat");
      v("seed", seed, at_least(0), "of the language and its texts; run.seed when absent");
    }
  };

  Synthetic(const Config& config, const SourceInfo& info)
      : config_(config), info_(info), language_(random_stream(seed_of(config, info), "language")),
        text_(random_stream(seed_of(config, info), "text", info.split)) {}

  int64_t size() const override { return config_.windows; }
  int64_t num_targets(int64_t /*window*/) const override { return info_.sequence_length; }

  void read(int64_t window, std::span<int64_t> tokens) const override {
    const RandomStream random = text_.child(static_cast<uint64_t>(window));
    const auto vocab = static_cast<uint64_t>(info_.vocab_size);
    uint64_t token = random.below(0, vocab);
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<int64_t>(token);
      const uint64_t eighths = random.below(i + 1, 8);  // 4/8, 2/8, 1/8, 1/8
      const uint64_t branch = eighths < 4 ? 0 : eighths < 6 ? 1 : eighths - 4;
      token = language_.child(token).below(branch, vocab);
    }
  }

 private:
  static uint64_t seed_of(const Config& config, const SourceInfo& info) {
    return config.seed ? static_cast<uint64_t>(*config.seed) : info.seed;
  }

  Config config_;
  SourceInfo info_;
  RandomStream language_;
  RandomStream text_;
};

const bool registered = token_sources().add<Synthetic>("synthetic", "a made-up language of 1.75 bits a token");

}  // namespace
}  // namespace tersor
