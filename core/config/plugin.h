// Methods from outside: a shared library, named in YAML under `plugins`, whose methods register themselves as it is loaded.
// optim/README.md walks through one.
#pragma once

#include <map>

#include "core/config/node.h"

// What both are built for: the version and a sum over all headers, from CMake. A program that is given another plugin's classes crashes.
#define TERSOR_BUILT_FOR "tersor plugin for " TERSOR_INTERFACE

// Once in every plugin. It is read from the file before any of the plugin's code runs.
#define TERSOR_PLUGIN \
  extern "C" const char tersor_plugin_built_for[]; \
  __attribute__((used, visibility("default"))) const char tersor_plugin_built_for[] = TERSOR_BUILT_FOR;

namespace tersor {

// Loads what the list `plugins` of a run's configuration names; see load_plugin. Paths are relative to the file that holds
// them.
void load_plugins(const ConfigNode& root, Diagnostics& out);

// Loads one shared library for as long as the program runs; again does nothing. Returns what is wrong, if anything.
[[nodiscard]] std::string load_plugin(const std::filesystem::path& file);

// Those that were loaded, with the checksums of what was loaded.
[[nodiscard]] const std::map<std::string, std::string>& loaded_plugins();

}  // namespace tersor
