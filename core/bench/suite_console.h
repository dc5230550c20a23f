// What a suite prints while it runs: a line for each run that has ended and, on a terminal, a progress bar below them.
#pragma once

#include "core/base/terminal.h"
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
  void start(const Suite& suite, const SuiteProgress& progress, int64_t jobs, int64_t memory);
  void over(const CellRecord& record, const SuiteProgress& progress);
  // Whether there is a bar, and it is time to redraw it.
  [[nodiscard]] bool due() const { return terminal_.due(std::chrono::milliseconds(500)); }
  void progress(const SuiteProgress& progress);
  // A line that stays.
  void line(const std::string& text) const { terminal_.line(text); }

 private:
  Terminal terminal_;
};

}  // namespace tersor
