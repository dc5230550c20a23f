#include "core/data/utf8.h"

#include <nlohmann/json.hpp>

namespace tersor {

// The JSON library checks text when it writes it.
bool is_utf8(const std::string& text) {
  try {
    (void)nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

size_t whole_characters(std::string_view text, size_t bytes) {
  const auto begins = [&](size_t at) { return at >= text.size() || (static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U; };
  constexpr size_t kLongest = 4;  // bytes of a character
  for (size_t end = bytes; end > 0 && end + kLongest > bytes; --end)
    if (begins(end)) return end;
  return bytes;  // not UTF-8
}

}  // namespace tersor
