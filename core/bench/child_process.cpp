#include "core/bench/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/base/error.h"

namespace tersor {
namespace {

constexpr int kNotStarted = 127;

std::vector<std::string> whole_environment(const std::vector<std::pair<std::string, std::string>>& added) {
  std::vector<std::string> all;
  for (const auto& [name, value] : added) all.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    bool replaced = false;
    for (const auto& [name, value] : added) replaced = replaced || text.starts_with(name + "=");
    if (!replaced) all.emplace_back(text);
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

// Runs between fork and exec of a process with threads: only system calls, nothing that allocates or locks.
[[noreturn]] void become(char* const* words, char* const* environment, int log, pid_t parent) {
  ::setpgid(0, 0);  // Ctrl-C in a terminal reaches only the parent, which decides
  ::prctl(PR_SET_PDEATHSIG, SIGINT);  // the child saves and stops; one already asked to stop ends at once
  ::signal(SIGINT, SIG_DFL);
  if (::getppid() != parent) ::_exit(kNotStarted);
  ::signal(SIGPIPE, SIG_DFL);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::execve(words[0], words, environment);
  ::_exit(kNotStarted);
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& words, const std::vector<std::pair<std::string, std::string>>& environment,
                           const std::filesystem::path& log) {
  std::vector<std::string> arguments = words;
  std::vector<std::string> variables = whole_environment(environment);
  const std::vector<char*> argument_pointers = pointers(arguments);
  const std::vector<char*> variable_pointers = pointers(variables);
  const int file = ::open(log.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) throw user_error("'{}' cannot be written: {}", log.string(), std::strerror(errno));
  const pid_t parent = ::getpid();
  std::signal(SIGCHLD, SIG_DFL);  // if it is ignored, a child's exit status is lost
  id_ = ::fork();
  if (id_ == 0) become(argument_pointers.data(), variable_pointers.data(), file, parent);
  const int error = errno;
  ::close(file);
  if (id_ < 0) throw user_error("cannot start a process: {}; try fewer jobs", std::strerror(error));
}

ChildProcess::~ChildProcess() {
  if (id_ <= 0 || code_) return;
  ::kill(id_, SIGKILL);
  while (::waitpid(id_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<int> ChildProcess::exit_code() {
  if (code_ || id_ <= 0) return code_;
  int status = 0;
  const pid_t ended = ::waitpid(id_, &status, WNOHANG);
  if (ended == 0 || (ended < 0 && errno == EINTR)) return std::nullopt;
  if (ended < 0) return code_ = EXIT_FAILURE;  // somebody else has waited for it: its exit status is unknown
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return code_;
}

void ChildProcess::ask_to_stop() const {
  if (id_ > 0 && !code_) ::kill(id_, SIGTERM);
}

}  // namespace tersor
