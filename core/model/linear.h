// A linear layer of the decoder: a parameterized weight and, where the model has them, a bias.
#pragma once

#include "core/param/parameterization.h"

namespace tersor {

// Which weights get which parameterization. Weights outside `targets` are dense.
struct ParameterizationConfig {
  std::vector<std::string> targets{"*"};
  Choice<parameterizations> method{"dense"};
  void fields(FieldVisitor& v) {
    v("targets", targets, "patterns of names such as *.self_attn.* or *.mlp.up_proj; others are dense");
    v("method", method, "how a matching weight is stored, trained and applied");
  }
  [[nodiscard]] bool matches(const std::string& name) const;
};

// Of those that match a weight of this name the last holds; where none does it is dense.
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
  // For rules that treat heads apart: the output is of heads with so many rows of the weight each.
  void set_rows_per_head(int64_t rows) { rows_per_head_ = rows; }

  // Stores the weight in another way from now on, as near to what it was as that can hold.
  void reparameterize(const Choice<parameterizations>& method);
  // Takes all tensors of another layer of the same kind and sizes.
  void copy_from(const Linear& other);
  // Makes the output zero; whatever can still learn from there stays as it is.
  void zero_output();

 private:
  WeightShape shape_;
  std::shared_ptr<Parameterization> weight_;
  at::Tensor bias_;  // (out) or undefined
  int64_t rows_per_head_ = 0;
};

}  // namespace tersor
