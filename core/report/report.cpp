#include "core/report/report.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#include "core/base/error.h"
#include "core/base/files.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr char kPage[] = {
#include "core/report/page.inc"
};
constexpr std::string_view kDataMark = "{{data}}";

// The records of one type, by step: a later record of a step replaces an earlier one.
using Records = std::map<int64_t, Json>;

struct RunRecords {
  Json start = nullptr;   // the first record, which tells of the model; null in an empty file
  Json memory = nullptr;
  Json memory_over_step = nullptr;
  Json end = nullptr;     // null while the run goes on, and after a crash
  Records steps;
  Records evals;
  Json events = Json::array();
  int64_t unreadable = 0;  // lines, besides a last one that was cut off
};

// `text` with every byte that is not UTF-8 replaced by U+FFFD.
std::string valid_utf8(const std::string& text) {
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

// Takes the records in the order written. The clock of a process begins at zero, so that after a resume the time goes
// on from where the last step left it.
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
  return reader.take();
}

// A number in a record; nothing for null, which is how records write NaN and infinity.
std::optional<double> number(const Json& record, const std::string& key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
}

// Which of `rows` to draw: the first, the last, and from each of equal stretches those where one of `keys` is largest or
// smallest, so that no spike is lost.
std::vector<const Json*> thin(const std::vector<const Json*>& rows, const std::vector<std::string>& keys) {
  if (rows.size() <= kMaxCurvePoints) return rows;
  std::set<size_t> kept = {0, rows.size() - 1};
  const size_t stretches = (kMaxCurvePoints - 2) / (2 * keys.size());
  for (size_t s = 0; s < stretches; ++s) {
    for (const std::string& key : keys) {
      const size_t begin = s * rows.size() / stretches;
      std::pair<double, size_t> low(INFINITY, begin), high(-INFINITY, begin);
      for (size_t i = begin; i < (s + 1) * rows.size() / stretches; ++i) {
        const std::optional<double> value = number(*rows[i], key);
        if (!value) continue;
        low = std::min(low, {*value, i});
        high = std::max(high, {*value, i});
      }
      kept.insert({low.second, high.second});
    }
  }
  std::vector<const Json*> chosen;
  for (const size_t i : kept) chosen.push_back(rows[i]);
  return chosen;
}

// Seven digits are more than a curve shows, and half the size of the page.
Json rounded(const std::optional<double>& value) {
  return value ? Json(std::stod(fmt::format("{:.7g}", *value))) : Json(nullptr);
}

// One array a key: {"step": […], "train/loss": […], …}.
Json columns(const Records& records, const std::vector<std::string>& keys) {
  static const std::set<std::string> left_out = {"type", "skipped", "elapsed_seconds", "eta_seconds"};
  std::vector<const Json*> rows;
  Json table = {{"recorded", records.size()}};
  for (const auto& [step, record] : records) {
    rows.push_back(&record);
    for (const auto& [key, value] : record.items())
      if ((value.is_number() || value.is_null()) && !left_out.contains(key)) table["columns"][key] = Json::array();
  }
  rows = thin(rows, keys);
  if (!table.contains("columns")) table["columns"] = Json::object();
  for (auto& [key, column] : table["columns"].items())
    for (const Json* row : rows) column.push_back(key == "step" ? (*row)[key] : rounded(number(*row, key)));
  return table;
}

// `key` at `step`, between the steps written down.
std::optional<double> interpolated(const Records& steps, int64_t step, const std::string& key) {
  const auto after = steps.lower_bound(step);
  if (steps.empty()) return std::nullopt;
  if (after == steps.end()) return number(steps.rbegin()->second, key);
  if (after == steps.begin()) return step == 0 ? 0.0 : number(after->second, key);
  const auto before = std::prev(after);
  const std::optional<double> low = number(before->second, key), high = number(after->second, key);
  if (!low || !high) return low ? low : high;
  return *low + (*high - *low) * static_cast<double>(step - before->first) / static_cast<double>(after->first - before->first);
}

// Evaluations and events have no clock of their own.
void add_places(RunRecords& records) {
  const auto place = [&](Json& record, int64_t step) {
    for (const char* key : {"tokens", "time"})
      if (!record.contains(key)) record[key] = rounded(interpolated(records.steps, step, key));
  };
  for (auto& [step, record] : records.evals) place(record, step);
  for (Json& event : records.events) place(event, event["step"].get<int64_t>());
}

// Taken from all steps, not from those that are drawn.
Json totals(const Records& steps) {
  std::vector<double> speeds;
  std::optional<double> peak;
  for (const auto& [step, record] : steps) {
    if (const auto speed = number(record, "tokens_per_second")) speeds.push_back(*speed);
    if (const auto bytes = number(record, "mem/peak_bytes")) peak = std::max(*bytes, peak.value_or(0));
  }
  const auto middle = speeds.begin() + static_cast<std::ptrdiff_t>(speeds.size() / 2);
  std::nth_element(speeds.begin(), middle, speeds.end());
  return {{"tokens_per_second", speeds.empty() ? Json(nullptr) : rounded(*middle)}, {"peak_bytes", rounded(peak)}};
}

std::string one_line(const YAML::Node& node) {
  if (node.IsNull() || !node.IsDefined()) return "none";
  if (node.IsScalar()) return node.Scalar();
  YAML::Emitter out;
  out << YAML::Flow << node;
  return out.c_str();
}

// [["optimizer.groups[0].rule.type", "adamw"], …] in the order written.
void flatten(const YAML::Node& node, const std::string& path, Json& rows) {
  const bool nested = node.IsSequence() && std::any_of(node.begin(), node.end(), [](const YAML::Node& n) { return n.IsMap(); });
  if (node.IsMap() && node.size() > 0) {
    for (const auto& entry : node) flatten(entry.second, path + (path.empty() ? "" : ".") + one_line(entry.first), rows);
  } else if (nested) {
    for (size_t i = 0; i < node.size(); ++i) flatten(node[i], fmt::format("{}[{}]", path, i), rows);
  } else if (!path.empty()) {
    rows.push_back({path, one_line(node)});
  }
}

Json read_config(const fs::path& file) {
  Json rows = Json::array();
  if (!fs::exists(file)) return rows;
  try {
    flatten(YAML::Load(read_text(file)), "", rows);
  } catch (const YAML::Exception& e) {
    throw user_error("{}:{}:{}: {}", file.string(), e.mark.line + 1, e.mark.column + 1, e.msg);
  }
  return rows;
}

Json read_run(const fs::path& folder) {
  if (!fs::is_regular_file(folder / "metrics.jsonl"))
    throw user_error("{}: no metrics.jsonl; is this the folder of a run?", folder.string());
  RunRecords records = read_records(folder / "metrics.jsonl");
  add_places(records);
  const bool named = records.start.is_object() && records.start.contains("run") && records.start["run"].is_string();
  const fs::path whole = fs::weakly_canonical(folder);
  return {{"name", named ? records.start["run"].get<std::string>() : whole.filename().string()},
          {"folder", folder.string()},
          {"config", read_config(folder / "config.yaml")},
          {"start", records.start},
          {"memory", records.memory},
          {"memory_over_step", records.memory_over_step},
          {"end", records.end},
          {"unreadable_lines", records.unreadable},
          {"totals", totals(records.steps)},
          {"steps", columns(records.steps, {"train/loss", "grad_norm", "tokens_per_second"})},
          {"evals", columns(records.evals, {"val/loss"})},
          {"events", records.events}};
}

// JSON that may stand inside a <script> element: nothing in it ends the element.
std::string script_text(const Json& data) {
  std::string text;
  for (const char c : data.dump(-1, ' ', false, Json::error_handler_t::replace))
    text += c == '<' ? "\\u003c" : std::string(1, c);
  return text;
}

}  // namespace

void write_report(const std::vector<fs::path>& runs, const fs::path& page) {
  Json data = {{"max_points", kMaxCurvePoints}, {"runs", Json::array()}};
  for (const fs::path& run : runs) data["runs"].push_back(read_run(run));
  std::string text(kPage, sizeof(kPage));
  const size_t mark = text.find(kDataMark);
  TERSOR_CHECK(mark != std::string::npos, "page.html has no {}", kDataMark);
  text.replace(mark, kDataMark.size(), script_text(data));
  if (page.has_parent_path()) fs::create_directories(page.parent_path());
  write_whole(page, text);
}

}  // namespace tersor
