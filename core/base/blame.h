// Methods may come from plugins, so an exception from one is reported with its name.
//
//   blaming([&] { return fmt::format("action '{}', step {}", name, step); }, [&] { action.run(context); });
#pragma once

#include <c10/util/Exception.h>

#include "core/base/error.h"

namespace tersor {

// Rethrows the exception being handled with `who` in front of its message; types that need no context are rethrown unchanged.
[[noreturn]] inline void blame(const std::string& who) {
  const auto told = [&](std::string_view what) { return std::runtime_error(fmt::format("{}: {}", who, what)); };
  try {
    throw;
  } catch (const UserError&) {
    throw;
  } catch (const InternalError&) {
    throw;
  } catch (const LostProcess&) {
    throw;
  } catch (const c10::OutOfMemoryError&) {
    throw;
  } catch (const c10::Error& e) {
    const std::string why = e.what_without_backtrace();
    if (why.find("'Meta' backend") == std::string::npos && why.find("meta tensor") == std::string::npos) throw told(why);
    throw told(fmt::format("{} cannot run on meta tensors (tensors without data), on which runs are planned: a method may not read values (.item()) there; "
                           "whatever decides when a rule acts belongs in a slot of kind kHost", why.substr(0, why.find(": "))));
  } catch (const std::exception& e) {
    throw told(e.what());
  } catch (...) {
    throw told("it threw something that is not a std::exception");
  }
}

// Returns what `work` returns. `who` is called only if `work` throws.
template <class Who, class Work>
decltype(auto) blaming(const Who& who, const Work& work) {
  try {
    return work();
  } catch (...) {
    blame(who());
  }
}

}  // namespace tersor
