#include <cstdlib>
#include <stdexcept>

#include "core/device/device.h"
#include "tests/support/gpu.h"

namespace tersor::testing {

bool gpu_there() {
  if (Choice<devices>("cuda").build()->there()) return true;
  if (std::getenv("TERSOR_REQUIRE_GPU") != nullptr) throw std::runtime_error("no GPU was found");
  return false;
}
at::Device gpu_device() { return Choice<devices>("cuda").build()->open(0, at::kFloat); }
std::string gpu_name() { return "cuda"; }
std::optional<int64_t> gpu_launches() { return std::nullopt; }
std::optional<int64_t> gpu_waits() { return std::nullopt; }
std::optional<int64_t> gpu_replays() { return std::nullopt; }
UncheckedKernels::UncheckedKernels() = default;
UncheckedKernels::~UncheckedKernels() = default;

}  // namespace tersor::testing
