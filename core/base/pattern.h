// Patterns of parameter names: * matches any text, ? one character.
#pragma once

#include <string_view>

namespace tersor {

[[nodiscard]] constexpr bool fits_pattern(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() == '*')
    return fits_pattern(pattern.substr(1), name) || (!name.empty() && fits_pattern(pattern, name.substr(1)));
  if (name.empty() || (pattern.front() != '?' && pattern.front() != name.front())) return false;
  return fits_pattern(pattern.substr(1), name.substr(1));
}

}  // namespace tersor
