#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/single_param.h"

namespace tersor {
namespace {

using testing::normal;
using testing::SingleParam;

TEST_CASE("muon: steps are near to orthogonal, of the scale that is asked for", "[optim][golden]") {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{24, 10}, {10, 24}, {12, 12}}) {
    for (const std::string scale : {"spectral", "match_adamw"}) {
      SingleParam param(at::zeros(shape), fmt::format("{{type: muon, scale: {}}}", scale), 1);
      param.step(normal(shape, "g"));
      const auto rows = static_cast<double>(shape[0]), columns = static_cast<double>(shape[1]);
      const double size = scale == "spectral" ? std::sqrt(std::max(1.0, rows / columns)) : 0.2 * std::sqrt(std::max(rows, columns));
      const at::Tensor values = at::linalg_svdvals(param.weight()) / size;
      CHECK(values.max().item<double>() < 1.3);
      CHECK(values.min().item<double>() > 0.3);  // five iterations lift small singular values that far
      // The step has the singular vectors of the (Nesterov) gradient, so stepᵀ·gradient is symmetric.
      const at::Tensor product = param.weight().t().mm(normal(shape, "g"));
      CHECK(at::allclose(product, product.t(), 1e-3, 1e-3 * product.abs().max().item<double>()));
    }
  }
}

}  // namespace
}  // namespace tersor
