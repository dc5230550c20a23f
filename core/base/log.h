// The one logger of the program: spdlog, to standard error, plain "message" lines at info.
// Only observers and command-line commands print; library code returns or throws.
//
//   log().info("resumed from {}", folder);
#pragma once

#include <spdlog/logger.h>

namespace tersor {

[[nodiscard]] spdlog::logger& log();

}  // namespace tersor
