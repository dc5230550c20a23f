#include "kernels/newton_schulz.h"

#include "core/base/error.h"

namespace tersor::kernels {

at::Tensor newton_schulz(const at::Tensor& grad, int64_t iterations) {
  TERSOR_CHECK(grad.dim() == 2 && grad.scalar_type() == at::kFloat, "an fp32 matrix");
  constexpr double kA = 3.4445;
  constexpr double kB = -4.7750;
  constexpr double kC = 2.0315;
  constexpr double kTiny = 1e-7;
  const bool tall = grad.size(0) > grad.size(1);
  at::Tensor x = tall ? grad.t() : grad;
  x = x / (at::linalg_vector_norm(x) + kTiny);
  for (int64_t i = 0; i < iterations; ++i) {
    const at::Tensor gram = x.mm(x.t());
    const at::Tensor polynomial = at::addmm(gram, gram, gram, kB, kC);
    x = at::addmm(x, polynomial, x, kA, 1);
  }
  return tall ? x.t().contiguous() : x;
}

}  // namespace tersor::kernels
