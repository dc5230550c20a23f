// Heartbeats. Once a second every process tells the common store that it is alive and how many operations it has begun, so that
// the others can say whose fault it is when an operation does not complete.
#pragma once

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace tersor {

class Pulse {
 public:
  // `store` must be a connection of its own: one that others use may block.
  Pulse(c10::intrusive_ptr<c10d::Store> store, int rank, int size);
  ~Pulse();
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;

  void begin_operation() { ++board_->operations; }
  // Tells the others why this process ends.
  void fail(const std::string& why) noexcept;
  // Names the process to blame for an operation that has not completed; takes a few seconds.
  [[nodiscard]] std::string diagnose();

 private:
  // What the processes tell each other. Outlives the Pulse if a thread that looks for the culprit is left behind.
  class Board {
   public:
    Board(c10::intrusive_ptr<c10d::Store> store, int rank, int size) : store_(std::move(store)), rank_(rank), size_(size) {}
    void set(const std::string& key, const std::string& value);
    [[nodiscard]] std::string find_culprit();
    [[nodiscard]] int rank() const { return rank_; }
    [[nodiscard]] int size() const { return size_; }
    // Remembers why process 0 ends, if it has said so, because the store ends with it.
    void listen();
    // Returns what `listen` has heard, or `nothing`.
    [[nodiscard]] std::string heard_or(const std::string& nothing);
    std::atomic<int64_t> operations = 0;

   private:
    struct Sign {
      int64_t beat = -1;
      int64_t operations = -1;
    };
    [[nodiscard]] std::optional<std::string> get(const std::string& key);
    [[nodiscard]] Sign sign_of(int rank);
    c10::intrusive_ptr<c10d::Store> store_;
    int rank_;
    int size_;
    std::mutex mutex_;
    std::mutex heard_mutex_;  // separate: the other is held while the store does not answer
    std::optional<std::string> heard_;
  };
  void beat_until_stopped();

  std::shared_ptr<Board> board_;
  std::mutex stop_mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tersor
