// The report page, also of runs that ended badly.
#include "core/report/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/files.h"
#include "tests/support/catch.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// A run's folder, which is removed with the object.
class RunFolder {
 public:
  RunFolder(const std::string& name, const std::string& metrics, const std::string& config = "run: {seed: 1}\n")
      : path_(fs::temp_directory_path() / fmt::format("tersor-report-{}-{}", name, ::getpid())) {
    fs::create_directories(path_);
    write_whole(path_ / "metrics.jsonl", metrics);
    write_whole(path_ / "config.yaml", config);
  }
  ~RunFolder() { fs::remove_all(path_); }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string start(const std::string& name) { return Json{{"type", "start"}, {"step", 0}, {"run", name}}.dump() + "\n"; }

std::string step(int64_t number, const Json& loss, double elapsed = 0) {
  return Json{{"type", "step"}, {"step", number}, {"tokens", number * 10}, {"train/loss", loss}, {"elapsed_seconds", elapsed}}.dump() + "\n";
}

std::string page_of(const fs::path& run) {
  write_report({run}, run / "report.html");
  return read_text(run / "report.html");
}

// The data in a page.
Json data_of(const std::string& page) {
  const std::string opening = "id=\"data\">";
  const size_t begin = page.find(opening) + opening.size();
  return Json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

Json data_of_run(const RunFolder& run) { return data_of(page_of(run.path()))["runs"][0]; }

TEST_CASE("report: operations are six times parameters times tokens, and evaluations get those of their step", "[report]") {
  const RunFolder run("flops", start("flops") + "{\"type\": \"step\", \"step\": 2, \"tokens\": 20, \"model/average_parameters\": 7}\n" +
                                   "{\"type\": \"step\", \"step\": 4, \"tokens\": 40, \"model/average_parameters\": 7}\n" +
                                   "{\"type\": \"eval\", \"step\": 3, \"val/loss\": 1}\n");
  const Json data = data_of_run(run);
  CHECK(data["steps"]["columns"]["flops"] == Json{840, 1680});
  CHECK(data["evals"]["columns"]["flops"] == Json{1260});
}

TEST_CASE("report: a last line that was cut off is ignored, other unreadable lines are counted", "[report]") {
  const RunFolder run("cut", start("cut") + step(1, 3.5) + "{\"type\": \"st}\n" + step(2, 3.25) + step(3, 3).substr(0, 20));
  const Json data = data_of_run(run);
  CHECK(data["steps"]["columns"]["step"] == Json({1, 2}));
  CHECK(data["steps"]["columns"]["train/loss"] == Json({3.5, 3.25}));
  CHECK(data["unreadable_lines"] == 1);
}

TEST_CASE("report: nothing in the data ends the script", "[report]") {
  const std::string name = "</script><script>alert(1)</script>{{data}}";
  const RunFolder run("script", start(name) + step(1, 3), "run: {name: \"<!--</script>\"}\n");
  const std::string page = page_of(run.path());
  CHECK(page.find("</script><script>alert") == std::string::npos);
  CHECK(page.find("<!--</script>") == std::string::npos);
  CHECK(data_of(page)["runs"][0]["name"] == name);
  CHECK(data_of(page)["runs"][0]["config"] == Json::parse(R"([["run.name", "<!--</script>"]])"));
}

TEST_CASE("report: bytes that are not UTF-8 are replaced", "[report]") {
  const RunFolder run("utf8", "{\"type\":\"start\",\"step\":0,\"run\":\"a\xff\"}\n" + step(1, 3), "a: \"b\"\n");
  CHECK(data_of_run(run)["name"] == "a\xef\xbf\xbd");
}

TEST_CASE("report: a page replaces a page, and no other file", "[report]") {
  const RunFolder run("others", "{\"type\":\"start\",\"step\":0}\n" + step(1, 3), "a: 1\n");
  const fs::path records = run.path() / "metrics.jsonl";
  const std::string before = read_text(records);
  CHECK_THROWS_WITH(write_report({run.path()}, records), Catch::Contains("exists and is not an HTML page"));
  CHECK(read_text(records) == before);
  write_report({run.path()}, run.path() / "report.html");
  CHECK_NOTHROW(write_report({run.path()}, run.path() / "report.html"));
}

TEST_CASE("report: a folder without metrics is rejected", "[report]") {
  const fs::path nowhere = fs::temp_directory_path() / "tersor-no-such-run";
  try {
    write_report({nowhere}, nowhere / "report.html");
    FAIL("accepted");
  } catch (const UserError& e) {
    CHECK(e.what() == nowhere.string() + ": no metrics.jsonl; is this the folder of a run?");
  }
  CHECK_FALSE(fs::exists(nowhere));
}

TEST_CASE("report: a long curve is thinned but keeps its ends and its spikes", "[report]") {
  std::string metrics = start("long");
  for (int64_t i = 1; i <= 10000; ++i) metrics += step(i, i == 4321 ? 99.0 : 3.0 + 1.0 / static_cast<double>(i));
  const RunFolder run("long", metrics);
  const Json steps = data_of_run(run)["steps"];
  const Json& numbers = steps["columns"]["step"];
  CHECK(steps["recorded"] == 10000);
  CHECK(numbers.size() <= kMaxCurvePoints);
  CHECK(numbers.front() == 1);
  CHECK(numbers.back() == 10000);
  CHECK(std::find(numbers.begin(), numbers.end(), Json(4321)) != numbers.end());
  CHECK(steps["columns"]["train/loss"].size() == numbers.size());
}

TEST_CASE("report: a curve that is short enough is left whole", "[report]") {
  std::string metrics = start("short");
  for (size_t i = 1; i <= kMaxCurvePoints; ++i) metrics += step(static_cast<int64_t>(i), 3);
  const RunFolder run("short", metrics);
  CHECK(data_of_run(run)["steps"]["columns"]["step"].size() == kMaxCurvePoints);
}

TEST_CASE("report: the later record of a step wins, and time goes on after a resume", "[report]") {
  const std::string resumed = R"({"type":"start","step":2,"run":"again"})";
  const RunFolder run("again", start("again") + step(1, 4, 10) + step(2, 9, 20) + step(2, 3.5, 20) + resumed + "\n" + step(3, nullptr, 5));
  const Json data = data_of_run(run);
  CHECK(data["steps"]["columns"]["train/loss"] == Json({4, 3.5, nullptr}));
  CHECK(data["steps"]["columns"]["time"] == Json({10, 20, 25}));
  CHECK(data["events"] == Json::parse(R"([{"step": 2, "name": "resumed", "detail": "", "tokens": 20, "time": 20, "flops": null}])"));
}

TEST_CASE("report: nested options are written out, and a run that has just begun has a page", "[report]") {
  const RunFolder run("empty", "", "a: {b: [1, 2], c: [{d: ~}, {e: x}]}\n");
  const Json data = data_of_run(run);
  CHECK(data["config"] == Json::parse(R"([["a.b", "[1, 2]"], ["a.c[0].d", "none"], ["a.c[1].e", "x"]])"));
  CHECK(data["name"] == run.path().filename().string());
}

}  // namespace
}  // namespace tersor
