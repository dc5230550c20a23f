// Reads documents from .txt (one document, or several separated by lines "<|endoftext|>") and .jsonl (one object per line, its text
// under `text` or another key), each also as .gz or .zst. A compressed .json, as in C4, is read as .jsonl. Extensions may be in
// capitals. Folders are walked in the order of names.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tersor {

struct TextFiles {
  std::vector<std::filesystem::path> files;
  std::vector<std::filesystem::path> left_out;  // files of other kinds in folders, as paths relative to these
};

// Returns all files of the inputs, expanding folders. Throws UserError if an input is missing, a folder without any such file, or a
// file of no known kind.
[[nodiscard]] TextFiles list_text_files(const std::vector<std::filesystem::path>& inputs);

inline constexpr const char* kTextKey = "text";  // in most .jsonl files

// Calls `each` with every document that is not blank. Holds one document in memory at a time.
void for_each_document(const std::vector<std::filesystem::path>& files, const std::function<void(std::string_view text)>& each,
                       const std::string& text_key = kTextKey);

}  // namespace tersor
