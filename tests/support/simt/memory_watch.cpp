#include "tests/support/simt/memory_watch.h"

#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "tests/support/simt/executor.h"

namespace tersor::kernels::gpu {
alignas(128) thread_local unsigned char dynamic_shared_bytes[simt::kMostShared];
}

namespace simt {
namespace {

struct Image {
  Range program;
  Range thread_locals;
};
Image image_of_program() {
  Image image;
  dl_iterate_phdr([](dl_phdr_info* info, size_t, void* result) {
    auto& out = *static_cast<Image*>(result);
    out.program.begin = UINTPTR_MAX;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& header = info->dlpi_phdr[i];
      const uintptr_t begin = info->dlpi_addr + header.p_vaddr;
      if (header.p_type == PT_LOAD) {
        out.program.begin = std::min(out.program.begin, begin);
        out.program.end = std::max(out.program.end, begin + header.p_memsz);
      } else if (header.p_type == PT_TLS) {
        out.thread_locals.begin = reinterpret_cast<uintptr_t>(info->dlpi_tls_data);
        out.thread_locals.end = out.thread_locals.begin + header.p_memsz;
      }
    }
    return 1;  // the first is the program itself
  }, &image);
  return image;
}

struct Allocations {
  std::mutex mutex;
  std::map<uintptr_t, size_t> all;
};
Allocations& allocations() {
  static auto* one = new Allocations;
  return *one;
}

}  // namespace

MemoryWatch::MemoryWatch(size_t shared_size, uint32_t block_size, std::vector<Range> apart)
    : shared_size_(shared_size), block_size_(block_size), apart_(std::move(apart)) {
  const Image image = image_of_program();
  program_ = image.program;
  thread_locals_ = image.thread_locals;
  const auto base = reinterpret_cast<uintptr_t>(tersor::kernels::gpu::dynamic_shared_bytes);
  dynamic_ = {base, base + sizeof(tersor::kernels::gpu::dynamic_shared_bytes)};
  const std::lock_guard lock(allocations().mutex);
  bounded_ = !allocations().all.empty();
}

std::optional<MemoryWatch::Complaint> MemoryWatch::note(uintptr_t address, size_t size, bool writes, const Access& now) {
  if (std::any_of(apart_.begin(), apart_.end(), [&](const Range& range) { return range.has(address); })) return std::nullopt;
  const bool shared = thread_locals_.has(address);
  if (shared) {
    if (dynamic_.has(address) && address + size > dynamic_.begin + shared_size_)
      return Complaint{"", fmt::format(" touches byte {} of {} bytes of shared memory", address - dynamic_.begin, shared_size_)};
  } else {
    if (program_.has(address)) return std::nullopt;  // constants
    if (bounded_)
      if (auto wrong = check_bounds(address, size)) return wrong;
  }
  for (size_t i = 0; i < size; ++i)
    if (auto wrong = touch(address + i, now, writes, shared)) return wrong;
  return std::nullopt;
}

std::optional<MemoryWatch::Complaint> MemoryWatch::check_bounds(uintptr_t address, size_t size) {
  if (known_.has(address) && address + size <= known_.end) return std::nullopt;
  {
    Allocations& a = allocations();
    const std::lock_guard lock(a.mutex);
    auto after = a.all.upper_bound(address);
    if (after != a.all.begin()) {
      --after;
      known_ = {after->first, after->first + after->second};
    }
  }
  if (known_.has(address) && address + size <= known_.end) return std::nullopt;
  const std::string where = known_.begin <= address ? fmt::format(", {} bytes into one of {}", address - known_.begin, known_.end - known_.begin) : "";
  return Complaint{"", " touches global memory that was not allocated" + where};
}

bool MemoryWatch::ordered(const Access& before, const Access& now, bool shared) const {
  if (before.thread == 0 || before.thread == now.thread) return true;
  if ((before.thread - 1) / block_size_ != (now.thread - 1) / block_size_) return shared;
  if (before.block_time != now.block_time) return true;
  const bool one_warp = (before.thread - 1) % block_size_ / kWarp == (now.thread - 1) % block_size_ / kWarp;
  return one_warp && before.warp_time != now.warp_time;
}

std::optional<MemoryWatch::Complaint> MemoryWatch::touch(uintptr_t address, const Access& now, bool writes, bool shared) {
  const uintptr_t key = address / kLine;
  if (key != last_key_ || last_ == nullptr) {
    last_ = &lines_[key];
    last_key_ = key;
  }
  Cell& cell = (*last_)[address % kLine];
  if (!ordered(cell.write, now, shared) && !(cell.write.atomic && now.atomic)) return race(cell.write, now, writes, true, shared);
  if (writes) {
    if (!ordered(cell.read, now, shared) || (cell.several_reads && cell.read.block_time == now.block_time && cell.read.warp_time == now.warp_time))
      return race(cell.read, now, writes, false, shared);
    cell.write = now;
    return std::nullopt;
  }
  if (shared && (cell.write.thread == 0 || (cell.write.thread - 1) / block_size_ != (now.thread - 1) / block_size_))
    return Complaint{"", " reads shared memory that its block has not written"};
  cell.several_reads = (cell.several_reads && cell.read.block_time == now.block_time) || (cell.read.thread != 0 && !ordered(cell.read, now, shared));
  cell.read = now;
  return std::nullopt;
}

MemoryWatch::Complaint MemoryWatch::race(const Access& before, const Access& now, bool writes, bool wrote, bool shared) const {
  return {fmt::format("a race in {} memory: ", shared ? "shared" : "global"),
          fmt::format(" {} what thread {} of block {} {}{}, with no barrier in between", writes ? "writes" : "reads", (before.thread - 1) % block_size_,
                      (before.thread - 1) / block_size_, wrote ? "wrote" : "read", before.thread == now.thread ? ", among others" : "")};
}

void allow(const void* address, size_t size) {
  const std::lock_guard lock(allocations().mutex);
  allocations().all[reinterpret_cast<uintptr_t>(address)] = size;
}

void forbid(const void* address) {
  const std::lock_guard lock(allocations().mutex);
  allocations().all.erase(reinterpret_cast<uintptr_t>(address));
}

}  // namespace simt
