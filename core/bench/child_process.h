// Another process that this one waits for. Its output goes to a file; when this process dies, it is asked to stop.
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
  // `environment` is added to that of this process. UserError when no process can be started.
  ChildProcess(const std::vector<std::string>& words, const std::vector<std::pair<std::string, std::string>>& environment,
               const std::filesystem::path& log);
  ~ChildProcess();  // kills it where it still runs, and waits for that
  ChildProcess(ChildProcess&& other) noexcept : id_(std::exchange(other.id_, 0)), code_(other.code_) {}
  ChildProcess& operator=(ChildProcess&&) = delete;

  // Nothing while it runs; then what it returned, or 128 and the number of the signal that ended it.
  [[nodiscard]] std::optional<int> exit_code();
  void ask_to_stop() const;

 private:
  pid_t id_ = 0;
  std::optional<int> code_;
};

}  // namespace tersor
