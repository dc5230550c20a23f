#define USE_C10D_GLOO  // as LibTorch was built
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/dist/communicator.h"
#include "core/dist/pulse.h"

namespace tersor {
namespace {

using Milliseconds = std::chrono::milliseconds;

// torchrun may keep the store in its agent, and then sets this variable.
bool agent_serves() { return process_environment("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True"; }

c10::intrusive_ptr<c10d::Store> meet(const Place& place, bool serves, Milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(place.port);
  options.isServer = serves;
  options.numWorkers = static_cast<size_t>(place.size);
  options.waitWorkers = false;
  options.timeout = timeout;
  // A job that torchrun restarts finds the store of the attempt before.
  const std::string attempt = process_environment("TORCHELASTIC_RESTART_COUNT").value_or("0");
  return c10::make_intrusive<c10d::PrefixStore>("tersor/" + attempt, c10::make_intrusive<c10d::TCPStore>(place.address, options));
}

// A process's connections to the common store. The one for operations may block.
struct Stores {
  c10::intrusive_ptr<c10d::Store> operations;
  c10::intrusive_ptr<c10d::Store> signs_of_life;
};

// Returns this machine's address on the network that leads to `host`, where the processes meet; nullopt if it cannot be told. The
// machine's own name may resolve to another address: on Debian, to that of the loopback interface.
std::optional<std::string> own_address_towards(const std::string& host, int port) {
  addrinfo* found = nullptr;
  const addrinfo wanted{.ai_flags = 0, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found) != 0) return std::nullopt;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int probe = ::socket(one->ai_family, SOCK_DGRAM, 0);
    if (probe < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof(own);
    std::array<char, NI_MAXHOST> text{};
    const bool told = ::connect(probe, one->ai_addr, one->ai_addrlen) == 0 && ::getsockname(probe, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
                      ::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) == 0;
    ::close(probe);
    if (told) return text.data();
  }
  return std::nullopt;
}

// The network to communicate on. GLOO_SOCKET_IFNAME, as in PyTorch, names its interface.
std::shared_ptr<gloo::transport::Device> network(const Place& place) {
  using c10d::ProcessGroupGloo;
  if (const auto interface = process_environment("GLOO_SOCKET_IFNAME")) return ProcessGroupGloo::createDeviceForInterface(*interface);
  if (place.local_size == place.size) return ProcessGroupGloo::createDeviceForHostname("127.0.0.1");
  const std::optional<std::string> own = own_address_towards(place.address, place.port);
  if (!own) return ProcessGroupGloo::createDefaultDevice();
  const auto stays_here = [](const std::string& address) { return address.starts_with("127.") || address == "::1" || address == "localhost"; };
  if (stays_here(*own) && !stays_here(place.address))
    throw user_error("MASTER_ADDR is '{}', which on this machine is its loopback address ({}), where other machines cannot reach it; "
                     "give its address on the network, or name the network's interface in GLOO_SOCKET_IFNAME", place.address, *own);
  return ProcessGroupGloo::createDeviceForHostname(*own);
}

// The first line of a library's error message, without its stack trace.
std::string first_line(const std::exception& e) {
  constexpr size_t kMost = 300;
  const auto* known = dynamic_cast<const c10::Error*>(&e);
  const std::string text = known != nullptr ? known->what_without_backtrace() : e.what();
  return text.substr(0, std::min(text.find('\n'), kMost));
}

class Connected final : public Communicator {
 public:
  Connected(const Place& place, Stores stores, Milliseconds timeout, const ConnectDevices& devices)
      : Communicator(place.rank, place.size, place.local_rank, place.local_size), store_(std::move(stores.operations)),
        pulse_(std::move(stores.signs_of_life), place.rank, place.size), timeout_(timeout) {
    const auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(network(place));
    options->threads = 1;  // operations run in the order of their calls
    group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(c10::make_intrusive<c10d::PrefixStore>("gloo", store_), place.rank, place.size, options);
    if (devices) device_group_ = devices(store_, place.rank, place.size, timeout);
  }
  ~Connected() override {
    if (!device_group_) return;
    try {
      settle();
      device_group_->shutdown();  // otherwise NCCL complains and aborts
    } catch (const std::exception& e) {
      log().warn("the devices' connections could not be closed: {}", first_line(e));
    }
  }
  Connected(const Connected&) = delete;
  Connected& operator=(const Connected&) = delete;

  Pending all_reduce(const at::Tensor& tensor) override {
    count_all_reduce(tensor);
    return start(tensor, [](c10d::Backend& group, std::vector<at::Tensor>& tensors) { return group.allreduce(tensors); });
  }
  Pending reduce(const at::Tensor& tensor, int owner) override {
    count_reduce(tensor);
    c10d::ReduceOptions options;
    options.rootRank = owner;
    const auto reduce = [&](c10d::Backend& group, std::vector<at::Tensor>& tensors) { return group.reduce(tensors, options); };
    if (device_group_ && !tensor.is_cpu()) return start(tensor, reduce);
    return start_by_parts(tensor, reduce);
  }
  Pending broadcast(const at::Tensor& tensor, int owner) override {
    if (tensor.numel() == 0) return {};
    count_broadcast(tensor);
    c10d::BroadcastOptions options;
    options.rootRank = owner;
    return start(tensor.detach().view({-1}).view(at::kByte),  // bytes, whatever the type
                 [&](c10d::Backend& group, std::vector<at::Tensor>& tensors) { return group.broadcast(tensors, options); });
  }
  std::vector<std::string> gather(const std::string& text) override {
    pulse_.begin_operation();
    const int64_t round = gathered_++;
    const auto key = [&](int rank) { return fmt::format("gather/{}/{}", round, rank); };
    std::vector<std::string> all;
    blame([&] {
      store_->set(key(rank()), std::vector<uint8_t>(text.begin(), text.end()));
      std::vector<at::Tensor> all_have{at::zeros({1})};  // fails if a process is gone; the store would wait for it
      group_->allreduce(all_have)->wait();
      for (int other = 0; other < size(); ++other) {
        const std::vector<uint8_t> bytes = store_->get(key(other));
        all.emplace_back(bytes.begin(), bytes.end());
      }
    });
    return all;
  }
  // Polls: if a blocking wait timed out, LibTorch would end its connections, and with them the program.
  void settle() override {
    const auto work = std::exchange(last_on_device_, {});
    if (!work) return;
    const auto end = std::chrono::steady_clock::now() + timeout_;
    std::string why = "the devices do not answer";
    try {
      while (!work->isCompleted() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(std::chrono::microseconds(50));
      if (const std::exception_ptr failed = work->exception()) std::rethrow_exception(failed);
      if (work->isCompleted()) return;
    } catch (const std::exception& e) {
      why = first_line(e);
    }
    give_up(why);
  }
  void fail(const std::string& why) noexcept override { pulse_.fail(why); }

 private:
  [[noreturn]] void give_up(const std::string& why) { throw LostProcess(fmt::format("{} ({})", pulse_.diagnose(), why)); }
  template <class F>
  void blame(F operation) {
    const auto begin = std::chrono::steady_clock::now();
    try {
      operation();
      count_wait(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    } catch (const std::exception& e) {
      give_up(first_line(e));
    }
  }
  template <class F>
  Pending start(const at::Tensor& tensor, F operation) {
    pulse_.begin_operation();
    const bool through_host = !tensor.is_cpu() && device_group_ == nullptr;
    std::vector<at::Tensor> tensors{through_host ? tensor.cpu() : tensor};
    c10d::Backend& group = tensors[0].is_cpu() ? *group_ : *device_group_;
    c10::intrusive_ptr<c10d::Work> work;
    blame([&] { work = operation(group, tensors); });
    if (&group == device_group_.get()) last_on_device_ = work;
    return Pending([this, work, tensor, came = tensors[0], through_host] {
      blame([&] { work->wait(); });
      if (through_host) tensor.detach().copy_(came);
    });
  }
  // Gloo's reduce of a large tensor at once sends up to 1.6 times the bytes.
  template <class F>
  Pending start_by_parts(const at::Tensor& tensor, F operation) {
    constexpr int64_t kPart = 4 << 20;  // bytes
    const int64_t numbers = kPart / static_cast<int64_t>(tensor.element_size());
    if (tensor.numel() <= numbers) return start(tensor, operation);
    const at::Tensor flat = tensor.detach().view({-1});
    auto parts = std::make_shared<std::vector<Pending>>();
    for (int64_t begin = 0; begin < flat.numel(); begin += numbers)
      parts->push_back(start(flat.slice(0, begin, std::min(flat.numel(), begin + numbers)), operation));
    return Pending([parts] {
      for (Pending& part : *parts) part.wait();
    });
  }

  c10::intrusive_ptr<c10d::Store> store_;
  Pulse pulse_;
  c10::intrusive_ptr<c10d::Backend> group_;         // of the CPUs
  c10::intrusive_ptr<c10d::Backend> device_group_;  // of the devices, if they have one; runs its operations one after another
  c10::intrusive_ptr<c10d::Work> last_on_device_;
  Milliseconds timeout_;
  int64_t gathered_ = 0;
};

// Silences LibTorch's log while it lives, and leaves only errors on afterwards: failures are reported once, without stack traces.
struct Quiet {
  Quiet() { FLAGS_caffe2_log_level = kNothing; }
  ~Quiet() { FLAGS_caffe2_log_level = kErrors; }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  static constexpr int kErrors = 2;
  static constexpr int kNothing = 3;
};

// Logs that this process waits for the others, if that takes longer than a moment.
class Notice {
 public:
  explicit Notice(const Place& place) : thread_([this, place] { wait(place); }) {}
  ~Notice() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    told_.notify_all();
    thread_.join();
  }
  Notice(const Notice&) = delete;
  Notice& operator=(const Notice&) = delete;

 private:
  void wait(const Place& place) {
    constexpr auto kMoment = std::chrono::seconds(5);
    std::unique_lock lock(mutex_);
    if (told_.wait_for(lock, kMoment, [this] { return over_; })) return;
    lock.unlock();
    log().warn("process {} of {} is waiting for the others at {}:{}", place.rank, place.size, place.address, place.port);
  }

  std::mutex mutex_;
  std::condition_variable told_;
  bool over_ = false;
  std::thread thread_;  // last, so that the other members exist before it runs
};

// Opens two connections to the store in a thread that may be left behind: if something else listens on the port, it may never answer.
Stores meet_in_time(const Place& place, Milliseconds timeout) {
  auto promise = std::make_shared<std::promise<Stores>>();
  std::future<Stores> met = promise->get_future();
  std::thread([promise, place, timeout] {
    try {
      auto first = meet(place, place.rank == 0 && !agent_serves(), timeout);
      promise->set_value({first, meet(place, false, timeout)});
    } catch (...) {
      promise->set_exception(std::current_exception());
    }
  }).detach();
  constexpr int kConnections = 2;
  if (met.wait_for(kConnections * timeout) == std::future_status::ready) return met.get();
  throw std::runtime_error("what listens there does not answer like a process of a run");
}

}  // namespace

std::unique_ptr<Communicator> connect(const Place& place, Milliseconds timeout, const ConnectDevices& devices) {
  TERSOR_CHECK(place.size > 1, "one process has nothing to connect to");
  const Quiet quiet;
  const auto begin = std::chrono::steady_clock::now();
  try {
    const Notice notice(place);
    return std::make_unique<Connected>(place, meet_in_time(place, timeout), timeout, devices);
  } catch (const UserError&) {
    throw;
  } catch (const std::exception& e) {
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
    const auto interface = process_environment("GLOO_SOCKET_IFNAME");
    throw user_error("process {} of {} could not reach the others at {}:{} ({} after {:.0f} s){}; are all of them started, and is the port free and open?",
                     place.rank, place.size, place.address, place.port, first_line(e), waited.count(),
                     interface ? fmt::format("; GLOO_SOCKET_IFNAME names the interface '{}'", *interface) : "");
  }
}

}  // namespace tersor
