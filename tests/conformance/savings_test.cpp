// Every option that makes runs smaller works with every method, and the README says by how much.
#include "core/train/savings.h"

#include "tests/support/catch.h"
#include "tests/support/methods.h"
#include "tests/support/source_dir.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

// "optimizer.groups.0.state=int8" and "optimizer.groups.1.state=int8" are one column, "state=int8".
std::string column_of(const Saving& saving) {
  const std::string& word = saving.overrides.front();
  return word.starts_with("optimizer.groups.") ? word.substr(word.find('.', std::string("optimizer.groups.").size()) + 1)
                                               : word.substr(word.find('.') + 1);
}

TEST_CASE("savings: all that apply to a method train with it", "[conformance]") {
  for (const fs::path& file : testing::shipped("method")) {
    const auto read = [&](const TemporaryFolder& folder, const std::vector<std::string>& more) {
      std::vector<std::string> words{"train.steps=2", "train.loss_chunk=512", "timeline=[]", "evaluation.every=never", "checkpoint.every=never"};
      words.insert(words.end(), more.begin(), more.end());
      return testing::tiny_method(folder, file, words);
    };
    const TemporaryFolder folder;
    std::vector<std::string> everything;
    for (const Saving& saving : savings([&](const auto& more) { return read(folder, more); })) {
      INFO(file.stem().string() << " " << fmt::format("{}", fmt::join(saving.overrides, " ")));
      const TemporaryFolder own;
      CHECK(testing::train(read(own, saving.overrides)) == kExitDone);
      everything.insert(everything.end(), saving.overrides.begin(), saving.overrides.end());
    }
    INFO(file.stem().string() << " " << fmt::format("{}", fmt::join(everything, " ")));
    CHECK(testing::train(read(folder, everything)) == kExitDone);
  }
}

// One row per method file, one column per saving: by how much the planned peak of a step falls.
std::string savings_table() {
  const std::vector<std::string> columns{"recompute=attention", "recompute=mlp",  "recompute=block", "loss_chunk=256", "update=during_backward",
                                         "dtype=bf16",          "state=int8",     "projector=int4",  "method=int8"};
  std::string table = "| method | peak, MiB |";
  for (const std::string& column : columns) table += fmt::format(" {} |", column);
  table += "\n|---|---|" + [&] { std::string rule; for (size_t i = 0; i < columns.size(); ++i) rule += "---|"; return rule; }() + "\n";
  for (const fs::path& file : testing::shipped("method")) {
    const TemporaryFolder folder;
    const auto source = fs::path(testing::source_dir()) / "configs";
    const RunConfig base = read_run_config({source / "model/llama_130m.yaml", source / "data/synthetic.yaml"},
                                           {"data.sequence_length=256", "train={global_batch_size: 8, micro_batch_size: 8, steps: 1000}"});
    const ReadConfig read = [&](const std::vector<std::string>& more) {
      std::vector<std::string> words{"timeline=[]"};
      words.insert(words.end(), more.begin(), more.end());
      return testing::method_config(folder, base, file, words);
    };
    const auto peak = static_cast<double>(plan_run(read({})).largest().memory.peak());
    std::map<std::string, double> saved;
    for (const Saving& saving : savings(read)) saved[column_of(saving)] = 1 - static_cast<double>(saving.peak) / peak;
    table += fmt::format("| {} | {:.0f} |", file.stem().string(), peak / (1 << 20));
    for (const std::string& column : columns)
      table += saved.contains(column) ? fmt::format(" −{:.0f} % |", 100 * saved.at(column)) : std::string(" |");
    table += "\n";
  }
  return table;
}

TEST_CASE("savings: the README's table is what is planned", "[conformance]") {
  const std::string table = savings_table();
  const bool there = read_text(fs::path(testing::source_dir()) / "README.md").find(table) != std::string::npos;
  if (!there) fmt::print("{}", table);  // printed separately, since Catch breaks lines
  INFO("README.md, 'Will it fit?': put in the table above");
  CHECK(there);
}

}  // namespace
}  // namespace tersor
