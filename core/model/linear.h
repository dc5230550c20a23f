// A linear layer of the decoder: a parameterized weight and, where the model has them, a bias.
#pragma once

#include "core/param/parameterization.h"

namespace tersor {

// Which weights get which parameterization. Weights that match no `targets` are dense.
struct ParameterizationConfig {
  std::vector<std::string> targets{"*"};
  Choice<parameterizations> method{"dense"};
  void fields(FieldVisitor& v) {
    v("targets", targets, "patterns of weight names, such as *.self_attn.* or *.mlp.up_proj; other weights are dense");
    v("method", method, "how a matching weight is stored, trained and applied");
  }
  [[nodiscard]] bool matches(const std::string& name) const;
};

// The method of the last configuration that matches a weight of this name; dense if none does.
[[nodiscard]] Choice<parameterizations> method_of(const std::vector<ParameterizationConfig>& all, const std::string& name);

// What every layer needs to make its parameters.
struct BuildContext {
  at::TensorOptions options;
  double init_std = 0.02;
  uint64_t seed = 0;
  std::vector<ParameterizationConfig> parameterizations;  // see method_of
};

class Linear final : public torch::nn::Module {
 public:
  Linear(const BuildContext& context, const std::string& name, int64_t in, int64_t out, bool bias);

  [[nodiscard]] at::Tensor forward(const at::Tensor& x);  // (…, in) → (…, out)
  [[nodiscard]] std::vector<Param> params() const;
  [[nodiscard]] Parameterization& weight() const { return *weight_; }
  [[nodiscard]] const std::string& name() const { return shape_.name; }
  [[nodiscard]] const WeightShape& shape() const { return shape_; }
  [[nodiscard]] const at::Tensor& bias() const { return bias_; }
  // For rules that treat heads separately: the output consists of heads, each of `rows` rows of the weight.
  void set_rows_per_head(int64_t rows) { rows_per_head_ = rows; }

  // Changes how the weight is stored from now on; it stays as close to its old value as the new way can represent.
  void reparameterize(const Choice<parameterizations>& method);
  // Copies the weight, whichever way it is stored, and the bias of another layer of the same sizes.
  void copy_from(const Linear& other);
  // Makes the output zero, in such a way that the layer can still learn.
  void zero_output();

 private:
  WeightShape shape_;
  std::shared_ptr<Parameterization> weight_;
  at::Tensor bias_;  // (out) or undefined
  int64_t rows_per_head_ = 0;
};

}  // namespace tersor
