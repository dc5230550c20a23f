// metrics.jsonl of a run, read back: for pages and tables. Runs that go on, were resumed or ended badly have records too.
//
//   const RunRecords records = read_records(run / "metrics.jsonl");
//   number(records.last_eval(), "val/loss");
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace tersor {

// Of a run's folder.
inline constexpr const char* kMetricsFile = "metrics.jsonl";
inline constexpr const char* kOldMetricsFile = "metrics.old.jsonl";  // of a run that was begun anew in the same folder

struct RunRecords {
  using Json = nlohmann::ordered_json;
  // The records of one type, by step: a later record of a step replaces an earlier one.
  using BySteps = std::map<int64_t, Json>;

  Json start = nullptr;   // the first record, which tells of the model; null in an empty file
  Json memory = nullptr;
  Json memory_over_step = nullptr;
  Json end = nullptr;     // null while the run goes on, and after a crash
  BySteps steps;          // besides what is written with `time`, seconds of training over all processes of the run, and `flops`
  BySteps evals;
  Json events = Json::array();
  int64_t unreadable = 0;  // lines, besides a last one that was cut off

  [[nodiscard]] Json last_eval() const { return evals.empty() ? Json::object() : evals.rbegin()->second; }
  [[nodiscard]] Json last_step() const { return steps.empty() ? Json::object() : steps.rbegin()->second; }
};

// UserError when the file cannot be read. Evaluations and events get the tokens, the time and the operations of their step.
[[nodiscard]] RunRecords read_records(const std::filesystem::path& file);

// A number in a record; nothing for null, which is how records write NaN and infinity.
[[nodiscard]] std::optional<double> number(const nlohmann::ordered_json& record, const std::string& key);

// Over all steps written down.
[[nodiscard]] std::optional<double> median(const RunRecords::BySteps& steps, const std::string& key);
[[nodiscard]] std::optional<double> largest(const RunRecords::BySteps& steps, const std::string& key);

}  // namespace tersor
