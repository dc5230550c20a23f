#include "core/model/rotary.h"

namespace tersor {

RotaryTables rotary_tables(int64_t length, int64_t head_width, double base, const at::TensorOptions& options) {
  const bool wide = options.dtype() == at::kDouble;
  const at::TensorOptions exact = options.dtype(wide ? at::kDouble : at::kFloat);
  const at::Tensor exponent = at::arange(0, head_width, 2, exact) / static_cast<double>(head_width);
  const at::Tensor frequency = at::pow(base, exponent).reciprocal();                         // (d/2)
  const at::Tensor angle = at::outer(at::arange(length, exact), frequency).repeat({1, 2});  // (length, d)
  return {angle.cos().to(options.dtype()), angle.sin().to(options.dtype())};
}

}  // namespace tersor
