// Communication between the processes of a run: a thin layer over LibTorch's c10d.
//
//   const auto comm = connect(find_place(), std::chrono::seconds(600));
//   Pending sum = comm->all_reduce(gradient);   …   sum.wait();
//
// All processes call the same operations in the same order. An operation that cannot complete because a process is
// gone, hangs or has failed throws LostProcess in all others, naming that process.
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

// An operation in progress. Its tensor must not be touched before `wait` returns.
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

  // In place, on contiguous tensors of the same shape and type in all processes. `all_reduce` leaves the sum in all of them,
  // `reduce` only at `owner`; the other tensors then hold nothing of use.
  [[nodiscard]] virtual Pending all_reduce(const at::Tensor& tensor) = 0;
  [[nodiscard]] virtual Pending reduce(const at::Tensor& tensor, int owner) = 0;
  [[nodiscard]] virtual Pending broadcast(const at::Tensor& tensor, int owner) = 0;
  // Returns, in all processes, a short text from each, by rank. Also a barrier.
  [[nodiscard]] virtual std::vector<std::string> gather(const std::string& text) = 0;
  // Returns when the devices have completed their operations with each other, or throws LostProcess. `Pending::wait` makes the device
  // wait but not the host, so call this before the host waits for a device's results.
  virtual void settle() {}
  // Tells the other processes why this one ends; their operations then report it.
  virtual void fail(const std::string& /*why*/) noexcept {}

  // Bytes that all processes together have sent so far, computed from the operations' algorithms.
  [[nodiscard]] int64_t bytes_sent() const { return bytes_sent_; }
  // Messages so far that had to wait for the one before: each costs one latency.
  [[nodiscard]] int64_t rounds() const { return rounds_; }
  // Spent by this process in operations and in waiting for them.
  [[nodiscard]] double seconds_waited() const { return seconds_waited_; }

 protected:
  Communicator(int rank, int size, int local_rank = 0, int local_size = 1)
      : rank_(rank), size_(size), local_rank_(local_rank), local_size_(local_size) {}
  // A ring: each of n parts takes n − 1 hops to be summed, and as many to be handed out, or one to the owner.
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

// A single process: nothing is sent.
[[nodiscard]] Communicator& alone();
// For plans: one of `size` processes that exist on paper only. Operations count what they would send, and move nothing.
[[nodiscard]] std::unique_ptr<Communicator> on_paper(int rank, int size);
// Connects to the other processes: between CPUs by Gloo, between devices by what `devices` returns (NCCL), without which their
// tensors go through host memory. Throws UserError if the others do not appear within `timeout`.
[[nodiscard]] std::unique_ptr<Communicator> connect(const Place& place, std::chrono::milliseconds timeout, const ConnectDevices& devices = {});

}  // namespace tersor
