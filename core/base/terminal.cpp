#include "core/base/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace tersor {
namespace {

void put(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
  std::clearerr(stdout);
}

int columns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Terminal::Terminal() : interactive_(isatty(STDOUT_FILENO) == 1) {}

void Terminal::line(const std::string& text) const { put(fmt::format("{}{}\n", interactive_ ? "\r\x1b[K" : "", text)); }

bool Terminal::due(std::chrono::milliseconds pause) const { return interactive_ && std::chrono::steady_clock::now() - drawn_ > pause; }

void Terminal::bar(double share, const std::string& text) {
  if (!interactive_) return;
  drawn_ = std::chrono::steady_clock::now();
  constexpr int kCells = 20;
  const int full = static_cast<int>(share * kCells);
  std::string cells;
  for (int i = 0; i < kCells; ++i) cells += i < full ? "█" : "░";
  const int room = std::max(0, columns() - kCells - 2);
  put(fmt::format("\r\x1b[K{} {}", cells, text.substr(0, static_cast<size_t>(room))));
}

}  // namespace tersor
