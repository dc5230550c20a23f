// Human-readable standard output: lines that stay and, on a terminal, a progress bar below them.
//
//   terminal.line("step 10: saved");
//   if (terminal.due(100ms)) terminal.bar(0.25, "step 10/40");
//
// A reader that has exited, such as `tee` on Ctrl-C, does not stop the run.
#pragma once

#include <chrono>
#include <string>

namespace tersor {

class Terminal {
 public:
  Terminal();
  // Prints a line in place of the bar, if there is one.
  void line(const std::string& text) const;
  // Whether there can be a bar and it was last drawn more than `pause` ago.
  [[nodiscard]] bool due(std::chrono::milliseconds pause) const;
  // Draws the bar, `share` (0 to 1) of it full, and as much of `text` beside it as fits. Does nothing if not on a terminal.
  void bar(double share, const std::string& text);

 private:
  const bool interactive_;
  std::chrono::steady_clock::time_point drawn_;
};

}  // namespace tersor
