// Runs programs the way a user does.
#pragma once

#include <sys/wait.h>

#include <cstdlib>

#include "core/base/files.h"
#include "tests/support/temporary_folder.h"

namespace tersor::testing {

struct Ended {
  int code = 0;
  std::string output;
};

// Runs a bash command, which must not contain single quotes, to its end.
inline Ended shell(const TemporaryFolder& folder, const std::string& command) {
  const std::string file = (folder / "output.txt").string();
  const int status = std::system(fmt::format("bash -c '{}' > {} 2>&1", command, file).c_str());
  return {WEXITSTATUS(status), read_text(file)};
}

}  // namespace tersor::testing
