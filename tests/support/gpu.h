// The GPU that tests run on.
//
// In builds without CUDA one that is not there: its memory is host memory, tersor's kernels for GPUs run on it through
// tests/support/simt, and LibTorch's operators through their code for the CPU. What a program may not do with a GPU's tensors fails
// there, too: an operator that is given a host tensor beside them throws. In builds with CUDA the first real one.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>

namespace tersor::testing {

// Whether there is one; only in a build with CUDA may there be none.
[[nodiscard]] bool gpu_there();
[[nodiscard]] at::Device gpu_device();
// As run.device calls it.
[[nodiscard]] std::string gpu_name();

// Kernels of tersor's that ran so far, where they are counted.
[[nodiscard]] std::optional<int64_t> gpu_launches();
// How often something was read from the device so far, or written to it, so that the host waited for all that was under way; where
// that is counted.
[[nodiscard]] std::optional<int64_t> gpu_waits();
// How often work that was recorded was repeated so far, where that is counted.
[[nodiscard]] std::optional<int64_t> gpu_replays();

// As long as it lives kernels run without checks of memory, and several times as fast.
class UncheckedKernels {
 public:
  UncheckedKernels();
  ~UncheckedKernels();
  UncheckedKernels(const UncheckedKernels&) = delete;
  UncheckedKernels& operator=(const UncheckedKernels&) = delete;
};

}  // namespace tersor::testing
