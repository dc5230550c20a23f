// Captures what the program logs while this lives.
#pragma once

#include <spdlog/sinks/ostream_sink.h>

#include <sstream>

#include "core/base/log.h"

namespace tersor::testing {

class Warnings {
 public:
  Warnings() { log().sinks().push_back(std::make_shared<spdlog::sinks::ostream_sink_st>(text_)); }
  ~Warnings() { log().sinks().pop_back(); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;

  // The text since the last call.
  [[nodiscard]] std::string take() {
    std::string text = text_.str();
    text_.str({});
    return text;
  }

 private:
  std::ostringstream text_;
};

}  // namespace tersor::testing
