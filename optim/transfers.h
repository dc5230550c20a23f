// Copies between a GPU and host memory that go on beside what the GPU computes, on a stream of their own.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/Event.h>

#include <memory>
#include <vector>

namespace tersor {

class Transfers {
 public:
  explicit Transfers(const at::Device& device);
  [[nodiscard]] const at::Device& device() const { return device_; }

  // The same tensors in memory that copies can go to and from beside the host: page-locked for a GPU of NVIDIA. Of tensors without
  // numbers such that take nothing of their device's memory.
  [[nodiscard]] std::vector<at::Tensor> in_host_memory(const std::vector<at::Tensor>& tensors);
  // Begins to bring them to the device, which may read them once it has been told to wait.
  [[nodiscard]] std::vector<at::Tensor> bring(const std::vector<at::Tensor>& host);
  // A point on the way: all that was begun before it. `again`, which nobody waits for any more, may be taken anew.
  using Mark = std::shared_ptr<c10::Event>;
  [[nodiscard]] Mark mark(Mark again);
  // What the device is asked to do from here on finds what was brought before the mark.
  void wait_for(const Mark& mark);
  // Begins to put them back, once the device has done what it was asked to so far.
  void put_back(std::vector<at::Tensor> from, const std::vector<at::Tensor>& host);
  // Returns when all that was put back is in host memory.
  void finish();

 private:
  [[nodiscard]] at::Tensor cut(int64_t bytes);
  template <class F>
  void on_own_stream(F f);

  at::Device device_;
  std::optional<c10::Stream> stream_;  // none for tensors without numbers
  std::optional<c10::Event> event_;
  bool under_way_ = false;
  at::Tensor piece_;  // of host memory; those before it belong to what was cut out of them
  int64_t used_ = 0;  // bytes of it
  int64_t cut_ = 0;   // of all
};

}  // namespace tersor
