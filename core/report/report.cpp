#include "core/report/report.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <utility>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/report/run_records.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr char kPage[] = {
#include "core/report/page.inc"
};
constexpr char kBenchSection[] = {
#include "core/report/bench_section.inc"
};
constexpr char kBenchScript[] = {
#include "core/report/bench_script.inc"
};

// The rows to draw: the first, the last, and from each of several equal stretches those where one of `keys` is largest or
// smallest, so that no spike is lost.
std::vector<const Json*> thin(const std::vector<const Json*>& rows, const std::vector<std::string>& keys, size_t most) {
  if (rows.size() <= most) return rows;
  std::set<size_t> kept = {0, rows.size() - 1};
  const size_t stretches = (most - 2) / (2 * keys.size());
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

// Seven digits are more than a curve shows, and halve the size of the page.
Json rounded(const std::optional<double>& value) {
  return value ? Json(std::stod(fmt::format("{:.7g}", *value))) : Json(nullptr);
}

// One array per key: {"step": […], "train/loss": […], …}.
Json columns(const RunRecords::BySteps& records, const std::vector<std::string>& keys, size_t most) {
  static const std::set<std::string> left_out = {"type", "skipped", "elapsed_seconds", "eta_seconds"};
  std::vector<const Json*> rows;
  Json table = {{"recorded", records.size()}};
  for (const auto& [step, record] : records) {
    rows.push_back(&record);
    for (const auto& [key, value] : record.items())
      if ((value.is_number() || value.is_null()) && !left_out.contains(key)) table["columns"][key] = Json::array();
  }
  rows = thin(rows, keys, most);
  if (!table.contains("columns")) table["columns"] = Json::object();
  for (auto& [key, column] : table["columns"].items())
    for (const Json* row : rows) column.push_back(key == "step" ? (*row)[key] : rounded(number(*row, key)));
  return table;
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

Json read_run(const fs::path& folder, size_t most) {
  if (!fs::is_regular_file(folder / kMetricsFile))
    throw user_error("{}: no metrics.jsonl; is this the folder of a run?", folder.string());
  const RunRecords records = read_records(folder / kMetricsFile);
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
          {"totals", {{"tokens_per_second", rounded(median(records.steps, "tokens_per_second"))}, {"peak_bytes", rounded(largest(records.steps, "mem/peak_bytes"))}}},
          {"steps", columns(records.steps, {"train/loss", "grad_norm", "tokens_per_second"}, most)},
          {"evals", columns(records.evals, {"val/loss"}, most)},
          {"events", records.events}};
}

// JSON that is safe inside a <script> element: nothing in it ends the element.
std::string script_text(const Json& data) {
  std::string text;
  for (const char c : data.dump(-1, ' ', false, Json::error_handler_t::replace))
    text += c == '<' ? "\\u003c" : std::string(1, c);
  return text;
}

void replace(std::string& text, std::string_view mark, std::string_view by) {
  const size_t place = text.find(mark);
  TERSOR_CHECK(place != std::string::npos, "page.html has no {}", mark);
  text.replace(place, mark.size(), by);
}

void write_page(const Json& data, std::string_view section, std::string_view script, const fs::path& page) {
  std::string text(kPage, sizeof(kPage));
  replace(text, "{{bench section}}", section);
  replace(text, "{{bench script}}", script);
  replace(text, "{{data}}", script_text(data));
  if (page.has_parent_path()) fs::create_directories(page.parent_path());
  write_whole(page, text);
}

}  // namespace

void write_report(const std::vector<fs::path>& runs, const fs::path& page) {
  if (fs::exists(page) && (!fs::is_regular_file(page) || !read_text(page).starts_with("<!doctype html>")))
    throw user_error("'{}' exists and is not an HTML page; name another with --output", page.string());
  Json data = {{"max_points", kMaxCurvePoints}, {"runs", Json::array()}};
  for (const fs::path& run : runs) data["runs"].push_back(read_run(run, kMaxCurvePoints));
  write_page(data, "", "", page);
}

void write_bench_page(const Json& bench, const std::vector<NamedRun>& runs, const fs::path& page) {
  Json data = {{"max_points", kMaxBenchPoints}, {"bench", bench}, {"runs", Json::array()}};
  for (const NamedRun& run : runs) {
    Json read = read_run(run.folder, kMaxBenchPoints);
    read["name"] = run.name;
    data["runs"].push_back(std::move(read));
  }
  write_page(data, {kBenchSection, sizeof(kBenchSection)}, {kBenchScript, sizeof(kBenchScript)}, page);
}

}  // namespace tersor
