// The GPU that tests run on.
//
// In builds without CUDA it is a pretended one: its memory is host memory, tersor's GPU kernels run on it through
// tests/support/simt, and LibTorch's operators run their CPU code. What is illegal with a real GPU's tensors fails there, too: an
// operator that is given a host tensor beside them throws. In builds with CUDA it is the first real GPU.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>

namespace tersor::testing {

// Whether there is one; always true in builds without CUDA.
[[nodiscard]] bool gpu_there();
[[nodiscard]] at::Device gpu_device();
// Its name in run.device.
[[nodiscard]] std::string gpu_name();

// How many of tersor's kernels have run so far, where that is counted.
[[nodiscard]] std::optional<int64_t> gpu_launches();
// How many reads from the device or writes to it have made the host wait for all pending work so far, where that is counted.
[[nodiscard]] std::optional<int64_t> gpu_waits();
// How often recorded work has been replayed so far, where that is counted.
[[nodiscard]] std::optional<int64_t> gpu_replays();

// While it lives, kernels run without memory checks, several times as fast.
class UncheckedKernels {
 public:
  UncheckedKernels();
  ~UncheckedKernels();
  UncheckedKernels(const UncheckedKernels&) = delete;
  UncheckedKernels& operator=(const UncheckedKernels&) = delete;
};

}  // namespace tersor::testing
