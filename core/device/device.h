// Where a run computes: its weights, passes and updates are there, and batches are brought there. The CPU is always one; in a build
// with CUDA a GPU is another (cuda.cpp).
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

// Work that a device is asked for once and then repeats as one thing.
class Recorder {
 public:
  virtual ~Recorder() = default;
  // Does the work where it will be recorded, so that what is made when first used, as libraries' handles and buffers, is made before that.
  virtual void warm(const std::function<void()>& work) { work(); }
  // Does the work and records it. It must read and write what stays where it is; it may not wait for the device. What it returns
  // lies where it lay, with new numbers, after every `replay`.
  [[nodiscard]] virtual std::vector<at::Tensor> record(const std::function<std::vector<at::Tensor>()>& work) = 0;
  virtual void replay() = 0;
  virtual void forget() = 0;
};

class DeviceKind {
 public:
  virtual ~DeviceKind() = default;

  // Of its tensors. For the CPU all memory is the host's.
  [[nodiscard]] virtual at::DeviceType type() const = 0;
  // Whether this machine has one.
  [[nodiscard]] virtual bool there() const = 0;
  // The device of one process, of those on this machine the `local_rank`th, made ready for a run in this type. UserError where there is
  // none.
  [[nodiscard]] virtual at::Device open(int local_rank, at::ScalarType type) const = 0;
  // What it is: "CPU", "NVIDIA H100 80GB HBM3".
  [[nodiscard]] virtual std::string name(int local_rank) const = 0;

  // What the tensors of one process may take, of `local_size` on this machine. 0: nobody can say.
  [[nodiscard]] virtual int64_t free_memory(int local_rank, int local_size) const = 0;
  // When tensors there took most, since the last reset.
  [[nodiscard]] virtual MemoryPeak peak(const at::Device& device) const = 0;
  virtual void reset_peak(const at::Device& device) const = 0;

  // Multiplications and additions a second that its maker promises for matrices of this type. 0: nobody can say.
  [[nodiscard]] virtual double peak_flops(int /*local_rank*/, at::ScalarType) const { return 0; }
  // Returns when all that was asked of the device is done.
  virtual void synchronize(const at::Device&) const {}
  // Nothing: what is asked of the device is asked every time.
  [[nodiscard]] virtual std::unique_ptr<Recorder> recorder() const { return nullptr; }
  // How processes reach each other from device to device. Nothing: by way of host memory.
  [[nodiscard]] virtual ConnectDevices connector() const { return {}; }
  // For `tersor doctor`: what there is to know of it, by name.
  [[nodiscard]] virtual std::vector<std::pair<std::string, std::string>> details(int /*local_rank*/) const { return {}; }
};

// A GPU where this build and machine have one, else the CPU; for commands that are not told.
[[nodiscard]] at::Device best_device();

using DeviceRegistry = Registry<DeviceKind>;
[[nodiscard]] DeviceRegistry& devices();

}  // namespace tersor
