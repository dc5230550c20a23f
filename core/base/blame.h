// Methods may come from outside: what goes wrong in one is told with its name.
//
//   blaming([&] { return fmt::format("action '{}', step {}", name, step); }, [&] { action.run(context); });
#pragma once

#include <c10/util/Exception.h>

#include "core/base/error.h"

namespace tersor {

// Throws the exception that is being handled again, as one that begins with `who`. What speaks for itself stays as it is.
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
    throw told(fmt::format("{} cannot run on tensors without numbers, by which a run is planned: a method may not read numbers (.item()) there; what decides "
                           "when a rule has something to do is a slot of kind kHost", why.substr(0, why.find(": "))));
  } catch (const std::exception& e) {
    throw told(e.what());
  } catch (...) {
    throw told("what it has thrown is no std::exception");
  }
}

// What `work` returns; who did it is only asked for when it throws.
template <class Who, class Work>
decltype(auto) blaming(const Who& who, const Work& work) {
  try {
    return work();
  } catch (...) {
    blame(who());
  }
}

}  // namespace tersor
