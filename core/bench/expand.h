// Expands the declarations of a suite into its cells.
#pragma once

#include "core/bench/suite.h"

namespace tersor {

// The cells of one method. Throws UserError with everything that is wrong with its configuration.
[[nodiscard]] std::vector<Cell> expand_method(const Suite& suite, const SuiteMethod& method);

}  // namespace tersor
