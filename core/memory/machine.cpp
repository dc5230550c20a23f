#include "core/memory/machine.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace tersor {
namespace {

// The number after a word, in files such as /proc/meminfo.
std::optional<int64_t> number_after(const std::string& file, const std::string& word) {
  std::ifstream text(file);
  for (std::string next; text >> next;) {
    int64_t number = 0;
    if (next == word && text >> number) return number;
  }
  return std::nullopt;
}

std::optional<int64_t> only_number(const std::string& file) {
  std::ifstream text(file);
  int64_t number = 0;
  return text >> number ? std::optional(number) : std::nullopt;  // "max": no limit
}

}  // namespace

int64_t available_memory() {
  constexpr int64_t kKilobyte = 1024;
  int64_t available = number_after("/proc/meminfo", "MemAvailable:").value_or(0) * kKilobyte;
  const auto limit = only_number("/sys/fs/cgroup/memory.max");
  const auto used = only_number("/sys/fs/cgroup/memory.current");
  const int64_t cached = number_after("/sys/fs/cgroup/memory.stat", "inactive_file").value_or(0);  // reclaimed when needed
  if (limit && used) available = std::min(available, std::max<int64_t>(0, *limit - *used + cached));
  return available;
}

int64_t peak_resident_memory() {
  constexpr int64_t kKilobyte = 1024;
  return number_after("/proc/self/status", "VmHWM:").value_or(0) * kKilobyte;
}

void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

}  // namespace tersor
