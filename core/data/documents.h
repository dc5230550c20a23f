// Documents from files: .txt (a file is a document, or several parted by lines "<|endoftext|>"), .jsonl (one object with
// `text`, or another key, a line), each also as .gz or .zst; .json.gz as C4 has it is .jsonl.gz. Capitals in these endings are
// as good. Folders are walked in the order of names.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tersor {

struct TextFiles {
  std::vector<std::filesystem::path> files;
  std::vector<std::filesystem::path> left_out;  // of other kinds, in folders; their places within these
};

// Every file of the inputs, folders opened up. UserError for what is missing or, named itself, of no known kind.
[[nodiscard]] TextFiles list_text_files(const std::vector<std::filesystem::path>& inputs);

inline constexpr const char* kTextKey = "text";  // of most .jsonl that there is

// Calls `each` with every document that is not blank. One file's largest document is in memory at a time.
void for_each_document(const std::vector<std::filesystem::path>& files, const std::function<void(std::string_view text)>& each,
                       const std::string& text_key = kTextKey);

}  // namespace tersor
