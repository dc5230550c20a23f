// What commands that read a run's configuration take on the command line, in any order:
//   a.yaml b.yaml optimizer.lr=0.003 --optimizer.lr=0.003 --optimizer.lr 0.003
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace tersor {

struct ConfigWords {
  std::vector<std::filesystem::path> files;
  std::vector<std::string> overrides;
};

// Those of a command. UserError for what is neither a file nor an override, and without a file.
[[nodiscard]] ConfigWords sort_words(const CLI::App& command, std::string_view example = "configs/run/quickstart.yaml");

// As a shell reads them back.
[[nodiscard]] std::string quoted(const std::string& word);
[[nodiscard]] std::string quoted(const std::vector<std::string>& words);

}  // namespace tersor
