// Human-readable amounts.
#pragma once

#include <cstdint>
#include <string>

namespace tersor {

[[nodiscard]] std::string format_count(double value);       // 950, 12.3k, 1.3B
[[nodiscard]] std::string format_bytes(double bytes);       // 12.76 MiB
[[nodiscard]] inline std::string format_bytes(int64_t bytes) { return format_bytes(static_cast<double>(bytes)); }
[[nodiscard]] std::string format_duration(double seconds);  // 42s, 3m20s, 3h12m, 2d04h

}  // namespace tersor
