#include "core/bench/results.h"

#include "core/base/files.h"
#include "core/base/log.h"
#include "core/report/run_records.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

Json or_null(const auto& value) { return value ? Json(*value) : Json(nullptr); }

template <class T>
std::optional<T> optional_at(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? std::nullopt : std::optional(found->get<T>());
}

std::optional<int64_t> whole(const std::optional<double>& value) { return value ? std::optional(std::llround(*value)) : std::nullopt; }

}  // namespace

Json CellRecord::to_json() const {
  Json grid = Json::object();
  for (const GridValue& value : point) grid[value.option] = value.text;
  Json json{{"cell", cell},
            {"method", method},
            {"grid", grid},
            {"seed", seed},
            {"status", status},
            {"val/loss", or_null(loss)},
            {"val/ppl", or_null(ppl)},
            {"val/ppl_legacy", or_null(ppl_legacy)},
            {"tokens_per_second", or_null(tokens_per_second)},
            {"seconds", or_null(seconds)},
            {"steps", steps},
            {"tokens", tokens},
            {"parameters", parameters},
            {"mem/plan_bytes", planned_bytes},
            {"mem/plan_weights_bytes", weight_bytes},
            {"mem/plan_optimizer_bytes", state_bytes},
            {"mem/plan_segments", planned_segments},
            {"mem/ledger_bytes", or_null(ledger_bytes)},
            {"mem/resident_bytes", or_null(resident_bytes)},
            {"config", config}};
  if (!tokens_sum.empty()) json["data/sha256"] = tokens_sum;
  if (killed) json["killed"] = true;
  if (!log.empty()) json["log"] = log;
  return json;
}

CellRecord CellRecord::from_json(const Json& json) {
  CellRecord r{.cell = json.at("cell"), .method = json.at("method"), .seed = json.at("seed"), .status = json.at("status")};
  for (const auto& [option, value] : json.at("grid").items()) r.point.push_back({option, value.get<std::string>()});
  r.log = json.value("log", std::vector<std::string>{});
  r.killed = json.value("killed", false);
  r.tokens_sum = json.value("data/sha256", "");
  r.loss = optional_at<double>(json, "val/loss");
  r.ppl = optional_at<double>(json, "val/ppl");
  r.ppl_legacy = optional_at<double>(json, "val/ppl_legacy");
  r.tokens_per_second = optional_at<double>(json, "tokens_per_second");
  r.seconds = optional_at<double>(json, "seconds");
  r.steps = json.at("steps");
  r.tokens = json.at("tokens");
  r.parameters = json.at("parameters");
  r.planned_bytes = json.at("mem/plan_bytes");
  r.weight_bytes = json.at("mem/plan_weights_bytes");
  r.state_bytes = json.at("mem/plan_optimizer_bytes");
  for (const auto& [segment, bytes] : json.at("mem/plan_segments").items()) r.planned_segments[segment] = bytes.get<int64_t>();
  r.ledger_bytes = optional_at<int64_t>(json, "mem/ledger_bytes");
  r.resident_bytes = optional_at<int64_t>(json, "mem/resident_bytes");
  r.config = json.at("config");
  return r;
}

namespace {

// A recorded configuration in today's terms: options that did not exist then get their defaults. Unchanged if it can no longer be read.
Json as_of_now(const Json& recorded, const fs::path& home) {
  Diagnostics out;
  try {
    return identity_of(read_run_config(parse_config(to_yaml(recorded), (home / "recorded").string(), out), out), home);
  } catch (const UserError&) {
    return recorded;
  }
}

}  // namespace

Results::Results(fs::path file, const fs::path& home) : file_(std::move(file)) {
  if (!fs::exists(file_)) return;
  std::istringstream lines(read_text(file_));
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    try {
      CellRecord record = CellRecord::from_json(Json::parse(line));
      record.config = as_of_now(record.config, home);
      records_[record.cell] = std::move(record);
    } catch (const Json::exception& e) {
      if (lines.eof()) {
        log().warn("{}:{}: the line is cut off, so that run is repeated", file_.string(), number);
        continue;
      }
      throw user_error("{}:{}: not a record of a run: {}; remove the line to repeat the run", file_.string(), number, e.what());
    }
  }
}

const CellRecord* Results::find(const Cell& cell) const {
  const auto found = records_.find(cell.name);
  return found != records_.end() && found->second.config == cell.identity ? &found->second : nullptr;
}

const CellRecord* Results::find_other(const Cell& cell) const {
  const auto found = records_.find(cell.name);
  return found != records_.end() && found->second.config != cell.identity ? &found->second : nullptr;
}

void Results::put(CellRecord record) {
  records_[record.cell] = std::move(record);
  write();
}

int64_t Results::forget_failures() {
  const auto forgotten = std::erase_if(records_, [](const auto& entry) { return !entry.second.finished(); });
  if (forgotten > 0) write();
  return static_cast<int64_t>(forgotten);
}

void Results::write() const {
  std::string text;
  for (const auto& [cell, record] : records_) text += record.to_json().dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  write_whole(file_, text);
}

CellRecord record_of(const Cell& cell, const RunPlan& plan, const std::string& status) {
  const MemoryPlan& memory = plan.largest().memory;
  CellRecord r{.cell = cell.name, .method = cell.method, .point = cell.point, .seed = cell.seed, .status = status,
               .parameters = plan.stages.back().parameters, .planned_bytes = memory.peak(), .weight_bytes = memory.weight_bytes(),
               .state_bytes = memory.state_bytes(), .config = cell.identity};
  const MemoryUse& use = memory.step.largest().whole;
  for (size_t i = 0; i < kSegmentNames.size(); ++i)
    if (use.bytes[i] > 0) r.planned_segments[std::string(kSegmentNames[i])] = use.bytes[i];
  const fs::path metrics = cell.config.folder() / kMetricsFile;
  if (status == "planned" || !fs::exists(metrics)) return r;
  const RunRecords run = read_records(metrics);
  const auto last = run.last_step();
  r.steps = whole(number(last, "step")).value_or(0);
  r.tokens = whole(number(last, "tokens")).value_or(0);
  r.seconds = number(last, "time");
  r.tokens_per_second = median(run.steps, "tokens_per_second");
  r.ledger_bytes = whole(largest(run.steps, "mem/allocated_peak_bytes"));
  r.resident_bytes = whole(largest(run.steps, "mem/peak_bytes"));
  if (status != "done") return r;
  const auto eval = run.last_eval();
  r.loss = number(eval, "val/loss");
  r.ppl = number(eval, "val/ppl");
  r.ppl_legacy = number(eval, "val/ppl_legacy");
  return r;
}

}  // namespace tersor
