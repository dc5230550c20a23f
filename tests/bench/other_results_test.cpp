// Suites whose results do not belong together, and runs that were killed.
#include "core/data/token_file.h"
#include "tests/support/catch.h"
#include "tests/support/suites.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::Ended;
using testing::made_up;
using testing::results_of;
using testing::shell;
using testing::TemporaryFolder;
using testing::write_suite;

TEST_CASE("program: results of other tokens are no neighbours, and nothing is started that is planned to take more than it may", "[bench]") {
  const TemporaryFolder folder;
  const auto write_tokens = [&](int64_t count) {
    for (const char* split : {"train", "val"}) {
      TokenFileWriter shard(folder / fmt::format("tokens/some_{}_0.bin", split), 64);
      for (int32_t i = 0; i < count; ++i) shard.append(std::vector<int32_t>{i * 7 % 64});
      shard.close();
    }
  };
  fs::create_directories(folder / "tokens");
  write_tokens(2000);
  const std::string suite = write_suite(folder, "seeds: [1]\nkeep_checkpoints: true\nmethods: [{name: a}]\n").string();
  const std::string bench = fmt::format("{} bench {} \"set.data.source={{type: shards, path: {}/tokens}}\"", TERSOR_PROGRAM, suite, folder.path().string());
  const Ended large = shell(folder, bench + " memory=1MiB");
  CHECK(large.code == kExitRejected);
  CHECK_THAT(large.output, Catch::Contains("a-lr0.001-s1 takes") && Catch::Contains("may take 1.00 MiB"));
  REQUIRE(shell(folder, bench).code == kExitDone);
  const std::string results = (folder / "results/tiny/results.jsonl").string();
  const Json first = results_of(results).at("a-lr0.001-s1");
  CHECK(shell(folder, bench).code == kExitDone);  // nothing is left to do
  write_tokens(1500);
  const Ended other = shell(folder, bench + " seeds=[1,2]");
  CHECK(other.code == kExitRejected);
  CHECK_THAT(other.output, Catch::Contains("on other tokens") && Catch::Contains("--replace"));
  write_whole(results, read_text(results) + "{\"cell\":\"a-lr");  // cut off while being written
  REQUIRE(shell(folder, bench + " seeds=[1,2] --replace").code == kExitDone);
  for (const auto& [cell, record] : results_of(results)) CHECK(record["data/sha256"] != first["data/sha256"]);
  CHECK(results_of(results).at("a-lr0.001-s1")["val/loss"] != first["val/loss"]);  // trained anew despite a checkpoint
  CHECK(results_of(results).size() == 2);
}

TEST_CASE("suite: a run that was killed is told, and so is that it chose nothing", "[bench]") {
  const TemporaryFolder folder;
  const Suite suite = read_suite(write_suite(folder, "seeds: [1]\nlr_factors: [1, 3]\nmethods: [{name: 'a|b'}]\n"), {});
  Results results(folder / "results.jsonl", folder.path());
  results.put(made_up(suite.cells[0], 2, 100));
  CellRecord killed = made_up(suite.cells[1], 1, 100);
  killed.status = "failed";
  killed.killed = true;
  killed.log = {"error: no space", "there is no checkpoint yet"};
  results.put(killed);
  const std::string table = markdown_table(suite, summarize(suite, Results(folder / "results.jsonl", folder.path())));
  CHECK_THAT(table, Catch::Contains(fmt::format("a|b: {} (killed) has failed", suite.cells[1].name)));
  CHECK_THAT(table, Catch::Contains("| a\\|b "));
}

TEST_CASE("program: a run that is killed is recorded as such, and the suite has failed", "[bench]") {
  const TemporaryFolder folder;
  const std::string suite = write_suite(folder, "seeds: [1]\njobs: 1\nlr_factors: [1, 3]\nmethods: [{name: a}]\n").string();
  const Ended ended = shell(folder, fmt::format("{} bench {} set.train.steps=60 & p=$!; for i in $(seq 600); do c=$(cat /proc/$p/task/$p/children); test -n \"$c\" && break; sleep 0.05; done; "
                                                "kill -9 $c; wait $p", TERSOR_PROGRAM, suite));
  INFO(ended.output);
  CHECK(ended.code == kExitFailed);
  CHECK_THAT(ended.output, Catch::Contains("it was ended by signal 9"));
  const auto all = results_of(folder / "results/tiny/results.jsonl");
  CHECK(all.at("a-lr0.001-s1").value("killed", false));
  CHECK(all.at("a-lr0.003-s1")["status"] == "done");
}

}  // namespace
}  // namespace tersor
