// What `run.device: {type: cuda, …}` may say, in builds with CUDA and without.
#pragma once

#include "core/config/fields.h"

namespace tersor {

struct CudaOptions {
  bool tf32 = false;
  bool nvtx = false;
  void fields(FieldVisitor& v) {
    v("tf32", tf32, "products of fp32 matrices in TF32");
    v("nvtx", nvtx, "tell profilers (nsys) the names of operators and of a step's parts; costs a little time");
  }
};

}  // namespace tersor
