// The layer of kernels/rms_norm.h.
#pragma once

#include <torch/nn/module.h>

#include "core/base/param.h"
#include "kernels/rms_norm.h"

namespace tersor {

class RmsNorm final : public torch::nn::Module {
 public:
  RmsNorm(const std::string& name, int64_t width, double eps, const at::TensorOptions& options);

  [[nodiscard]] at::Tensor forward(const at::Tensor& x) const { return kernels::rms_norm(x, gain_, eps_); }  // (…, width)
  [[nodiscard]] kernels::ResidualNorm residual(const at::Tensor& x) const { return kernels::residual_rms_norm(x, gain_, eps_); }
  [[nodiscard]] Param param() const { return {name_, gain_, Role::kVector, std::nullopt}; }

 private:
  std::string name_;
  double eps_;
  at::Tensor gain_;  // (width)
};

}  // namespace tersor
