// Methods from outside: a shared library, named in YAML under `plugins`, whose methods register themselves as it is loaded.
// optim/README.md walks through one.
#pragma once

#include "core/base/version.h"
#include "core/config/node.h"

// Once in every plugin: with which version it was built.
#define TERSOR_PLUGIN \
  extern "C" const char* tersor_plugin_version() { return ::tersor::kVersion; }

namespace tersor {

// Loads what the list `plugins` of a run's configuration names; see load_plugin. Paths are relative to the file that holds
// them.
void load_plugins(const ConfigNode& root, Diagnostics& out);

// Loads one shared library for as long as the program runs; again does nothing. Returns what is wrong, if anything.
[[nodiscard]] std::string load_plugin(const std::filesystem::path& file);

}  // namespace tersor
