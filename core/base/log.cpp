#include "core/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace tersor {

spdlog::logger& log() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = spdlog::stderr_color_mt("tersor");
    made->set_pattern("%^%v%$");
    return made;
  }();
  return *logger;
}

}  // namespace tersor
