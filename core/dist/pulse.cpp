#include "core/dist/pulse.h"

#include <fmt/format.h>

#include <chrono>
#include <future>
#include <sstream>

namespace tersor {
namespace {

constexpr auto kBeat = std::chrono::seconds(1);
constexpr auto kSilence = std::chrono::milliseconds(3500);  // after which a process is gone or hangs
constexpr const char* kVerdict = "verdict";                 // of the first to find the culprit: processes that end over it are not to blame
constexpr auto kPatience = std::chrono::seconds(10);        // for the store itself to answer

}  // namespace

Pulse::Pulse(c10::intrusive_ptr<c10d::Store> store, int rank, int size)
    : board_(std::make_shared<Board>(std::move(store), rank, size)), thread_([this] { beat_until_stopped(); }) {}

Pulse::~Pulse() {
  {
    const std::lock_guard lock(stop_mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void Pulse::Board::set(const std::string& key, const std::string& value) {
  const std::lock_guard lock(mutex_);
  store_->set(key, std::vector<uint8_t>(value.begin(), value.end()));
}

std::optional<std::string> Pulse::Board::get(const std::string& key) {
  const std::lock_guard lock(mutex_);
  if (!store_->check({key})) return std::nullopt;
  const std::vector<uint8_t> bytes = store_->get(key);
  return std::string(bytes.begin(), bytes.end());
}

void Pulse::Board::listen() {
  auto why = get("failure/0");
  const std::lock_guard lock(heard_mutex_);
  if (why) heard_ = fmt::format("process 0 of {} failed: {}", size_, *why);
}

std::string Pulse::Board::heard_or(const std::string& nothing) {
  const std::lock_guard lock(heard_mutex_);
  return heard_.value_or(nothing);
}

void Pulse::beat_until_stopped() {
  std::unique_lock lock(stop_mutex_);
  try {
    for (int64_t beat = 0; !stopping_; ++beat) {
      board_->set(fmt::format("pulse/{}", board_->rank()), fmt::format("{} {}", beat, board_->operations.load()));
      board_->listen();
      stop_.wait_for(lock, kBeat, [this] { return stopping_; });
    }
  } catch (const std::exception&) {  // the store, in process 0, is gone: the next operation will report it
  }
}

void Pulse::fail(const std::string& why) noexcept {
  try {
    board_->set(fmt::format("failure/{}", board_->rank()), why);
  } catch (const std::exception&) {
  }
}

Pulse::Board::Sign Pulse::Board::sign_of(int rank) {
  Sign sign;
  std::istringstream text(get(fmt::format("pulse/{}", rank)).value_or(""));
  text >> sign.beat >> sign.operations;
  return sign;
}

std::string Pulse::Board::find_culprit() {
  std::vector<Sign> before;
  for (int rank = 0; rank < size_; ++rank) before.push_back(sign_of(rank));
  const auto end = std::chrono::steady_clock::now() + kSilence;
  while (std::chrono::steady_clock::now() < end) {
    if (const auto verdict = get(kVerdict)) return *verdict;
    for (int rank = 0; rank < size_; ++rank)
      if (const auto why = get(fmt::format("failure/{}", rank))) return fmt::format("process {} of {} failed: {}", rank, size_, *why);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  int behind = rank_;
  int64_t fewest = operations;
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == rank_) continue;
    const Sign now = sign_of(rank);
    if (now.beat == before[static_cast<size_t>(rank)].beat)
      return fmt::format("process {} of {} gives no sign of life: it was killed or hangs", rank, size_);
    if (now.operations < fewest) {
      behind = rank;
      fewest = now.operations;
    }
  }
  if (behind != rank_) return fmt::format("process {} of {} is alive but makes no progress", behind, size_);
  return fmt::format("all {} processes are alive, but the network between them does not answer", size_);
}

// In a thread that may be left behind: a store that hangs never answers.
std::string Pulse::diagnose() {
  const std::string gone = fmt::format("process 0 of {}, where all meet, gives no sign of life: it was killed or hangs", board_->size());
  auto promise = std::make_shared<std::promise<std::string>>();
  std::future<std::string> answer = promise->get_future();
  std::thread([board = board_, promise, gone] {
    try {
      const std::string culprit = board->find_culprit();
      board->set(kVerdict, culprit);
      promise->set_value(culprit);
    } catch (const std::exception&) {
      promise->set_value(board->heard_or(gone));
    }
  }).detach();
  return answer.wait_for(kPatience) == std::future_status::ready ? answer.get() : board_->heard_or(gone);
}

}  // namespace tersor
