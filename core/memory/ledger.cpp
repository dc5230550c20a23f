#include "core/memory/ledger.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>
#include <c10/core/impl/alloc_cpu.h>

#include <mutex>

namespace tersor {
namespace {

thread_local Segment current_segment = Segment::kOther;

class Ledger {
 public:
  void add(Segment segment, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    now_.bytes[static_cast<size_t>(segment)] += bytes;
    now_.total += bytes;
    if (now_.total > peak_.total) peak_ = now_;
  }
  void move(Segment from, Segment to, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    now_.bytes[static_cast<size_t>(from)] -= bytes;
    now_.bytes[static_cast<size_t>(to)] += bytes;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = now_;
  }
  MemoryUse now() {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  MemoryUse peak() {
    const std::lock_guard lock(mutex_);
    return peak_;
  }

 private:
  std::mutex mutex_;
  MemoryUse now_;
  MemoryUse peak_;
};

// Never destroyed: tensors of static life are freed after all else.
Ledger& ledger() {
  static auto* instance = new Ledger;
  return *instance;
}

// How an allocation is booked: written before the memory that is given out, whose alignment it keeps.
struct Header {
  int64_t bytes;
  Segment segment;
};
constexpr size_t kHeaderBytes = c10::gAlignment;
static_assert(sizeof(Header) <= kHeaderBytes);

Header& header_of(void* data) { return *reinterpret_cast<Header*>(static_cast<char*>(data) - kHeaderBytes); }

void release(void* data) {
  if (data == nullptr) return;
  const Header header = header_of(data);
  ledger().add(header.segment, -header.bytes);
  c10::free_cpu(static_cast<char*>(data) - kHeaderBytes);
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::Device(c10::DeviceType::CPU)};
    void* data = static_cast<char*>(c10::alloc_cpu(bytes + kHeaderBytes)) + kHeaderBytes;
    header_of(data) = {static_cast<int64_t>(bytes), current_segment};
    ledger().add(current_segment, static_cast<int64_t>(bytes));
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

CountingAllocator* installed = nullptr;

}  // namespace

MemoryScope::MemoryScope(Segment segment) : before_(std::exchange(current_segment, segment)) {}
MemoryScope::~MemoryScope() { current_segment = before_; }

void install_memory_ledger() {
  if (installed != nullptr) return;
  constexpr uint8_t kPriority = 100;
  installed = new CountingAllocator;
  c10::SetCPUAllocator(installed, kPriority);
}

bool memory_ledger_installed() { return installed != nullptr; }
MemoryUse memory_now() { return ledger().now(); }
MemoryUse memory_peak() { return ledger().peak(); }
void reset_memory_peak() { ledger().reset_peak(); }

void book(const at::Tensor& tensor, Segment segment) {
  if (!tensor.defined() || !tensor.has_storage()) return;
  const c10::DataPtr& memory = tensor.storage().data_ptr();
  if (memory.get_deleter() != &release || memory.get() == nullptr) return;
  Header& header = header_of(memory.get_context());
  ledger().move(header.segment, segment, header.bytes);
  header.segment = segment;
}

}  // namespace tersor
