// The largest of several errors, NaN counting as largest: std::max would skip it.
//
//   double worst = 0;
//   for (…) keep_worst(worst, error);
#pragma once

#include <cmath>

namespace tersor::testing {

inline void keep_worst(double& worst, double error) {
  if (!std::isnan(worst) && !(error <= worst)) worst = error;
}

}  // namespace tersor::testing
