#include "core/train/stop_signal.h"

#include <unistd.h>

#include <csignal>

namespace tersor {
namespace {

volatile std::sig_atomic_t g_requested = 0;

void handle(int signal) {
  if (g_requested != 0) _exit(128 + signal);
  g_requested = 1;
  constexpr char kText[] = "\nstopping: saving a checkpoint first; once more stops at once\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, kText, sizeof(kText) - 1);
}

void set_handlers(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // writing a file is not interrupted
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
}

}  // namespace

StopSignal::StopSignal() {
  g_requested = 0;
  set_handlers(&handle);
  std::signal(SIGPIPE, SIG_IGN);
}
StopSignal::~StopSignal() {
  set_handlers(SIG_DFL);
  std::signal(SIGPIPE, SIG_DFL);
}

bool StopSignal::requested() { return g_requested != 0; }

}  // namespace tersor
