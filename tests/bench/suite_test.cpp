// Suites: what they refuse, what they run, and that nothing is lost when they are interrupted.
#include "tests/support/catch.h"
#include "tests/support/methods.h"
#include "tests/support/source_dir.h"
#include "tests/support/suites.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::Ended;
using testing::kSmall;
using testing::made_up;
using testing::results_of;
using testing::shell;
using testing::TemporaryFolder;
using testing::write_suite;

TEST_CASE("suite: mistakes are told with their places, and unequal comparisons refused", "[bench]") {
  const TemporaryFolder folder;
  const std::string methods = "methods: [{name: a}, {name: b}]\n";
  const auto refusal = [&](const std::string& more) -> std::string {
    try {
      (void)read_suite(write_suite(folder, more), {});
    } catch (const UserError& e) {
      return e.what();
    }
    return "";
  };
  CHECK_THAT(refusal(methods + "sedes: [1]\n"), Catch::Contains("tiny.yaml:10:1") && Catch::Contains("did you mean 'seeds'"));
  CHECK_THAT(refusal("methods: [{name: a}, {name: b, set: {optimizer.lrr: 1}}]\n"), Catch::Contains("tiny.yaml:9:") && Catch::Contains("'lr'"));
  CHECK_THAT(refusal("methods: [{name: a}, {name: b, set: {train.steps: 13}}]\n"),
             Catch::Contains("train.steps") && Catch::Contains("same tokens"));
  CHECK_THAT(refusal("methods: [{name: a}, {name: a}]\n"), Catch::Contains("give it another `name`"));
  CHECK_THAT(refusal(methods + "baseline: c\n"), Catch::Contains("no method is called 'c'"));
  CHECK_THAT(refusal(methods + "lr_factors: [1, 1]\n"), Catch::Contains("the grid has a value twice"));
  CHECK_THAT(refusal("methods: [{name: a, set: {evaluation.every: never}}]\n"), Catch::Contains("evaluation.every is never"));
  CHECK(refusal(methods).empty());
}

TEST_CASE("suite: the other seeds are run at each method's best point, which they do not move", "[bench]") {
  const TemporaryFolder folder;
  const Suite suite = read_suite(write_suite(folder, "lr_factors: [1, 3, 10]\nseeds: [1, 2]\nmethods: [{name: a}, {name: b, lr: [0.5]}]\n"), {});
  REQUIRE(suite.cells.size() == 8);
  CHECK(num_cells_to_run(suite) == 6);
  Results results(folder / "results.jsonl", folder.path());
  const auto due = [&] {
    std::vector<std::string> names;
    for (const Cell* cell : due_cells(suite, results)) names.push_back(cell->name);
    return names;
  };
  CHECK(due() == std::vector<std::string>{"a-lr0.001-s1", "a-lr0.003-s1", "a-lr0.01-s1", "b-lr0.5-s1"});
  const std::vector<double> losses{2, 1, 3};
  for (size_t i = 0; i < 3; ++i) results.put(made_up(suite.cells[2 * i], losses[i], 100));
  CHECK(due() == std::vector<std::string>{"b-lr0.5-s1", "a-lr0.003-s2"});
  results.put(made_up(suite.cells[3], 9, 100));  // a far worse second seed
  results.put(made_up(suite.cells[6], 6, 200));
  const Results again(folder / "results.jsonl", folder.path());
  const std::vector<MethodSummary> methods = summarize(suite, again);
  CHECK(methods[0].best_point()->cells.front()->name == "a-lr0.003-s1");
  CHECK_FALSE(methods[0].at_edge);
  CHECK(methods[0].on_front);
  CHECK_FALSE(methods[1].on_front);  // more of both
  const std::string table = markdown_table(suite, methods);
  CHECK_THAT(table, Catch::Contains("| a ● | 0.003 | 5.000 ± 5.657 |"));
  CHECK_THAT(table, Catch::Contains("| b | 0.5 | 6.000 | +1.000 |"));
}

TEST_CASE("suite: a second seed may be over before the first", "[bench]") {
  const TemporaryFolder folder;
  const Suite suite = read_suite(write_suite(folder, "seeds: [1, 2]\nseeds_at: every\nmethods: [{name: a}, {name: b}]\n"), {});
  Results results(folder / "results.jsonl", folder.path());
  for (const size_t i : {1, 3}) results.put(made_up(suite.cells[i], 2, 100));
  const std::string table = markdown_table(suite, summarize(suite, results));
  CHECK_THAT(table, Catch::Contains("| a"));
  CHECK(due_cells(suite, results).size() == 2);
}

TEST_CASE("suite: results of before an option was there hold, where it has its default", "[bench]") {
  const TemporaryFolder folder;
  const Suite suite = read_suite(write_suite(folder, "methods: [{name: a, set: {timeline: [{do: {type: rewarm, over: 3}, when: at 3}]}}]\n"), {});
  const Cell& cell = suite.cells.front();
  Results(folder / "results.jsonl", suite.home).put(made_up(cell, 1, 1));
  Json record = Json::parse(read_text(folder / "results.jsonl"));
  record["config"]["optimizer"]["groups"][0].erase("lr_scale");
  record["config"]["timeline"][0]["do"].erase("rate");
  write_whole(folder / "results.jsonl", record.dump() + "\n");
  CHECK(Results(folder / "results.jsonl", suite.home).find(cell) != nullptr);
  record["config"]["optimizer"]["groups"][0]["lr_scale"] = 2;
  write_whole(folder / "results.jsonl", record.dump() + "\n");
  const Results other(folder / "results.jsonl", suite.home);
  CHECK(other.find(cell) == nullptr);
  CHECK(other.find_other(cell) != nullptr);
}

TEST_CASE("suite: results of other options are not replaced unasked", "[bench]") {
  const TemporaryFolder folder;
  const fs::path file = write_suite(folder, "methods: [{name: a}]\n");
  const Suite suite = read_suite(file, {});
  fs::create_directories(suite.folder());
  Results(suite.folder() / "results.jsonl", suite.home).put(made_up(suite.cells.front(), 1, 1));
  const Suite longer = read_suite(file, {"set.train.steps=13"});
  CHECK_THROWS_WITH(SuiteRunner(longer, TERSOR_PROGRAM, false), Catch::Contains("train.steps") && Catch::Contains("--replace"));
  CHECK_NOTHROW(SuiteRunner(longer, TERSOR_PROGRAM, true));
}

TEST_CASE("suite: results hold for one configuration, wherever its folder lies", "[bench]") {
  const TemporaryFolder folder;
  const auto suite_at = [&](const std::string& place, const std::vector<std::string>& overrides) {
    fs::create_directories(folder / place);
    write_whole(folder / place / "s.yaml", std::string(kSmall) + "methods: [{name: a, set: {data.source: {type: shards, path: " +
                                               (folder / place / "tokens").string() + "}}}]\n");
    return read_suite(folder / place / "s.yaml", overrides);
  };
  const Suite here = suite_at("here", {});
  CHECK(here.cells.front().identity["data"]["source"]["path"] == "tokens");
  CHECK(here.cells.front().identity == suite_at("there", {}).cells.front().identity);
  Results results(folder / "results.jsonl", folder.path());
  results.put(made_up(here.cells.front(), 1, 1));
  CHECK(results.find(here.cells.front()) != nullptr);
  CHECK(results.find(suite_at("here", {"set.train.steps=13"}).cells.front()) == nullptr);
  CHECK(results.find(suite_at("here", {"threads=2"}).cells.front()) != nullptr);
}

TEST_CASE("sweep: lists are axes, run.seed the seeds, and each point a row", "[bench]") {
  const TemporaryFolder folder;
  RunConfig config = testing::tiny_config(folder.path());
  write_whole(folder / "run.yaml", to_yaml(fields_to_json(config)));
  const std::vector<std::string> options{"out_dir=" + (folder / "results").string()};
  const Suite suite = read_sweep({folder / "run.yaml"}, {"optimizer.lr=[0.001,0.01]", "run.seed=[4,5]", "train.steps=7"}, options);
  REQUIRE(suite.cells.size() == 4);
  CHECK(num_cells_to_run(suite) == 4);
  CHECK(suite.folder() == folder / "results" / "run");
  CHECK(suite.cells[0].method == "lr 0.001");
  CHECK(suite.cells[3].method == "lr 0.01");
  CHECK(suite.cells[3].seed == 5);
  CHECK(suite.cells[3].config.run.seed == 5);
  CHECK(suite.cells[3].config.optimizer.lr == 0.01);
  CHECK(suite.cells[3].config.total_steps() == 7);
  CHECK_THROWS_WITH(read_sweep({folder / "run.yaml"}, {"train.steps=7"}, options), Catch::Contains("a sweep needs values to try"));
}

TEST_CASE("configs: every suite is whole, and every method file is in the small one", "[bench][conformance]") {
  for (const fs::path& file : testing::shipped("bench")) {
    if (file.stem() == "published") continue;
    INFO(file.string());
    const Suite suite = read_suite(file, {});
    CHECK(suite.config.name == file.stem());
    CHECK(suite.published.empty() == suite.config.protocol.empty());
  }
  const Suite small = read_suite(fs::path(testing::source_dir()) / "configs/bench/cpu_small.yaml", {});
  for (const fs::path& method : testing::shipped("method")) {
    if (method.stem() == "svfit") continue;  // starts from a trained model
    INFO(method.string());
    CHECK(std::any_of(small.cells.begin(), small.cells.end(), [&](const Cell& cell) { return cell.method == method.stem(); }));
  }
}

TEST_CASE("program: the smoke suite gives the table and the page", "[bench]") {
  const TemporaryFolder folder;
  const Ended ended = shell(folder, fmt::format("{} bench {}/configs/bench/smoke.yaml out_dir={}", TERSOR_PROGRAM, testing::source_dir(), folder.path().string()));
  INFO(ended.output);
  REQUIRE(ended.code == kExitDone);
  const auto results = results_of(folder / "smoke/results.jsonl");
  CHECK(results.size() == 12);
  for (const auto& [name, record] : results) {
    INFO(name);
    CHECK(record["status"] == "done");
    // Far better than guessing tokens without context, ln 256; and the planned memory is what was taken.
    CHECK(record["val/loss"].get<double>() < 2);
    CHECK(record["mem/ledger_bytes"].get<double>() == Approx(record["mem/plan_bytes"].get<double>()).epsilon(0.05));
  }
  for (const char* method : {"adamw", "galore", "sltrain"}) CHECK_THAT(read_text(folder / "smoke/table.md"), Catch::Contains(fmt::format("| {} ", method)));
  const std::string page = read_text(folder / "smoke/index.html");
  CHECK(page.find("http://") == std::string::npos);
  CHECK(page.find("https://") == std::string::npos);
  CHECK_THAT(page, Catch::Contains("id=\"pareto\""));
}

TEST_CASE("program: an interrupted suite goes on, a failing run is recorded and stops no other", "[bench]") {
  const TemporaryFolder folder;
  const std::string suite = write_suite(folder, "jobs: 2\nseeds: [1, 2]\nmethods:\n  - {name: a, lr: [0.001, 0.01]}\n"
                                                "  - {name: broken, lr: [1.0e+30], set: {optimizer.clip_norm: ~, schedule: {type: constant, warmup: 0}}}\n").string();
  const std::string bench = fmt::format("{} bench {} set.train.steps=60", TERSOR_PROGRAM, suite);
  // Stopped as soon as there is any result.
  const std::string results = (folder / "results/tiny/results.jsonl").string();
  const Ended stopped = shell(folder, fmt::format("{} & p=$!; for i in $(seq 600); do test -s {} && break; sleep 0.1; done; kill -INT $p; wait $p", bench, results));
  INFO(stopped.output);
  CHECK((stopped.code == kExitStopped || stopped.code == kExitFailed));  // the latter if all ended before the signal
  const auto before = results_of(results);
  REQUIRE_FALSE(before.empty());
  const Ended ended = shell(folder, bench);
  INFO(ended.output);
  CHECK(ended.code == kExitFailed);  // one method has no result
  const auto after = results_of(results);
  CHECK(after.size() == 4);  // two rates, one more seed, and the broken one
  for (const auto& [cell, record] : before) CHECK(after.at(cell) == record);
  const auto found = std::find_if(after.begin(), after.end(), [](const auto& entry) { return entry.second["method"] == "broken"; });
  REQUIRE(found != after.end());
  const Json& broken = found->second;
  CHECK(broken["status"] == "failed");
  CHECK_THAT(broken["log"].dump(), Catch::Contains("infinite or not a number"));
  CHECK_THAT(read_text(folder / "results/tiny/table.md"), Catch::Contains("| broken | 1 runs failed |"));
  CHECK_THAT(read_text(folder / "results/tiny/results.csv"), Catch::Contains("a-lr0.001-s1,a,lr 0.001,0.001,1,done,"));
  // The same run by itself has the same loss.
  const Json& cell = after.at("a-lr0.01-s1");
  const Ended alone = shell(folder, fmt::format("{} train {} run.out_dir={} run.name=alone", TERSOR_PROGRAM,
                                                (folder / "results/tiny/cells/a-lr0.01-s1.yaml").string(), folder.path().string()));
  INFO(alone.output);
  REQUIRE(alone.code == kExitDone);
  CHECK(testing::records(folder / "alone", "eval").rbegin()->second["val/loss"] == cell["val/loss"]);
}

TEST_CASE("program: missing data is said once, before any run", "[bench]") {
  const TemporaryFolder folder;
  const std::string suite = write_suite(folder, "methods: [{name: a}, {name: b}]\n").string();
  const Ended ended = shell(folder, fmt::format("{} bench {} \"set.data={{source: {{type: shards, path: {}/nowhere}}}}\"", TERSOR_PROGRAM, suite, folder.path().string()));
  CHECK(ended.code == kExitRejected);
  CHECK_THAT(ended.output, Catch::Contains("nowhere' does not exist; make it with 'tersor tokenize'"));
  CHECK_FALSE(fs::exists(folder / "results/tiny/results.jsonl"));
}

}  // namespace
}  // namespace tersor
