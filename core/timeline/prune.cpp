// Gradual magnitude pruning during training, and its reversal.    Jin et al. 2025 (The Journey Matters), arXiv:2501.12486
//
//   with K times left, this one included:    d ← d · ((1 − sparsity) / d)^(1/K)    and the share d of the entries with the largest
//   |w| stays; removed entries never come back
//
// Starting from dense weights, this is the paper's (1 − sparsity)^((k+1)/K) after time k of K. The share is recomputed each time from
// the times left, assuming that steps stay as large as they are. A cadence in compute should end at one of its own times: if smaller
// steps skip a time that was counted on, slightly more entries than asked for remain.
//
// `scope: global` ranks the entries of all targets together, `layer` those of each weight separately. The targets must be `masked`
// weights (`sparsity: 0` to begin with): values, gradients and moments of removed entries are freed. The paper prunes over the middle
// half of the compute, with a quarter dense before and a quarter at the final sparsity after.
//
// Departs from the authors' code, whose mask is a parameter and enters the gradient norm, and which also prunes an untied output
// head; here the head stays dense.
#include <bit>
#include <cmath>

#include "core/param/operations.h"
#include "core/timeline/timeline.h"

namespace tersor {

enum class PruneScope { kGlobal, kLayer };
template <>
struct EnumNames<PruneScope> {
  static constexpr std::array values{std::pair{PruneScope::kGlobal, std::string_view("global")},
                                     std::pair{PruneScope::kLayer, std::string_view("layer")}};
};

namespace {

using Prunables = std::vector<std::pair<Linear*, Prunable*>>;

// The `count`-th largest of all magnitudes. Exact, in two passes over histograms of the bits: non-negative floats are ordered
// like their bits.
float threshold(const Prunables& weights, int64_t count) {
  constexpr int kHalf = 16;
  uint32_t prefix = 0;
  for (int pass = 0; pass < 2; ++pass) {
    std::vector<int64_t> histogram(size_t{1} << kHalf);
    for (const auto& [linear, prunable] : weights) {
      const at::Tensor magnitudes = prunable->magnitudes().to(at::kCPU).contiguous();
      const float* values = magnitudes.const_data_ptr<float>();
      for (int64_t i = 0; i < magnitudes.numel(); ++i) {
        const auto bits = std::bit_cast<uint32_t>(values[i]);
        if (pass == 0)
          ++histogram[bits >> kHalf];
        else if (bits >> kHalf == prefix)
          ++histogram[bits & 0xffffU];
      }
    }
    size_t bin = histogram.size() - 1;
    while (bin > 0 && histogram[bin] < count) count -= histogram[bin--];
    prefix = (prefix << kHalf) | static_cast<uint32_t>(bin);
  }
  return std::bit_cast<float>(prefix);
}

// Entries of W: those left, and all.
struct Census {
  double left = 0;
  double all = 0;
  explicit Census(const Prunables& weights) {
    for (const auto& [linear, prunable] : weights) {
      const auto size = static_cast<double>(linear->shape().out * linear->shape().in);
      left += size * prunable->density();
      all += size;
    }
  }
};

Prunables prunables(const Targets& targets, const std::vector<std::string>& patterns) {
  return targets.able<Prunable>(patterns, "parameterization masked");
}

class Prune final : public Action {
 public:
  struct Config {
    std::vector<std::string> targets{"*"};
    double sparsity = 0.5;
    PruneScope scope = PruneScope::kGlobal;
    void fields(FieldVisitor& v) {
      v("targets", targets, "patterns of weight names");
      v("sparsity", sparsity, half_open(0, 1), "share of the entries removed once the last pruning is done");
      v("scope", scope, "whether all weights are ranked together or each on its own");
    }
  };
  explicit Prune(const Config& config) : c_(config) {}

  [[nodiscard]] Phase phase() const override { return Phase::kBeforeUpdate; }

  std::string run(RunContext& context) const override {
    const at::NoGradGuard no_grad;
    const Prunables all = prunables(context.targets(), c_.targets);
    const int64_t times = context.times_left();
    std::map<std::string, Inheritance> inherited;
    if (c_.scope == PruneScope::kGlobal)
      prune(all, times, inherited);
    else
      for (const auto& one : all) prune({one}, times, inherited);
    if (inherited.empty()) return {};
    context.optimizer.replace_params(context.model.params(), inherited);
    const Census now(all);
    return fmt::format("{:.2f} % of {:.0f} entries are left in {} weights", 100 * now.left / now.all, now.all, all.size());
  }

  void check(const Targets& targets) const override { (void)prunables(targets, c_.targets); }

 private:
  void prune(const Prunables& weights, int64_t times, std::map<std::string, Inheritance>& inherited) const {
    const Census census(weights);
    const double target = (1 - c_.sparsity) * census.all;
    if (census.left <= target) return;
    int64_t scored = 0;  // entries, or structures of the same size
    for (const auto& [linear, prunable] : weights) scored += prunable->magnitudes().numel();
    const double share = std::pow(target / census.left, 1 / static_cast<double>(std::max<int64_t>(1, times)));
    const float least = threshold(weights, std::max<int64_t>(1, std::llround(share * static_cast<double>(scored))));
    for (const auto& [linear, prunable] : weights) {
      const std::string name = linear->weight().params().front().name;
      inherited[name] = {.from = name, .index = prunable->prune(prunable->magnitudes() >= least)};
    }
  }

  Config c_;
};

class Densify final : public Action {
 public:
  struct Config {
    std::vector<std::string> targets{"*"};
    void fields(FieldVisitor& v) { v("targets", targets, "patterns of weight names"); }
  };
  explicit Densify(const Config& config) : targets_(config.targets) {}

  std::string run(RunContext& context) const override {
    const at::NoGradGuard no_grad;
    std::map<std::string, Inheritance> inherited;
    for (const auto& [linear, prunable] : prunables(context.targets(), targets_)) {
      const std::string name = linear->weight().params().front().name;
      inherited[name] = {.from = name, .index = prunable->densify()};
    }
    context.optimizer.replace_params(context.model.params(), inherited);
    return fmt::format("every entry of {} weights is trained again", inherited.size());
  }

  void check(const Targets& targets) const override { (void)prunables(targets, targets_); }
  bool change_structure(Llama& shapes) const override {
    for (const auto& [linear, prunable] : prunables({shapes, "densify"}, targets_)) (void)prunable->densify();
    return true;
  }

 private:
  std::vector<std::string> targets_;
};

const bool prune_registered = actions().add<Prune>("prune", "removes small entries, Jin et al. 2025 (The Journey Matters), arXiv:2501.12486");
const bool densify_registered =
    actions().add<Densify>("densify", "trains removed entries again, from zero, Thangarasa et al. 2023 (SPDF), arXiv:2303.10464");

}  // namespace
}  // namespace tersor
