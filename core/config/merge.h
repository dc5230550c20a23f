// How configuration files are laid over each other: `extends`, later files, command-line overrides.
#pragma once

#include <optional>

#include "core/config/node.h"

namespace tersor {

// Lays `over` on top of `base`; see node.h for the rules.
void merge(ConfigNode& base, ConfigNode over);

// "optimizer.lr=0.003" or "--optimizer.lr=0.003" as a path and a value; nothing, and a report, when it is neither.
[[nodiscard]] std::optional<ConfigEntry> parse_override(const std::string& text, Diagnostics& diagnostics);

// Puts `value` at a path such as "optimizer.groups.0.rule.rank" of `root`; what is not there yet is made. Maps merge, and all else
// replaces, as on the command line. Reports elements of lists that do not exist, at the place where the value was written.
void set_option(ConfigNode& root, const std::string& path, ConfigNode value, Diagnostics& diagnostics);

}  // namespace tersor
