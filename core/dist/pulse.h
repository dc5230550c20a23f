// Signs of life. Every process tells the common store once a second that it lives and how many operations it has begun, so
// that the others can say whose fault it is when an operation does not end.
#pragma once

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace tersor {

class Pulse {
 public:
  // `store` is a connection of its own: that of others may be waiting.
  Pulse(c10::intrusive_ptr<c10d::Store> store, int rank, int size);
  ~Pulse();
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;

  void begin_operation() { ++operations_; }
  // Says why this process ends.
  void fail(const std::string& why) noexcept;
  // Names the process to blame for an operation that has not ended; takes a few seconds.
  [[nodiscard]] std::string diagnose();

 private:
  struct Sign {
    int64_t beat = -1;
    int64_t operations = -1;
  };
  void beat_until_stopped();
  void set(const std::string& key, const std::string& value);
  [[nodiscard]] std::optional<std::string> get(const std::string& key);
  [[nodiscard]] Sign sign_of(int rank);
  [[nodiscard]] std::string find_culprit();

  c10::intrusive_ptr<c10d::Store> store_;
  int rank_;
  int size_;
  std::atomic<int64_t> operations_ = 0;
  std::mutex store_mutex_;
  std::mutex stop_mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tersor
