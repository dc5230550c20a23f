// Where a run computes: the device holds its weights, runs its passes and updates, and receives its batches. The CPU is always
// available; a build with CUDA adds GPUs (cuda.cpp).
//
//   const auto kind = config.run.device.build();       // run.device: cpu | cuda | auto
//   const at::Device device = kind->open(local_rank, at::kBFloat16);
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <string>

#include "core/config/registry.h"
#include "core/dist/connect_devices.h"
#include "core/memory/ledger.h"

namespace tersor {

// Work that is recorded on a device once and then replayed as a whole.
class Recorder {
 public:
  virtual ~Recorder() = default;
  // Does the work where it will be recorded, so that what is created on first use, such as libraries' handles and buffers, exists by then.
  virtual void warm(const std::function<void()>& work) { work(); }
  // Does the work and records it. The work must read and write memory that stays in place, and must not wait for the device. After
  // every `replay`, the tensors it returned hold new numbers in the same place.
  [[nodiscard]] virtual std::vector<at::Tensor> record(const std::function<std::vector<at::Tensor>()>& work) = 0;
  virtual void replay() = 0;
  virtual void forget() = 0;
};

class DeviceKind {
 public:
  virtual ~DeviceKind() = default;

  // The device type of its tensors. For the CPU, all memory is host memory.
  [[nodiscard]] virtual at::DeviceType type() const = 0;
  // Whether this machine has one.
  [[nodiscard]] virtual bool there() const = 0;
  // The device of the `local_rank`th process on this machine, made ready for a run in this type. Throws UserError if there is none.
  [[nodiscard]] virtual at::Device open(int local_rank, at::ScalarType type) const = 0;
  // Its name: "CPU", "NVIDIA H100 80GB HBM3".
  [[nodiscard]] virtual std::string name(int local_rank) const = 0;

  // What the tensors of one of `local_size` processes on this machine may take, in bytes. 0: unknown.
  [[nodiscard]] virtual int64_t free_memory(int local_rank, int local_size) const = 0;
  // The peak memory of its tensors since the last reset.
  [[nodiscard]] virtual MemoryPeak peak(const at::Device& device) const = 0;
  virtual void reset_peak(const at::Device& device) const = 0;

  // Multiplications and additions per second that its vendor promises for matrices of this type. 0: unknown.
  [[nodiscard]] virtual double peak_flops(int /*local_rank*/, at::ScalarType) const { return 0; }
  // Returns when the device has finished all its work.
  virtual void synchronize(const at::Device&) const {}
  // Null if work is not recorded but launched every time.
  [[nodiscard]] virtual std::unique_ptr<Recorder> recorder() const { return nullptr; }
  // Connects processes from device to device. Empty: they communicate through host memory.
  [[nodiscard]] virtual ConnectDevices connector() const { return {}; }
  // Facts about it for `tersor doctor`, as names and values.
  [[nodiscard]] virtual std::vector<std::pair<std::string, std::string>> details(int /*local_rank*/) const { return {}; }
};

// A GPU if this build and machine have one, else the CPU; for commands that do not name a device.
[[nodiscard]] at::Device best_device();

using DeviceRegistry = Registry<DeviceKind>;
[[nodiscard]] DeviceRegistry& devices();

}  // namespace tersor
