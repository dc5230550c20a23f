// RMSNorm.    Zhang and Sennrich 2019, arXiv:1910.07467
//
//   y = g ⊙ cast(x / √(mean(x²) + ε))      statistics in fp32, cast to the type of x before the gain, as Hugging Face does
#pragma once

#include <torch/nn/module.h>

#include "core/base/param.h"

namespace tersor {

class RmsNorm final : public torch::nn::Module {
 public:
  RmsNorm(const std::string& name, int64_t width, double eps, const at::TensorOptions& options);

  [[nodiscard]] at::Tensor forward(const at::Tensor& x) const;  // (…, width) → the same
  [[nodiscard]] Param param() const { return {name_, gain_, Role::kVector, std::nullopt}; }

 private:
  std::string name_;
  double eps_;
  at::Tensor gain_;  // (width)
};

}  // namespace tersor
