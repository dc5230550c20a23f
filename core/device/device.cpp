#include "core/device/device.h"

#include "core/base/error.h"
#include "core/memory/machine.h"

namespace tersor {

DeviceRegistry& devices() {
  static DeviceRegistry registry("device", "where a run computes");
  return registry;
}

at::Device best_device() { return Choice<devices>("auto").build()->open(0, at::kFloat); }

namespace {

struct NoOptions {
  void fields(FieldVisitor&) {}
};

class Cpu final : public DeviceKind {
 public:
  using Config = NoOptions;
  explicit Cpu(const Config&) {}

  at::DeviceType type() const override { return at::kCPU; }
  bool there() const override { return true; }
  at::Device open(int, at::ScalarType) const override { return at::kCPU; }
  std::string name(int) const override { return "CPU"; }
  int64_t free_memory(int, int local_size) const override { return available_memory() / local_size; }
  MemoryPeak peak(const at::Device&) const override { return memory_peak(); }
  void reset_peak(const at::Device&) const override { reset_memory_peak(); }
};

// A GPU if there is one, else the CPU.
struct Auto {
  using Config = NoOptions;
  static std::unique_ptr<DeviceKind> make(const Config&) {
    std::unique_ptr<DeviceKind> gpu = devices().find("cuda")->build();
    return gpu->there() ? std::move(gpu) : devices().find("cpu")->build();
  }
};

const bool registered = devices().add<Cpu>("cpu", "the processor") && devices().add<Auto>("auto", "a GPU where this build and machine have one, else the processor");

}  // namespace
}  // namespace tersor
