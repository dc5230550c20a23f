// A batch of windows as tensors.
#pragma once

#include <ATen/ATen.h>

#include "core/data/sample_order.h"
#include "core/data/token_source.h"

namespace tersor {

struct Batch {
  at::Tensor inputs;   // (rows, L) int64; token 0 in place of padding
  at::Tensor targets;  // (rows, L) int64: inputs shifted by one; −100 in place of padding
};

// Splits windows of L + 1 tokens, (rows, L + 1), into inputs and targets.
[[nodiscard]] Batch as_batch(const at::Tensor& windows);

// Reads the given windows.
[[nodiscard]] Batch read_windows(const TokenSource& source, const std::vector<int64_t>& windows, int64_t sequence_length);

// Copies a batch to a device. The copy to a GPU is asynchronous: from pinned memory, on the current stream.
[[nodiscard]] Batch on_device(const Batch& batch, const at::Device& device);

}  // namespace tersor
