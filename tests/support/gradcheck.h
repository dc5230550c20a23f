// Checks autograd's derivatives against central differences. For double tensors only.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <vector>

#include "tests/support/worst.h"

namespace tersor::testing {

// The largest difference between autograd's gradient of the scalar f() and its central differences, relative to the
// largest derivative. `leaves` are what f reads; they require gradients.
inline double gradient_error(const std::function<at::Tensor()>& f, const std::vector<at::Tensor>& leaves, double h = 1e-5) {
  const std::vector<at::Tensor> exact = torch::autograd::grad({f()}, leaves);
  const at::NoGradGuard no_grad;
  double worst = 0;
  double largest = 1e-12;
  for (size_t i = 0; i < leaves.size(); ++i) {
    at::Tensor flat = leaves[i].detach().view({-1});
    const at::Tensor gradient = exact[i].contiguous().view({-1});
    for (int64_t j = 0; j < flat.numel(); ++j) {
      const double kept = flat[j].item<double>();
      flat[j] = kept + h;
      const double up = f().item<double>();
      flat[j] = kept - h;
      const double down = f().item<double>();
      flat[j] = kept;
      keep_worst(worst, std::abs((up - down) / (2 * h) - gradient[j].item<double>()));
      keep_worst(largest, std::abs(gradient[j].item<double>()));
    }
  }
  return worst / largest;
}

}  // namespace tersor::testing
