// The one logger of the program: spdlog, to standard error, plain "message" lines at info.
// For warnings and what a person should know at once. Standard output belongs to observers and commands; what went wrong is thrown.
//
//   log().info("resumed from {}", folder);
#pragma once

#include <spdlog/logger.h>

namespace tersor {

[[nodiscard]] spdlog::logger& log();

}  // namespace tersor
