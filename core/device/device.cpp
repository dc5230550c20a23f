#include "core/device/device.h"

#include "core/base/error.h"
#include "core/memory/machine.h"

namespace tersor {

DeviceRegistry& devices() {
  static DeviceRegistry registry("device", "where a run computes");
  return registry;
}

at::Device best_device() { return Choice<devices>("auto").build()->open(0); }

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
  at::Device open(int) const override { return at::kCPU; }
  std::string name(int) const override { return "CPU"; }
  int64_t free_memory(int, int local_size) const override { return available_memory() / local_size; }
  MemoryPeak peak(const at::Device&) const override { return memory_peak(); }
  void reset_peak(const at::Device&) const override { reset_memory_peak(); }
};

// A GPU where there is one, and else the CPU.
class Auto final : public DeviceKind {
 public:
  using Config = NoOptions;
  explicit Auto(const Config&) : chosen_(devices().find("cuda")->build()) {
    if (!chosen_->there()) chosen_ = devices().find("cpu")->build();
  }

  at::DeviceType type() const override { return chosen_->type(); }
  bool there() const override { return true; }
  at::Device open(int local_rank) const override { return chosen_->open(local_rank); }
  std::string name(int local_rank) const override { return chosen_->name(local_rank); }
  int64_t free_memory(int local_rank, int local_size) const override { return chosen_->free_memory(local_rank, local_size); }
  MemoryPeak peak(const at::Device& device) const override { return chosen_->peak(device); }
  void reset_peak(const at::Device& device) const override { chosen_->reset_peak(device); }
  double peak_flops(int local_rank, at::ScalarType type) const override { return chosen_->peak_flops(local_rank, type); }
  void synchronize(const at::Device& device) const override { chosen_->synchronize(device); }
  std::unique_ptr<Recorder> recorder() const override { return chosen_->recorder(); }
  ConnectDevices connector() const override { return chosen_->connector(); }
  std::vector<std::pair<std::string, std::string>> details(int local_rank) const override { return chosen_->details(local_rank); }

 private:
  std::unique_ptr<DeviceKind> chosen_;
};

const bool registered = devices().add<Cpu>("cpu", "the processor") && devices().add<Auto>("auto", "a GPU where this build and machine have one, else the processor");

}  // namespace
}  // namespace tersor
