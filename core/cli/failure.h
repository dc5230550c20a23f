// What the program says and how it exits when something was thrown.
#pragma once

#include <exception>
#include <string>

namespace tersor {

struct Failure {
  std::string text;  // without a backtrace
  int exit_code;
};
[[nodiscard]] Failure failure_of(const std::exception& thrown);

}  // namespace tersor
