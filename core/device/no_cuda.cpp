// Replaces cuda.cpp in a build without CUDA: says what to do.
#include "core/base/error.h"
#include "core/device/cuda_options.h"
#include "core/device/device.h"

namespace tersor {
namespace {

class NoCuda final : public DeviceKind {
 public:
  using Config = CudaOptions;
  explicit NoCuda(const Config&) {}

  at::DeviceType type() const override { return at::kCUDA; }
  bool there() const override { return false; }
  at::Device open(int, at::ScalarType) const override { refuse(); }
  std::string name(int) const override { refuse(); }
  int64_t free_memory(int, int) const override { refuse(); }
  MemoryPeak peak(const at::Device&) const override { refuse(); }
  void reset_peak(const at::Device&) const override { refuse(); }

 private:
  [[noreturn]] static void refuse() {
    throw user_error("run.device: this program was built without CUDA; build it with 'scripts/build cuda', or set run.device=cpu");
  }
};

const bool registered = devices().add<NoCuda>("cuda", "an NVIDIA GPU, one a process");

}  // namespace
}  // namespace tersor
