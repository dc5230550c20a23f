// The subspace that projected rules (GaLore, Fira, APOLLO, FRUGAL) work in: which side of a gradient is compressed, how and when
// its basis is found, the rule that runs inside, and what becomes of that rule's moments when the basis changes.
//
//   G (rows, columns)      left:  R = L·G   (r, columns)     back: Lᵀ·N          L (r, rows)
//                          right: R = G·Qᵀ  (rows, r)        back: N·Q           Q (r, columns)
//                          full:  R = L·G·Qᵀ (r, r)          back: Lᵀ·N·Q
//
// Bases are orthonormal rows: leading singular vectors of the gradient, or random directions. The largest entry of each is made
// positive, so that they mean the same on every machine.
#pragma once

#include "core/config/cadence.h"
#include "optim/update_rule.h"

namespace tersor {

enum class Side { kStd, kReverse, kLeft, kRight, kFull };
template <>
struct EnumNames<Side> {
  static constexpr std::array values{std::pair{Side::kStd, std::string_view("std")},
                                     std::pair{Side::kReverse, std::string_view("reverse")},
                                     std::pair{Side::kLeft, std::string_view("left")},
                                     std::pair{Side::kRight, std::string_view("right")},
                                     std::pair{Side::kFull, std::string_view("full")}};
};

enum class Decomposition { kSvd, kRandomized, kSubspace, kRandom };
template <>
struct EnumNames<Decomposition> {
  static constexpr std::array values{std::pair{Decomposition::kSvd, std::string_view("svd")},
                                     std::pair{Decomposition::kRandomized, std::string_view("randomized")},
                                     std::pair{Decomposition::kSubspace, std::string_view("subspace")},
                                     std::pair{Decomposition::kRandom, std::string_view("random")}};
};

enum class Carry { kKeep, kRotate, kReset };
template <>
struct EnumNames<Carry> {
  static constexpr std::array values{std::pair{Carry::kKeep, std::string_view("keep")},
                                     std::pair{Carry::kRotate, std::string_view("rotate")},
                                     std::pair{Carry::kReset, std::string_view("reset")}};
};

// Q-GaLore's lazy refresh: while the leading vector stays put, each refresh multiplies the period by `factor`.
struct LazyConfig {
  double similarity = 0.4;
  double factor = 2;
  int64_t window = 5;
  bool absolute = false;
  void fields(FieldVisitor& v) {
    v("similarity", similarity, between(-1, 1), "mean cosine of successive leading vectors at which the period starts to grow");
    v("factor", factor, greater_than(1), "what the period is multiplied by");
    v("window", window, at_least(1), "how many refreshes the mean is taken over");
    v("absolute", absolute, "compare without regard to sign (the authors do not)");
  }
};

struct SubspaceConfig {
  int64_t rank = 128;
  Side side = Side::kStd;
  Cadence refresh = Cadence::every(200);
  Decomposition decomposition = Decomposition::kSvd;
  bool stagger = false;
  Carry moments = Carry::kKeep;
  std::optional<LazyConfig> lazy;
  void fields(FieldVisitor& v) {
    v("rank", rank, at_least(1), "rank r of the projected gradient, at most the length of the compressed side");
    v("side", side, "which side is compressed; std: the shorter, reverse: the longer, full: both");
    v("refresh", refresh, "when, besides at the first step, the basis is recomputed from the current gradient (T)");
    v("decomposition", decomposition, "svd: exact; randomized: Halko et al. 2011; subspace: iteration from the old basis; random: random directions, independent of the gradient");
    v("stagger", stagger, "spread the refreshes of different parameters over the period");
    v("moments", moments, "what becomes of moments at a refresh: kept as they are, rotated into the new basis, or reset to zero");
    v("lazy", lazy, "refresh less often once the basis has settled (Q-GaLore)");
  }
};

// The default rule inside a subspace: AdamW with ε where the authors' packages add it.
[[nodiscard]] inline Choice<update_rules> adamw_of_packages() {
  return Choice<update_rules>{"adamw", "{epsilon: 0.000001, epsilon_at: uncorrected}"};
}

// The rule that sees only projected gradients; its slots are called "inner.…".
class InnerRule {
 public:
  explicit InnerRule(const Choice<update_rules>& choice) : rule_(choice.build()) {}

  [[nodiscard]] std::vector<SlotSpec> slots(std::vector<int64_t> projected) const {
    return prefixed("inner", rule_->slots({std::move(projected), std::nullopt}));
  }
  [[nodiscard]] Direction direction(const at::Tensor& projected, const Slots& slots, const StepInfo& step) const;
  [[nodiscard]] bool finds_basis(const StepInfo& step, const Slots& host) const { return rule_->finds_basis(step, host.scope("inner")); }

 private:
  std::unique_ptr<UpdateRule> rule_;
};

class Subspace {
 public:
  Subspace(const SubspaceConfig& config, const Choice<update_rules>& inner) : c_(config), inner_(inner) {}

  // The inner rule's slots, the bases, and what decides when they are due.
  [[nodiscard]] std::vector<SlotSpec> slots(const ParamShape& shape) const;

  [[nodiscard]] bool due(const StepInfo& step, const Slots& host) const;
  // Whether a basis is found here or in the inner rule.
  [[nodiscard]] bool finds_basis(const StepInfo& step, const Slots& host) const { return due(step, host) || inner_.finds_basis(step, host); }
  // If due, recomputes the bases from `grad` and handles the inner rule's moments. With `lazy`, copies one number to the host
  // per refresh.
  void refresh_when_due(const at::Tensor& grad, const Slots& slots, const StepInfo& step) const;

  // Projects `grad`, which is in fp32, or in bf16 and then not copied to fp32.
  [[nodiscard]] at::Tensor down(const at::Tensor& grad, const Slots& slots) const;
  // What the subspace leaves out of `grad`: G − share · (R projected back), with R = `projected`.
  [[nodiscard]] at::Tensor left_out(const at::Tensor& grad, const at::Tensor& projected, const Slots& slots, double share = 1) const;
  // Returns the inner rule's step, of the subspace's shape, with the bases that take it back.
  [[nodiscard]] Direction inside(const at::Tensor& projected, const Slots& slots, const StepInfo& step) const;
  // Which axis of a gradient of these sizes is compressed: 0 on the left, 1 on the right.
  [[nodiscard]] int64_t compressed_axis(at::IntArrayRef sizes) const { return sides(sizes).left ? 0 : 1; }
  [[nodiscard]] const SubspaceConfig& config() const { return c_; }

 private:
  struct Sides {
    bool left = false;
    bool right = false;
  };
  [[nodiscard]] Sides sides(at::IntArrayRef sizes) const;
  [[nodiscard]] std::vector<int64_t> projected_shape(at::IntArrayRef sizes) const;
  void update_period(const Slots& slots) const;
  void carry_moments(const Slots& old_bases, const Slots& slots, at::IntArrayRef sizes) const;

  SubspaceConfig c_;
  InnerRule inner_;
};

// Returns a·b in fp32. If either is in bf16, the other is rounded to bf16, and so is the product, as in the passes of a bf16 run.
[[nodiscard]] at::Tensor product(const at::Tensor& a, const at::Tensor& b);

// Returns the r leading left singular vectors of `matrix` (rows, columns), as rows (r, rows), or as many random directions. `previous` is
// the basis to start from, or undefined.
[[nodiscard]] at::Tensor left_basis(const at::Tensor& matrix, int64_t r, Decomposition how, const at::Tensor& previous,
                                              const RandomStream& random);

}  // namespace tersor
