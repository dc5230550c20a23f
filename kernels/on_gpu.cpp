#include "kernels/on_gpu.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "core/base/error.h"

namespace tersor::kernels::gpu {

Stream stream_of(const at::Tensor& x) {
  if (&rms_norm == nullptr) throw user_error("a tensor is on '{}', but this build has no GPU kernels; run 'scripts/build cuda'", x.device().str());
  const c10::impl::VirtualGuardImpl device(x.device().type());
  return static_cast<Stream>(device.getStreamNativeHandle(device.getStream(x.device())));
}

Number number_of(const at::Tensor& x) {
  if (x.scalar_type() == at::kFloat) return Number::kFp32;
  if (x.scalar_type() == at::kBFloat16) return Number::kBf16;
  throw user_error("kernels on a GPU compute in fp32 and bf16, not in {}", c10::toString(x.scalar_type()));
}

}  // namespace tersor::kernels::gpu
