#include "core/device/device.h"
#include "tests/support/gpu.h"

namespace tersor::testing {

bool gpu_there() { return Choice<devices>("cuda").build()->there(); }
at::Device gpu_device() { return Choice<devices>("cuda").build()->open(0); }
std::string gpu_name() { return "cuda"; }
std::optional<int64_t> gpu_launches() { return std::nullopt; }
std::optional<int64_t> gpu_waits() { return std::nullopt; }
std::optional<int64_t> gpu_replays() { return std::nullopt; }
UncheckedKernels::UncheckedKernels() = default;
UncheckedKernels::~UncheckedKernels() = default;

}  // namespace tersor::testing
