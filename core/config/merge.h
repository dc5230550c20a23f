// How configuration files are laid over each other: `extends`, later files, command-line overrides.
#pragma once

#include "core/config/node.h"

namespace tersor {

// Lays `over` on top of `base`; see node.h for the rules.
void merge(ConfigNode& base, ConfigNode over);

}  // namespace tersor
