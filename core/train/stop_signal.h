// SIGINT and SIGTERM ask a run to save and stop; a second one ends the process at once.
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
