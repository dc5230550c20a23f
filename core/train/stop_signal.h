// SIGINT, SIGTERM and SIGHUP ask a run to save and stop; a second one ends the process at once. Those that were ignored before,
// as under nohup, still are. While this lives, output that nobody reads any more does not end the process.
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
