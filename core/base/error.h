// The two ways in which this program reports errors.
//
//   UserError      the configuration, the data or a file is at fault: exit code 2, no stack trace, and the
//                  message names the remedy.       throw user_error("{}: is empty; run 'tersor tokenize'", path);
//   TERSOR_CHECK   one of our own invariants is broken: file and line, exit code 70.
//                                                  TERSOR_CHECK(rows > 0, "{} rows in '{}'", rows, name);
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace tersor {

class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A broken invariant of this program.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// Another process of the run has exited or does not respond.
class LostProcess : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Returned, not thrown, so that the compiler sees the `throw` at the call site.
template <class... Args>
[[nodiscard]] UserError user_error(fmt::format_string<Args...> format, Args&&... args) {
  return UserError(fmt::format(format, std::forward<Args>(args)...));
}

namespace detail {
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& message);
}  // namespace detail

#define TERSOR_CHECK(condition, ...)                                            \
  do {                                                                          \
    if (!(condition)) [[unlikely]]                                              \
      ::tersor::detail::check_failed(__FILE__, __LINE__, #condition,            \
                                     ::fmt::format(__VA_ARGS__));               \
  } while (false)

// Exit codes of the program.
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitRejected = 2,     // configuration or input rejected
  kExitInternal = 70,    // EX_SOFTWARE: one of our invariants is broken
  kExitStopped = 75,     // EX_TEMPFAIL: stopped by a signal after saving; a scheduler requeues
};

}  // namespace tersor
