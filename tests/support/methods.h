// The files of configs/method, on top of a configuration.
#pragma once

#include "tests/support/source_dir.h"
#include "tests/support/tiny_run.h"

namespace tersor::testing {

inline std::vector<std::filesystem::path> shipped(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(testing::source_dir()) / "configs" / folder))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

// `base` with a method's file on top, and overrides on top of that. Writes into the folder.
inline RunConfig method_config(const TemporaryFolder& folder, RunConfig base, const std::filesystem::path& method,
                               const std::vector<std::string>& words = {}) {
  Json json = fields_to_json(base);
  json.erase("optimizer");
  json.erase("parameterization");
  write_whole(folder / "base.yaml", to_yaml(json));
  return read_run_config({folder / "base.yaml", method}, words);
}

// tiny_config with a method.
inline RunConfig tiny_method(const TemporaryFolder& folder, const std::filesystem::path& method, const std::vector<std::string>& words = {}) {
  return method_config(folder, tiny_config(folder.path()), method, words);
}

}  // namespace tersor::testing
