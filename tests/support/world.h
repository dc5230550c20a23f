// Several "processes" as threads of this one, each with a real connection to the others over the loopback interface.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <functional>
#include <future>
#include <thread>

#include "core/dist/communicator.h"

namespace tersor::testing {

// LibTorch's flight recorder is shared by the whole program and is not thread-safe when several process groups start at once.
inline const bool unrecorded = ::setenv("TORCH_FR_BUFFER_SIZE", "0", 1) == 0;

// A port that nobody listens on.
inline int free_port() {
  const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  (void)::bind(probe, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  (void)::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(probe);
  return ntohs(address.sin_port);
}

class World {
 public:
  explicit World(int size, std::chrono::milliseconds timeout = std::chrono::seconds(60)) : comms_(static_cast<size_t>(size)) {
    const int port = free_port();
    on_threads([&](int rank) {
      comms_[static_cast<size_t>(rank)] = connect({.rank = rank, .size = size, .local_rank = rank, .local_size = size, .address = "127.0.0.1", .port = port}, timeout);
    });
  }
  ~World() {  // the first holds the store
    while (comms_.size() > 1) comms_.pop_back();
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Runs `what` as every process at once; rethrows the exception of the lowest rank that threw.
  void run(const std::function<void(Communicator& comm)>& what) {
    on_threads([&](int rank) { what(*comms_[static_cast<size_t>(rank)]); });
  }
  [[nodiscard]] int size() const { return static_cast<int>(comms_.size()); }

 private:
  void on_threads(const std::function<void(int rank)>& what) {
    std::vector<std::exception_ptr> errors(comms_.size());
    std::vector<std::thread> threads;
    for (size_t rank = 0; rank < comms_.size(); ++rank)
      threads.emplace_back([&, rank] {
        try {
          what(static_cast<int>(rank));
        } catch (...) {
          errors[rank] = std::current_exception();
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& error : errors)
      if (error) std::rethrow_exception(error);
  }

  std::vector<std::unique_ptr<Communicator>> comms_;
};

}  // namespace tersor::testing
