// A GPU that is not there. Its memory is host memory, tersor's kernels for GPUs run on it through tests/support/simt, and LibTorch's
// operators through their code for the CPU. What a program may not do with a GPU's tensors fails here, too: an operator that
// is given a host tensor beside them throws, and so does a kernel for the host.
//
//   const at::Tensor x = at::randn({3, 4}).to(pretend_gpu());
//   read_run_config({}, {"run.device=pretend"});
#pragma once

#include <ATen/ATen.h>

namespace tersor::testing {

[[nodiscard]] inline at::Device pretend_gpu() { return {at::kPrivateUse1, 0}; }

// How often a number was read from the device so far, which on a GPU waits for all that is under way.
[[nodiscard]] int64_t pretend_gpu_waits();

}  // namespace tersor::testing
