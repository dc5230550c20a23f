// What the processes of a run tell each other: a thin face over LibTorch's c10d.
//
//   const auto comm = connect(find_place(), std::chrono::seconds(600));
//   Pending sum = comm->all_reduce(gradient);   …   sum.wait();
//
// All processes call the same operations in the same order. An operation that cannot end, because a process is gone, hangs
// or has failed, throws LostProcess on all others, which names it.
#pragma once

#include <ATen/ATen.h>

#include <bit>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/dist/connect_devices.h"
#include "core/dist/launch.h"

namespace tersor {

// An operation under way. Its tensor is not to be touched before `wait` returns.
class Pending {
 public:
  Pending() = default;
  explicit Pending(std::function<void()> wait) : wait_(std::move(wait)) {}
  void wait() {
    if (wait_) std::exchange(wait_, nullptr)();
  }

 private:
  std::function<void()> wait_;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] bool alone() const { return size_ == 1; }
  [[nodiscard]] int local_rank() const { return local_rank_; }  // among the processes on this machine
  [[nodiscard]] int local_size() const { return local_size_; }

  // In place, over contiguous tensors of one shape and type on all processes. The sum arrives everywhere, or at `owner` alone,
  // and the others' tensors then hold nothing of use.
  [[nodiscard]] virtual Pending all_reduce(const at::Tensor& tensor) = 0;
  [[nodiscard]] virtual Pending reduce(const at::Tensor& tensor, int owner) = 0;
  [[nodiscard]] virtual Pending broadcast(const at::Tensor& tensor, int owner) = 0;
  // A short text of every process, by rank, on all of them: a barrier, too.
  [[nodiscard]] virtual std::vector<std::string> gather(const std::string& text) = 0;
  // Returns when devices are done with what they were asked to send each other, or throws LostProcess. `Pending::wait` lets the device
  // wait and not the host, so this comes before the host waits for a device's numbers.
  virtual void settle() {}
  // Tells the others why this process ends; their operations then say so.
  virtual void fail(const std::string& /*why*/) noexcept {}

  // Bytes that all processes together have sent so far, as the operations' algorithms send them.
  [[nodiscard]] int64_t bytes_sent() const { return bytes_sent_; }
  // Messages that have had to wait for one before them: what latency counts for.
  [[nodiscard]] int64_t rounds() const { return rounds_; }
  // That this process has spent in `wait`.
  [[nodiscard]] double seconds_waited() const { return seconds_waited_; }

 protected:
  Communicator(int rank, int size, int local_rank = 0, int local_size = 1)
      : rank_(rank), size_(size), local_rank_(local_rank), local_size_(local_size) {}
  // A ring: each of n parts goes round n − 1 times to be summed up, and as often to be handed out, or once to the owner.
  void count_all_reduce(const at::Tensor& tensor) { count(int64_t{2} * (size_ - 1) * bytes(tensor), int64_t{2} * (size_ - 1)); }
  void count_reduce(const at::Tensor& tensor) { count((size_ - 1) * (bytes(tensor) + bytes(tensor) / size_), size_); }
  void count_broadcast(const at::Tensor& tensor) { count((size_ - 1) * bytes(tensor), std::bit_width(static_cast<unsigned>(size_ - 1))); }
  void count_wait(double seconds) { seconds_waited_ += seconds; }

 private:
  void count(int64_t sent, int64_t rounds) {
    bytes_sent_ += sent;
    rounds_ += rounds;
  }
  static int64_t bytes(const at::Tensor& tensor) { return static_cast<int64_t>(tensor.nbytes()); }
  int rank_;
  int size_;
  int local_rank_;
  int local_size_;
  int64_t bytes_sent_ = 0;
  int64_t rounds_ = 0;
  double seconds_waited_ = 0;
};

// One process: nothing is sent.
[[nodiscard]] Communicator& alone();
// One of `size` processes that exist on paper only: operations count what they would send, and move nothing. For plans.
[[nodiscard]] std::unique_ptr<Communicator> on_paper(int rank, int size);
// Meets the other processes: Gloo between CPUs, and between devices what `devices` returns (NCCL), without which their tensors go
// by way of host memory. UserError where the others do not come within the time.
[[nodiscard]] std::unique_ptr<Communicator> connect(const Place& place, std::chrono::milliseconds timeout, const ConnectDevices& devices = {});

}  // namespace tersor
