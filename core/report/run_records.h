// Reads a run's metrics.jsonl back, for pages and tables; also of runs that are in progress, were resumed or ended badly.
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

// Files in a run's folder.
inline constexpr const char* kMetricsFile = "metrics.jsonl";
inline constexpr const char* kOldMetricsFile = "metrics.old.jsonl";  // of an earlier run that was begun anew in the folder

struct RunRecords {
  using Json = nlohmann::ordered_json;
  // The records of one type, by step: a later record of a step replaces an earlier one.
  using BySteps = std::map<int64_t, Json>;

  Json start = nullptr;   // the latest start record, which describes the model; null in an empty file
  Json memory = nullptr;
  Json memory_over_step = nullptr;
  Json end = nullptr;     // null while the run is in progress, and after a crash
  BySteps steps;          // as written, plus `flops` and `time`: seconds of training, summed over resumes
  BySteps evals;
  Json events = Json::array();
  int64_t unreadable = 0;  // lines, except a last one that was cut off

  [[nodiscard]] Json last_eval() const { return evals.empty() ? Json::object() : evals.rbegin()->second; }
  [[nodiscard]] Json last_step() const { return steps.empty() ? Json::object() : steps.rbegin()->second; }
};

// Throws UserError if the file cannot be read. Evaluations and events get the `tokens`, `time` and `flops` of their step.
[[nodiscard]] RunRecords read_records(const std::filesystem::path& file);

// A number in a record; nullopt for null, which is how records write NaN and infinity.
[[nodiscard]] std::optional<double> number(const nlohmann::ordered_json& record, const std::string& key);

// Over all recorded steps.
[[nodiscard]] std::optional<double> median(const RunRecords::BySteps& steps, const std::string& key);
[[nodiscard]] std::optional<double> largest(const RunRecords::BySteps& steps, const std::string& key);

}  // namespace tersor
