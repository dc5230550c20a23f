// Mistakes of plugin parameterizations, each of which would otherwise show only later.
#include "core/train/check_methods.h"

#include "tests/support/catch.h"

namespace tersor {
namespace {

enum class Fault { kNone, kForgetsPart, kOtherExport, kTransposed, kDetached, kPrefix, kTwice, kSlash, kSliceAxis, kNoLeaf };

// W = scale ⊙ V, with the mistake that it was constructed with.
class Scaled final : public Parameterization {
 public:
  Scaled(Fault fault, const WeightShape& shape) : fault_(fault), name_(shape.name) {
    v_ = at::sin(at::arange(shape.out * shape.in, at::TensorOptions(at::kFloat)) * static_cast<double>(shape.seed)).view({shape.out, shape.in});
    v_.requires_grad_(fault != Fault::kNoLeaf);
    scale_ = at::full({1, 1}, static_cast<double>(shape.seed));
  }
  at::Tensor forward(const at::Tensor& x) override { return x.matmul((fault_ == Fault::kDetached ? v_.detach() : v_).t()) * scale_.flatten(); }
  at::Tensor materialize() const override {
    if (fault_ == Fault::kTransposed) return (v_ * scale_).t();
    return fault_ == Fault::kOtherExport ? v_ * 2 : v_ * scale_;
  }
  void assign(const at::Tensor& w) override { v_.copy_(w / scale_); }
  std::vector<Param> params() override {
    Param param{.name = name_ + (fault_ == Fault::kSlash ? ".a/b" : ".V"), .value = v_};
    if (fault_ == Fault::kSliceAxis) param.slice_axis = 2;
    return {param};
  }
  std::vector<PackedPart> kept() const override {
    if (fault_ == Fault::kForgetsPart) return {};
    if (fault_ == Fault::kTwice) return {{name_ + ".V", scale_}};
    return {{fault_ == Fault::kPrefix ? "scale" : name_ + ".scale", scale_}};
  }

 private:
  Fault fault_;
  std::string name_;
  at::Tensor v_;
  at::Tensor scale_;
};

TEST_CASE("parameterizations: what would break checkpoints, exports or learning is told before the run", "[param]") {
  const auto check = [](Fault fault) {
    const WeightShape shape{.name = "w", .out = 4, .in = 6};
    check_weight("mine", shape, [&](uint64_t seed) {
      WeightShape own = shape;
      own.seed = seed;
      return std::make_unique<Scaled>(fault, own);
    });
  };
  CHECK_NOTHROW(check(Fault::kNone));
  CHECK_THROWS_WITH(check(Fault::kForgetsPart), Catch::Contains("mine: two copies with equal params() and kept() give different products"));
  CHECK_THROWS_WITH(check(Fault::kOtherExport), Catch::Contains("is not x·Wᵀ for the W of materialize()"));
  CHECK_THROWS_WITH(check(Fault::kTransposed), Catch::Contains("materialize() has shape [6, 4], but the weight has [4, 6]"));
  CHECK_THROWS_WITH(check(Fault::kDetached), Catch::Contains("nothing learns"));
  CHECK_THROWS_WITH(check(Fault::kPrefix), Catch::Contains("a tensor is called 'scale'; names begin with 'w.'"));
  CHECK_THROWS_WITH(check(Fault::kTwice), Catch::Contains("two tensors are called 'w.V'"));
  CHECK_THROWS_WITH(check(Fault::kSlash), Catch::Contains("have no '/'"));
  CHECK_THROWS_WITH(check(Fault::kSliceAxis), Catch::Contains("slice_axis of 'w.V' is 2, but the tensor has 2 axes"));
  CHECK_THROWS_WITH(check(Fault::kNoLeaf), Catch::Contains("is not a leaf that requires a gradient"));
}

}  // namespace
}  // namespace tersor
