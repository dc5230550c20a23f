// Copies between a GPU and host memory on a stream of their own, while the GPU computes.
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

  // Returns copies of the tensors in host memory that asynchronous copies can use: pinned for an NVIDIA GPU. For the meta device,
  // returns tensors that take none of its memory.
  [[nodiscard]] std::vector<at::Tensor> in_host_memory(const std::vector<at::Tensor>& tensors);
  // Starts copying them to the device, which may read the copies after `wait_for`.
  [[nodiscard]] std::vector<at::Tensor> bring(const std::vector<at::Tensor>& host);
  // Marks the end of all copies started so far. `again`, a mark that nobody waits for any more, may be reused.
  using Mark = std::shared_ptr<c10::Event>;
  [[nodiscard]] Mark mark(Mark again);
  // Work that the device is given from here on sees what was brought before the mark.
  void wait_for(const Mark& mark);
  // Starts copying them back, once the device has done the work it was given so far.
  void put_back(std::vector<at::Tensor> from, const std::vector<at::Tensor>& host);
  // Returns once everything put back is in host memory.
  void finish();

 private:
  [[nodiscard]] at::Tensor cut(int64_t bytes);
  template <class F>
  void on_own_stream(F f);

  at::Device device_;
  std::optional<c10::Stream> stream_;  // none for the meta device
  std::optional<c10::Event> event_;
  bool under_way_ = false;
  at::Tensor piece_;  // of host memory, the current one; earlier ones belong to the tensors cut from them
  int64_t used_ = 0;  // bytes used of it
  int64_t cut_ = 0;   // bytes cut from all pieces
};

}  // namespace tersor
