// Normal random tensors by name, for tests of ops.
#pragma once

#include "kernels/fill_normal.h"

namespace tersor::testing {

inline at::Tensor normal_of(at::IntArrayRef shape, const std::string& name, at::ScalarType type = at::kDouble) {
  const at::Tensor x = at::empty(shape, type);
  kernels::fill_normal(x, 1, random_stream(1, name));
  return x;
}

}  // namespace tersor::testing
