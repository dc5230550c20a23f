// Initial weights from counter-based randomness: the same seed and name give the same numbers with any number of threads.
#pragma once

#include <ATen/ATen.h>

#include "core/base/rng.h"

namespace tersor {

// Fills `tensor` with N(0, std²); a lower precision rounds the fp32 draw.
void fill_normal(const at::Tensor& tensor, double std, const RandomStream& random);

}  // namespace tersor
