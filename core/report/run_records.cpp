#include "core/report/run_records.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "core/base/files.h"
#include "core/base/progress.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// `text` with every byte that is not UTF-8 replaced by U+FFFD.
std::string valid_utf8(const std::string& text) {
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

// Takes the records in the order written. Each process's clock begins at zero, so after a resume the time continues from
// that of the last step.
class RecordReader {
 public:
  void add(const Json& record) {
    const std::string type = text_of(record, "type");
    const int64_t step = record.contains("step") && record["step"].is_number() ? record["step"].get<int64_t>() : 0;
    if (type == "start") {
      add_start(record, step);
    } else if (type == "step") {
      add_step(record, step);
    } else if (type == "eval") {
      records_.evals[step] = record;
    } else if (type == "event") {
      add_event(step, text_of(record, "name"), text_of(record, "detail"));
    } else if (type == "memory") {
      records_.memory = record;
    } else if (type == "memory_over_step") {
      records_.memory_over_step = record;
    } else if (type == "end") {
      records_.end = record;
    }
  }
  void add_unreadable() { ++records_.unreadable; }
  [[nodiscard]] RunRecords take() { return std::move(records_); }

 private:
  static std::string text_of(const Json& record, const char* key) {
    const auto found = record.find(key);
    return found != record.end() && found->is_string() ? found->get<std::string>() : "";
  }

  void add_start(const Json& record, int64_t step) {
    records_.start = record;
    records_.end = nullptr;
    time_before_ = time_;
    if (step > 0) add_event(step, "resumed", "");
  }
  void add_step(const Json& record, int64_t step) {
    Json& kept = records_.steps[step] = record;
    const auto elapsed = record.find("elapsed_seconds");
    if (elapsed != record.end() && elapsed->is_number()) time_ = time_before_ + elapsed->get<double>();
    kept["time"] = time_;
    const auto parameters = number(record, "model/average_parameters"), tokens = number(record, "tokens");
    if (parameters && tokens) kept["flops"] = training_flops(*parameters, *tokens);
    if (kept.contains("skipped")) add_event(step, "skipped", "a gradient was not finite");
  }
  void add_event(int64_t step, const std::string& name, const std::string& detail) {
    Json event = {{"step", step}, {"name", name}, {"detail", detail}};
    if (seen_.insert(event.dump()).second) records_.events.push_back(std::move(event));
  }

  RunRecords records_;
  std::set<std::string> seen_;  // events, some of which a resumed run repeats
  double time_ = 0;
  double time_before_ = 0;
};

// `key` at `step`, interpolated between the recorded steps.
std::optional<double> interpolated(const RunRecords::BySteps& steps, int64_t step, const std::string& key) {
  const auto after = steps.lower_bound(step);
  if (steps.empty()) return std::nullopt;
  if (after == steps.end()) return number(steps.rbegin()->second, key);
  if (after == steps.begin()) return step == 0 ? 0.0 : number(after->second, key);
  const auto before = std::prev(after);
  const std::optional<double> low = number(before->second, key), high = number(after->second, key);
  if (!low || !high) return low ? low : high;
  return *low + (*high - *low) * static_cast<double>(step - before->first) / static_cast<double>(after->first - before->first);
}

Json optional(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

// Evaluations and events have no clock of their own.
void add_places(RunRecords& records) {
  const auto place = [&](Json& record, int64_t step) {
    for (const char* key : {"tokens", "time", "flops"})
      if (!record.contains(key)) record[key] = optional(interpolated(records.steps, step, key));
  };
  for (auto& [step, record] : records.evals) place(record, step);
  for (Json& event : records.events) place(event, event["step"].get<int64_t>());
}

}  // namespace

std::optional<double> number(const Json& record, const std::string& key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
}

RunRecords read_records(const fs::path& file) {
  std::istringstream lines(read_text(file));
  RecordReader reader;
  for (std::string line; std::getline(lines, line);) {
    Json record = Json::parse(line, nullptr, false);
    if (record.is_discarded()) record = Json::parse(valid_utf8(line), nullptr, false);
    if (record.is_object()) {
      reader.add(record);
    } else if (!lines.eof() && !line.empty()) {
      reader.add_unreadable();
    }
  }
  RunRecords records = reader.take();
  add_places(records);
  return records;
}

std::optional<double> median(const RunRecords::BySteps& steps, const std::string& key) {
  std::vector<double> values;
  for (const auto& [step, record] : steps)
    if (const auto value = number(record, key)) values.push_back(*value);
  if (values.empty()) return std::nullopt;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::optional<double> largest(const RunRecords::BySteps& steps, const std::string& key) {
  std::optional<double> most;
  for (const auto& [step, record] : steps)
    if (const auto value = number(record, key)) most = std::max(*value, most.value_or(*value));
  return most;
}

}  // namespace tersor
