#include "kernels/fill_normal.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <numbers>

namespace tersor::kernels {

void fill_normal(const at::Tensor& x, double std, const RandomStream& random) {
  if (x.is_meta()) return;  // a shape without numbers
  const at::NoGradGuard no_grad;
  at::Tensor draws = at::empty(x.sizes(), at::kFloat);
  float* out = draws.data_ptr<float>();
  const int64_t n = draws.numel();
  at::parallel_for(0, (n + 1) / 2, 1 << 13, [&](int64_t begin, int64_t end) {
    for (int64_t pair = begin; pair < end; ++pair) {
      const auto index = static_cast<uint64_t>(pair);
      const double radius = std * std::sqrt(-2 * std::log(1 - random.uniform(2 * index)));
      const double angle = 2 * std::numbers::pi * random.uniform(2 * index + 1);
      out[2 * pair] = static_cast<float>(radius * std::cos(angle));
      if (2 * pair + 1 < n) out[2 * pair + 1] = static_cast<float>(radius * std::sin(angle));
    }
  });
  x.copy_(draws);
}

}  // namespace tersor::kernels
