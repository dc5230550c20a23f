#include "core/cli/failure.h"

#include <c10/util/Exception.h>

#include "core/base/error.h"

namespace tersor {

Failure failure_of(const std::exception& thrown) {
  if (dynamic_cast<const UserError*>(&thrown) != nullptr) return {thrown.what(), kExitRejected};
  if (dynamic_cast<const InternalError*>(&thrown) != nullptr) return {fmt::format("internal error: {}", thrown.what()), kExitInternal};
  if (const auto* error = dynamic_cast<const c10::Error*>(&thrown)) return {error->what_without_backtrace(), kExitFailed};
  return {thrown.what(), kExitFailed};
}

}  // namespace tersor
