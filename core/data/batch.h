// A batch of windows as tensors.
#pragma once

#include <ATen/ATen.h>

#include "core/data/sample_order.h"
#include "core/data/token_source.h"

namespace tersor {

struct Batch {
  at::Tensor inputs;   // (rows, L) int64; token 0 where there is padding
  at::Tensor targets;  // (rows, L) int64: inputs moved on by one; −100 where there is padding
};

// Windows of L + 1 tokens (rows, L + 1) as inputs and targets.
[[nodiscard]] Batch as_batch(const at::Tensor& windows);

// The windows that are named.
[[nodiscard]] Batch read_windows(const TokenSource& source, const std::vector<int64_t>& windows, int64_t sequence_length);

// The same on a device. Nobody waits for it: to a GPU it goes from page-locked memory, on its stream.
[[nodiscard]] Batch on_device(const Batch& batch, const at::Device& device);

}  // namespace tersor
