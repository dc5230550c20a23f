// The options of `run.device: {type: cuda, …}`, in builds with and without CUDA.
#pragma once

#include "core/config/fields.h"

namespace tersor {

struct CudaOptions {
  std::optional<bool> tf32;
  bool graphs = false;
  bool deterministic = false;
  bool nvtx = false;
  void fields(FieldVisitor& v) {
    v("tf32", tf32, "compute products of fp32 matrices in TF32; absent: only in bf16 runs, where only optimizers have such products");
    v("graphs", graphs, "record the passes of a micro-batch as a CUDA graph and replay it; keeps all gradients and activations allocated");
    v("deterministic", deterministic, "use only LibTorch operators that are bitwise reproducible, above all in attention's gradients; slower");
    v("nvtx", nvtx, "tell profilers (nsys) the names of operators and of the parts of a step; costs a little time");
  }
};

}  // namespace tersor
