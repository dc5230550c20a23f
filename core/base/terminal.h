// What is printed on standard output for people: lines that stay, and on a terminal a bar below them.
//
//   terminal.line("step 10: saved");
//   if (terminal.due(100ms)) terminal.bar(0.25, "step 10/40");
//
// A reader that has gone away, as `tee` at Ctrl-C, is no reason to stop.
#pragma once

#include <chrono>
#include <string>

namespace tersor {

class Terminal {
 public:
  Terminal();
  // In place of the bar, if there is one.
  void line(const std::string& text) const;
  // Whether there can be a bar, and it was drawn longer than `pause` ago.
  [[nodiscard]] bool due(std::chrono::milliseconds pause) const;
  // `share` of it is full, of 1. As much of `text` as there is room for stands beside it. Elsewhere than on a terminal, nothing.
  void bar(double share, const std::string& text);

 private:
  const bool interactive_;
  std::chrono::steady_clock::time_point drawn_;
};

}  // namespace tersor
