// Token shards as the source of a run.
#pragma once

#include <filesystem>

#include "core/data/token_source.h"

namespace tersor::testing {

inline std::unique_ptr<TokenSource> open_shards(const std::filesystem::path& path, int64_t length, int64_t vocab = 60000,
                                                const std::string& split = "train") {
  Diagnostics out;
  Choice<token_sources> choice("shards");
  choice.read(parse_config(to_yaml({{"path", path.string()}}), "test", out), out);
  out.throw_if_any();
  return choice.build(SourceInfo{.sequence_length = length, .vocab_size = vocab, .split = split, .seed = 1});
}

}  // namespace tersor::testing
