// Plugins: shared libraries, listed in YAML under `plugins`, whose methods register themselves when the library is loaded.
// optim/README.md walks through one.
#pragma once

#include <map>

#include "core/config/node.h"

// The interface that the program or a plugin was built for: the version and a checksum over all headers, from CMake. A plugin whose
// classes differ from the program's would crash it.
#define TERSOR_BUILT_FOR "tersor plugin for " TERSOR_INTERFACE

// Must appear once in every plugin. It is read from the file before any of the plugin's code runs.
#define TERSOR_PLUGIN \
  extern "C" const char tersor_plugin_built_for[]; \
  __attribute__((used, visibility("default"))) const char tersor_plugin_built_for[] = TERSOR_BUILT_FOR;

namespace tersor {

// Loads the libraries listed under `plugins` in a run's configuration; see load_plugin. Paths are relative to the file that
// names them.
void load_plugins(const ConfigNode& root, Diagnostics& out);

// Loads one shared library for as long as the program runs; a second call does nothing. Returns what is wrong, if anything.
[[nodiscard]] std::string load_plugin(const std::filesystem::path& file);

// The paths of the loaded plugins, with the SHA-256 of each file.
[[nodiscard]] const std::map<std::string, std::string>& loaded_plugins();

}  // namespace tersor
