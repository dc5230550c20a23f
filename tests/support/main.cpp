// The entry point of the test program. TERSOR_PLUGINS=./libmine.so:… puts methods of one's own under the same tests.
#ifdef TERSOR_CATCH2_V2
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#else
#include <catch2/catch_session.hpp>
#endif

#include <cstdlib>
#include <iostream>
#include <sstream>

#include "core/config/plugin.h"
#include "core/memory/ledger.h"

#ifdef __SANITIZE_THREAD__
// LibTorch and the runtime of OpenMP are not instrumented, so the barriers of their loops cannot be seen.
extern "C" const char* __tsan_default_suppressions() {
  return "race:libtorch_cpu.so\nrace:libgomp.so\nrace:at::internal::invoke_parallel\n";
}
#endif

int main(int argc, char** argv) {
  tersor::install_memory_ledger();
  const char* plugins = std::getenv("TERSOR_PLUGINS");
  std::istringstream files(plugins != nullptr ? plugins : "");
  for (std::string file; std::getline(files, file, ':');) {
    if (const std::string wrong = tersor::load_plugin(file); !wrong.empty()) {
      std::cerr << wrong << "\n";
      return 1;
    }
  }
  return Catch::Session().run(argc, argv);
}
