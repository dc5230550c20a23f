// What the bytes of a text are, where it matters that they are UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace tersor {

[[nodiscard]] bool is_utf8(const std::string& text);

// Of text in UTF-8 at most so many bytes that no character is cut.
[[nodiscard]] size_t whole_characters(std::string_view text, size_t bytes);

}  // namespace tersor
