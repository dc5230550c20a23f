#include "core/train/check_methods.h"

#include <torch/csrc/autograd/autograd.h>

#include <set>

#include "core/base/blame.h"
#include "core/train/prepare.h"

namespace tersor {
namespace {

// The weight being checked, and what messages call it.
struct Checked {
  const std::string& who;
  const WeightShape& shape;

  void require(bool holds, const std::string& what) const {
    if (!holds) throw user_error("{}: {}", who, what);
  }
};

// Checks names and layout without computing anything.
void check_tensors(const Checked& c, Parameterization& weight) {
  std::set<std::string> names;
  for (const PackedPart& part : tensors_of(weight)) {
    c.require(part.value.defined(), fmt::format("'{}' is not a defined tensor", part.name));
    c.require(part.name.starts_with(c.shape.name + ".") && part.name.find('/') == std::string::npos,
              fmt::format("a tensor is called '{}'; names begin with '{}.' and have no '/'", part.name, c.shape.name));
    c.require(names.insert(part.name).second, fmt::format("two tensors are called '{}'", part.name));
    c.require(part.value.is_contiguous(), fmt::format("'{}' is not contiguous", part.name));
  }
  for (const Param& param : weight.params()) {
    c.require(param.value.defined() && param.value.is_leaf() && param.value.requires_grad(), fmt::format("parameter '{}' is not a leaf that requires a gradient", param.name));
    c.require(!param.slice_axis || (*param.slice_axis >= 0 && *param.slice_axis < param.value.dim()),
              fmt::format("slice_axis of '{}' is {}, but the tensor has {} axes", param.name, param.slice_axis.value_or(0), param.value.dim()));
  }
}

// Checks that every parameter gets a gradient.
void check_gradients(const Checked& c, Parameterization& weight, const at::Tensor& y) {
  std::vector<at::Tensor> leaves;
  for (const Param& param : weight.params()) leaves.push_back(param.value);
  c.require(leaves.empty() || y.requires_grad(), "the result of forward() does not require a gradient, so nothing learns");
  if (leaves.empty()) return;
  const std::vector<at::Tensor> gradients = torch::autograd::grad({y.sum()}, leaves, {}, std::nullopt, false, true);
  for (size_t i = 0; i < gradients.size(); ++i) c.require(gradients[i].defined(), fmt::format("parameter '{}' gets no gradient from forward()", weight.params()[i].name));
}

// Checks that the exported weight is the one that is applied.
void check_materialized(const Checked& c, const Parameterization& weight, const at::Tensor& x, const at::Tensor& y) {
  const at::Tensor w = weight.materialize().to(at::kFloat);
  c.require(w.sizes() == at::IntArrayRef({c.shape.out, c.shape.in}),
            fmt::format("materialize() has shape [{}], but the weight has [{}, {}]", fmt::join(w.sizes(), ", "), c.shape.out, c.shape.in));
  const at::Tensor expected = x.mm(w.t());
  constexpr double kRounding = 1e-2;  // sums in a different order, operands in bf16 or fewer bits
  const double apart = (y - expected).abs().max().item<double>();
  c.require(apart <= kRounding * expected.abs().max().item<double>(), "forward(x) is not x·Wᵀ for the W of materialize(): exports would be a different model");
}

}  // namespace

void check_weight(const std::string& who, const WeightShape& shape, const BuildWeight& build) {
  const Checked c{who, shape};
  const std::unique_ptr<Parameterization> weight = build(1);
  const std::unique_ptr<Parameterization> copy = build(2);
  check_tensors(c, *weight);
  {
    const at::NoGradGuard no_grad;
    copy_weight(*weight, *copy);
  }
  constexpr int64_t kRows = 3;
  const at::Tensor x = at::sin(at::arange(kRows * shape.in, at::TensorOptions(at::kFloat)).view({kRows, shape.in}));
  const at::Tensor y = weight->forward(x);
  c.require(y.defined() && y.sizes() == at::IntArrayRef({kRows, shape.out}), fmt::format("forward() does not return (…, {}) for an input of (…, {})", shape.out, shape.in));
  c.require(at::equal(y, copy->forward(x)), "two copies with equal params() and kept() give different products: something that forward() needs is in neither and is "
                                            "not recomputed in restored(), so checkpoints would lose it (or forward() draws random numbers)");
  check_gradients(c, *weight, y);
  const at::NoGradGuard no_grad;
  if (weight->linear()) check_materialized(c, *weight, x, y);
}

namespace {

// Whether a weight of this size can be built: a rank may be larger than a corner.
bool can_be(const BuildWeight& build) try {
  (void)build(1);
  return true;
} catch (const UserError&) {
  return false;
}

}  // namespace

void check_parameterizations(const RunConfig& config) {
  if (config.parameterization.empty()) return;  // all weights are dense
  const Llama shapes = shapes_of(config);
  constexpr int64_t kWide = 512;  // weights up to this size take almost no time; of larger ones a corner is checked, if it can be built
  std::set<std::string> tried;
  for (const auto& linear : shapes.linears()) {
    const Choice<parameterizations> method = method_of(config.parameterization, linear->name());
    const std::string who = fmt::format("parameterization '{}' of '{}'", method.type(), linear->name());
    WeightShape shape = linear->shape();
    check_tensors({who, shape}, linear->weight());
    if (!tried.insert(method.to_json().dump()).second) continue;
    const bool whole = shape.out <= kWide && shape.in <= kWide;
    shape.out = std::min(shape.out, kWide);
    shape.in = std::min(shape.in, kWide);
    shape.options = at::TensorOptions(at::kFloat);
    const auto build = [&](uint64_t seed) {
      shape.seed = seed;
      return method.build(shape);
    };
    blaming([&] { return who; }, [&] {
      if (whole || can_be(build)) check_weight(who, shape, build);
    });
  }
}

}  // namespace tersor
