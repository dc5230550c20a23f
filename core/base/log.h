// The program's only logger: spdlog, to standard error, plain message lines from level info up.
// For warnings and whatever the user should know at once. Standard output belongs to observers and commands; errors are thrown.
//
//   log().info("resumed from {}", folder);
#pragma once

#include <spdlog/logger.h>

namespace tersor {

[[nodiscard]] spdlog::logger& log();

}  // namespace tersor
