#include "core/memory/ledger.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>
#include <c10/core/impl/alloc_cpu.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>

namespace tersor {
namespace {

thread_local Segment current_segment = Segment::kOther;
thread_local int scopes = 0;       // open on this thread

// Keeps the fullest moment of every `stride_` changes; doubles `stride_` when there are too many moments.
class Recording {
 public:
  void add(const MemoryUse& use) {
    if (changes_++ % stride_ == 0)
      moments_.push_back({elapsed(), use});
    else if (use.total >= moments_.back().use.total)
      moments_.back() = {elapsed(), use};
    if (moments_.size() >= kMost) halve();
  }
  [[nodiscard]] const std::vector<MemoryMoment>& moments() const { return moments_; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kMost = 400;

  [[nodiscard]] double elapsed() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }
  void halve() {
    for (size_t i = 0; i < kMost / 2; ++i)
      moments_[i] = std::max(moments_[2 * i], moments_[2 * i + 1], [](const auto& a, const auto& b) { return a.use.total < b.use.total; });
    moments_.resize(kMost / 2);
    stride_ *= 2;
  }

  Clock::time_point begin_ = Clock::now();
  std::vector<MemoryMoment> moments_;
  int64_t changes_ = 0;
  int64_t stride_ = 1;
};

class Ledger {
 public:
  void add(Segment segment, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    grow(segment, bytes);
    now_.total += bytes;
    if (now_.total > peak_.whole.total) peak_.whole = now_;
    if (recording_) recording_->add(now_);
  }
  void move(Segment from, Segment to, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    grow(from, -bytes);
    grow(to, bytes);
    if (recording_) recording_->add(now_);
  }
  void record() {
    const std::lock_guard lock(mutex_);
    recording_.emplace().add(now_);
  }
  std::vector<MemoryMoment> recorded() {
    const std::lock_guard lock(mutex_);
    std::vector<MemoryMoment> moments = recording_ ? recording_->moments() : std::vector<MemoryMoment>();
    recording_.reset();
    return moments;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = {now_, now_.bytes};
  }
  MemoryUse now() {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  MemoryPeak peak() {
    const std::lock_guard lock(mutex_);
    return peak_;
  }

 private:
  void grow(Segment segment, int64_t bytes) {
    const auto i = static_cast<size_t>(segment);
    now_.bytes[i] += bytes;
    peak_.most[i] = std::max(peak_.most[i], now_.bytes[i]);
  }

  std::mutex mutex_;
  MemoryUse now_;
  MemoryPeak peak_;
  std::optional<Recording> recording_;
};

// Never destroyed: tensors with static lifetime are freed last.
Ledger& ledger(at::DeviceType device) {
  static auto* host = new Ledger;
  static auto* meta = new Ledger;
  static auto* gpu = new Ledger;
  return device == at::kMeta ? *meta : device == at::kCPU ? *host : *gpu;
}

// How an allocation is booked.
struct Header {
  int64_t bytes;
  Segment segment;
};

// In host memory the header precedes the memory handed out, whose alignment it preserves.
constexpr size_t kHeaderBytes = c10::gAlignment;
static_assert(sizeof(Header) <= kHeaderBytes);

Header& header_of(void* data) { return *reinterpret_cast<Header*>(static_cast<char*>(data) - kHeaderBytes); }

void release(void* data) {
  if (data == nullptr) return;
  const Header header = header_of(data);
  ledger(at::kCPU).add(header.segment, -header.bytes);
  c10::free_cpu(static_cast<char*>(data) - kHeaderBytes);
}

class HostAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, at::Device(at::kCPU)};
    void* data = static_cast<char*>(c10::alloc_cpu(bytes + kHeaderBytes)) + kHeaderBytes;
    header_of(data) = {static_cast<int64_t>(bytes), current_segment};
    ledger(at::kCPU).add(current_segment, static_cast<int64_t>(bytes));
    return {data, data, &release, at::Device(at::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

void release_meta(void* header) {
  const std::unique_ptr<Header> own(static_cast<Header*>(header));
  if (own) ledger(at::kMeta).add(own->segment, -own->bytes);
}

// Allocates nothing, but books the bytes asked for.
class MetaAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    auto header = std::make_unique<Header>(static_cast<int64_t>(bytes), current_segment);
    ledger(at::kMeta).add(header->segment, header->bytes);
    return {nullptr, header.release(), &release_meta, at::Device(at::kMeta)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void*, const void*, std::size_t) const override {}
};

bool installed = false;
std::thread::id main_thread;  // the one that installed the ledger

// How allocations on the GPU are booked.
class OnGpu {
 public:
  void add(const void* address, const Header& header) {
    const std::lock_guard lock(mutex_);
    headers_[address] = header;
  }
  std::optional<Header> take(const void* address) {
    const std::lock_guard lock(mutex_);
    const auto node = headers_.extract(address);
    return node ? std::optional(node.mapped()) : std::nullopt;
  }
  // Returns the header as it was before; nothing for unknown addresses.
  std::optional<Header> move(const void* address, Segment to) {
    const std::lock_guard lock(mutex_);
    const auto found = headers_.find(address);
    if (found == headers_.end()) return std::nullopt;
    const Header before = found->second;
    found->second.segment = to;
    return before;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<const void*, Header> headers_;
};
OnGpu& on_gpu() {
  static auto* there = new OnGpu;
  return *there;
}
constexpr at::DeviceType kGpu = at::kCUDA;  // the ledger of whatever is neither host nor meta

// Where memory is booked; null if the ledger's allocators did not allocate it.
Header* booking(const c10::DataPtr& memory) {
  if (memory.get_context() == nullptr) return nullptr;
  if (memory.get_deleter() == &release) return &header_of(memory.get_context());
  if (memory.get_deleter() == &release_meta) return static_cast<Header*>(memory.get_context());
  return nullptr;
}

}  // namespace

MemoryScope::MemoryScope(Segment segment) : before_(std::exchange(current_segment, segment)) { ++scopes; }
MemoryScope::~MemoryScope() {
  current_segment = before_;
  --scopes;
}

void install_memory_ledger() {
  if (std::exchange(installed, true)) return;
  main_thread = std::this_thread::get_id();
  constexpr uint8_t kPriority = 100;
  c10::SetCPUAllocator(new HostAllocator, kPriority);
  c10::SetAllocator(at::kMeta, new MetaAllocator, kPriority);
}

MemoryUse memory_now(at::DeviceType device) { return ledger(device).now(); }
MemoryPeak memory_peak(at::DeviceType device) { return ledger(device).peak(); }
void reset_memory_peak(at::DeviceType device) { ledger(device).reset_peak(); }
void record_memory(at::DeviceType device) { ledger(device).record(); }
std::vector<MemoryMoment> recorded_memory(at::DeviceType device) { return ledger(device).recorded(); }

void note_allocated(const void* address, int64_t bytes) {
  const bool in_backward = scopes == 0 && std::this_thread::get_id() != main_thread;
  const Header header{bytes, in_backward ? Segment::kTemporary : current_segment};
  on_gpu().add(address, header);
  ledger(kGpu).add(header.segment, bytes);
}

void note_released(const void* address) {
  if (const auto header = on_gpu().take(address)) ledger(kGpu).add(header->segment, -header->bytes);
}

void book(const at::Tensor& tensor, Segment segment) {
  if (!tensor.defined() || !tensor.has_storage()) return;
  if (!tensor.is_cpu() && !tensor.is_meta()) {
    if (const auto before = on_gpu().move(tensor.storage().data(), segment)) ledger(kGpu).move(before->segment, segment, before->bytes);
    return;
  }
  Header* header = booking(tensor.storage().data_ptr());
  if (header == nullptr) return;
  ledger(tensor.device().type()).move(header->segment, segment, header->bytes);
  header->segment = segment;
}

}  // namespace tersor
