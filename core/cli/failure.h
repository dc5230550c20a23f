// What the program prints and how it exits after an exception.
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
