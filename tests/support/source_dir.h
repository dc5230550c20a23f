// The checkout that tests read files from: where they were built, or TERSOR_SOURCE if they run on another machine.
#pragma once

#include <cstdlib>
#include <string>

namespace tersor::testing {

inline std::string source_dir() {
  const char* elsewhere = std::getenv("TERSOR_SOURCE");
  return elsewhere != nullptr ? elsewhere : TERSOR_SOURCE_DIR;
}

}  // namespace tersor::testing
