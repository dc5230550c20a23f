#include "core/base/quantity.h"

#include <fmt/format.h>

#include <utility>

namespace tersor {

std::string format_count(double value) {
  for (const auto& [limit, suffix] : {std::pair{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}})
    if (value >= limit) return fmt::format("{:.1f}{}", value / limit, suffix);
  return fmt::format("{:.0f}", value);
}

std::string format_bytes(double bytes) {
  for (const auto& [limit, suffix] : {std::pair{0x1.0p40, "TiB"}, {0x1.0p30, "GiB"}, {0x1.0p20, "MiB"}, {0x1.0p10, "KiB"}})
    if (bytes >= limit) return fmt::format("{:.2f} {}", bytes / limit, suffix);
  return fmt::format("{:.0f} B", bytes);
}

std::string format_duration(double seconds) {
  if (seconds >= 1e15) return "forever";
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s >= 86400) return fmt::format("{}d{:02}h", s / 86400, s % 86400 / 3600);
  if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
  return s >= 60 ? fmt::format("{}m{:02}s", s / 60, s % 60) : fmt::format("{}s", s);
}

}  // namespace tersor
