// What `run.device: {type: cuda, …}` may say, in builds with CUDA and without.
#pragma once

#include "core/config/fields.h"

namespace tersor {

struct CudaOptions {
  std::optional<bool> tf32;
  bool graphs = false;
  bool deterministic = false;
  bool nvtx = false;
  void fields(FieldVisitor& v) {
    v("tf32", tf32, "products of fp32 matrices in TF32; absent: in bf16 runs, where optimizers alone have such");
    v("graphs", graphs, "record the passes of a micro-batch as a CUDA graph and repeat it; holds all gradients and activations");
    v("deterministic", deterministic, "only operators of LibTorch that give the same bits every time, attention's gradients above all; slower");
    v("nvtx", nvtx, "tell profilers (nsys) the names of operators and of a step's parts; costs a little time");
  }
};

}  // namespace tersor
