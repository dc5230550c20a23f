// For text that must be UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace tersor {

[[nodiscard]] bool is_utf8(const std::string& text);

// Returns how many bytes of UTF-8 text to take, at most `bytes`, so that no character is cut.
[[nodiscard]] size_t whole_characters(std::string_view text, size_t bytes);

}  // namespace tersor
