// How configurations are layered: `extends`, later files, command-line overrides.
#pragma once

#include <optional>

#include "core/config/node.h"

namespace tersor {

// Lays `over` on top of `base`; see node.h for the rules.
void merge(ConfigNode& base, ConfigNode over);

// Splits "optimizer.lr=0.003" or "--optimizer.lr=0.003" into a path and a value; reports anything else and returns nothing.
[[nodiscard]] std::optional<ConfigEntry> parse_override(const std::string& text, Diagnostics& diagnostics);

// Puts `value` into `root` at a path such as "optimizer.groups.0.rule.rank", creating what is missing. Maps merge; everything else
// replaces, as on the command line. Reports list elements that do not exist, at the place where the value was written.
void set_option(ConfigNode& root, const std::string& path, ConfigNode value, Diagnostics& diagnostics);

}  // namespace tersor
