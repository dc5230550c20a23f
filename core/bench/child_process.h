// A child process. Its output goes to a file; if this process dies, the child is asked to stop.
//
//   ChildProcess child({program, "train", "cell.yaml"}, {{"OMP_NUM_THREADS", "1"}}, "cell.log");
//   while (!child.exit_code()) …
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tersor {

class ChildProcess {
 public:
  // `environment` is added to that of this process. Throws UserError if no process can be started.
  ChildProcess(const std::vector<std::string>& words, const std::vector<std::pair<std::string, std::string>>& environment,
               const std::filesystem::path& log);
  ~ChildProcess();  // kills the child if it still runs, and waits for its end
  ChildProcess(ChildProcess&& other) noexcept : id_(std::exchange(other.id_, 0)), code_(other.code_) {}
  ChildProcess& operator=(ChildProcess&&) = delete;

  // Nothing while it runs; then its exit code, or 128 + the number of the signal that ended it.
  [[nodiscard]] std::optional<int> exit_code();
  void ask_to_stop() const;

 private:
  pid_t id_ = 0;
  std::optional<int> code_;
};

}  // namespace tersor
