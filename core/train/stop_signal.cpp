#include "core/train/stop_signal.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <ctime>

namespace tersor {
namespace {

volatile std::sig_atomic_t g_requested = 0;
volatile std::time_t g_since = 0;  // seconds

std::time_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

void handle(int signal) {
  if (g_requested != 0) {
    if (signal == SIGINT && now() > g_since + 1) _exit(128 + signal);
    return;
  }
  g_since = now();  // first, as another thread may get a signal at the same time
  g_requested = 1;
  constexpr char kText[] = "\nstopping: saving a checkpoint first; press Ctrl-C again to stop at once\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, kText, sizeof(kText) - 1);
}

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE};
std::array<struct sigaction, kSignals.size()> g_before;
int g_living = 0;  // instances of the class

}  // namespace

StopSignal::StopSignal() {
  if (g_living++ > 0) return;
  g_requested = 0;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    struct sigaction action {};
    action.sa_handler = kSignals[i] == SIGPIPE ? SIG_IGN : &handle;
    sigfillset(&action.sa_mask);
    action.sa_flags = SA_RESTART;  // file writes are not interrupted
    sigaction(kSignals[i], nullptr, &g_before[i]);
    if (g_before[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);  // what is ignored, as under nohup, stays ignored
  }
}
StopSignal::~StopSignal() {
  if (--g_living > 0) return;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &g_before[i], nullptr);
}

bool StopSignal::requested() { return g_requested != 0; }

}  // namespace tersor
