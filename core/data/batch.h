// A batch of windows as tensors.
#pragma once

#include <ATen/ATen.h>

#include "core/data/sample_order.h"
#include "core/data/token_source.h"

namespace tersor {

struct Batch {
  at::Tensor inputs;   // (rows, L) int64
  at::Tensor targets;  // (rows, L) int64: inputs moved on by one
};

// The windows that are named.
[[nodiscard]] Batch read_windows(const TokenSource& source, const std::vector<int64_t>& windows, int64_t sequence_length);

}  // namespace tersor
