// SIGINT, SIGTERM, SIGHUP and SIGUSR1 ask a run to save and stop. A SIGINT two seconds or more later ends the process at once; an earlier
// one counts as the same request sent twice, as by a closing terminal or a launcher that forwards Ctrl-C. Signals that were ignored
// before, as under nohup, stay ignored. While this lives, writing to a closed pipe does not end the process.
#pragma once

namespace tersor {

class StopSignal {
 public:
  StopSignal();   // installs the handlers
  ~StopSignal();  // restores the handlers from before
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  [[nodiscard]] static bool requested();
};

}  // namespace tersor
