// What a suite prints while it runs: a line for each run that is over, and on a terminal a bar below them.
#pragma once

#include <chrono>

#include "core/bench/forecast.h"

namespace tersor {

struct SuiteProgress {
  int64_t done = 0;  // with a record, failures included
  int64_t total = 0;
  std::vector<RunningCell> running;
  std::optional<double> seconds_left;
};

class SuiteConsole {
 public:
  SuiteConsole();
  void start(const Suite& suite, const SuiteProgress& progress, int64_t jobs, int64_t memory);
  void over(const CellRecord& record, const SuiteProgress& progress);
  // Whether there is a bar, and it is time to draw it again.
  [[nodiscard]] bool due() const;
  void progress(const SuiteProgress& progress);
  // A line that stays.
  void line(const std::string& text) const;

 private:
  std::chrono::steady_clock::time_point drawn_;
  const bool terminal_;
};

}  // namespace tersor
