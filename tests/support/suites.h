// Suites of very short runs, and their records.
#pragma once

#include "core/bench/outputs.h"
#include "core/bench/runner.h"
#include "tests/support/shell.h"
#include "tests/support/tiny_run.h"

namespace tersor::testing {

inline constexpr const char* kSmall =
    "set:\n"
    "  data: {source: {type: synthetic, seed: 7}, sequence_length: 16}\n"
    "  model: {vocab_size: 64, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 1, num_attention_heads: 4}\n"
    "  train: {steps: 12, global_batch_size: 4, micro_batch_size: 4}\n"
    "  evaluation: {every: every 6, tokens: 256}\n"
    "  checkpoint: {every: every 6, keep: 1}\n"
    "  log: {every: 2, tensorboard: false}\n";

// Writes a suite's file into the folder; its results go beside it.
inline std::filesystem::path write_suite(const TemporaryFolder& folder, const std::string& more) {
  write_whole(folder / "tiny.yaml", fmt::format("out_dir: results\n{}{}", kSmall, more));
  return folder / "tiny.yaml";
}

inline std::map<std::string, Json> results_of(const std::filesystem::path& file) {
  std::map<std::string, Json> all;
  std::istringstream lines(read_text(file));
  for (std::string line; std::getline(lines, line);) {
    const Json record = Json::parse(line);
    all[record["cell"].get<std::string>()] = record;
  }
  return all;
}

// A record of a run that never took place.
inline CellRecord made_up(const Cell& cell, double loss, int64_t bytes) {
  CellRecord record{.cell = cell.name, .method = cell.method, .point = cell.point, .seed = cell.seed, .status = "done"};
  record.loss = loss;
  record.ppl = std::exp(loss);
  record.planned_bytes = bytes;
  record.config = cell.identity;
  return record;
}

}  // namespace tersor::testing
