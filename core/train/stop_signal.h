// SIGINT, SIGTERM, SIGHUP and SIGUSR1 ask a run to save and stop. A SIGINT two seconds or more later ends the process at once; what comes
// sooner is the same wish told twice, as by a terminal that closes or a launcher that passes Ctrl-C on. Those that were ignored
// before, as under nohup, still are. While this lives, output that nobody reads any more does not end the process.
#pragma once

namespace tersor {

class StopSignal {
 public:
  StopSignal();   // installs the handlers
  ~StopSignal();  // gives the signals back
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  [[nodiscard]] static bool requested();
};

}  // namespace tersor
