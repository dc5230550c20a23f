// The arguments of commands that read a run's configuration, in any order:
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

// Sorts a command's arguments. Throws UserError if one is neither a file nor an override, or if there is no file.
[[nodiscard]] ConfigWords sort_words(const CLI::App& command, std::string_view example = "configs/run/quickstart.yaml");

// Adds --plugin, for commands that take no configuration with `plugins`: the libraries are loaded before the command runs.
void add_plugin_option(CLI::App* command);

// Quoted for a shell.
[[nodiscard]] std::string quoted(const std::string& word);
[[nodiscard]] std::string quoted(const std::vector<std::string>& words);

}  // namespace tersor
