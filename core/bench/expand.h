// From the declarations of a suite to its cells.
#pragma once

#include "core/bench/suite.h"

namespace tersor {

// The cells of one method. Throws UserError with all that is wrong with its configuration.
[[nodiscard]] std::vector<Cell> expand_method(const Suite& suite, const SuiteMethod& method);

}  // namespace tersor
