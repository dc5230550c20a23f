// The full weight.    y = x Wᵀ        W (out, in)
#include "core/param/parameterization.h"

namespace tersor {

namespace {

class Dense final : public Parameterization {
 public:
  struct Config {
    void fields(FieldVisitor&) {}
  };
  Dense(const Config&, const WeightShape& shape) : name_(shape.name) {
    weight_ = register_parameter("weight", initial_weight(shape, c10::typeMetaToScalarType(shape.options.dtype())));
  }

  at::Tensor forward(const at::Tensor& x) override { return at::linear(x, weight_); }
  at::Tensor materialize() const override { return weight_.detach(); }
  void assign(const at::Tensor& w) override { weight_.detach().copy_(w); }
  std::vector<Param> params() override { return {{name_ + ".weight", weight_, Role::kMatrix, std::nullopt}}; }

 private:
  std::string name_;
  at::Tensor weight_;  // (out, in)
};

const bool registered = parameterizations().add<Dense>("dense", "the full weight matrix");

}  // namespace
}  // namespace tersor
