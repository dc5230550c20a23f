#include "core/bench/forecast.h"

#include <fstream>

#include "core/report/run_records.h"

namespace tersor {
namespace {

using Flops = std::function<double(const Cell&)>;

// Seconds per FLOP, as sums over what has been measured.
struct Pace {
  double seconds = 0;
  double flops = 0;

  void add(double more_seconds, double more_flops) {
    seconds += more_seconds;
    flops += more_flops;
  }
  [[nodiscard]] bool known() const { return seconds > 0 && flops > 0; }
};

// What has been measured, and what is left.
struct Tally {
  const Flops& flops;
  std::map<std::string, Pace> of_method;
  Pace of_all;
  std::map<std::string, int64_t> open;  // cells of each method that have not started
  double left = 0;                      // seconds, if runs go one after the other
  double longest = 0;                   // seconds of the longest run, which cannot be split

  void measure(const Cell& cell, double seconds, double share) {
    of_method[cell.method].add(seconds, share * flops(cell));
    of_all.add(seconds, share * flops(cell));
  }
  void expect(double seconds, int64_t times = 1) {
    left += seconds * static_cast<double>(times);
    longest = std::max(longest, seconds);
  }
};

void add_finished(const MethodSummary& method, const SuiteConfig& suite, Tally& tally) {
  const auto seeds = static_cast<int64_t>(suite.seeds.size());
  const auto points = static_cast<int64_t>(method.points.size());
  int64_t& open = tally.open[method.name];
  open = suite.seeds_at == SeedsAt::kEvery ? points * seeds : points + seeds - 1;
  for (const PointSummary& point : method.points) {
    for (size_t i = 0; i < point.cells.size(); ++i) {
      const CellRecord* record = point.records[i];
      if (record == nullptr) continue;
      --open;
      if (record->status == "done" && record->seconds) tally.measure(*point.cells[i], *record->seconds, 1);
    }
  }
}

void add_running(const RunningCell& running, Tally& tally) {
  if (!running.eta_seconds) return;  // counts as not started
  --tally.open[running.cell->method];
  tally.expect(*running.eta_seconds);
  const double share = 1 - static_cast<double>(running.step) / static_cast<double>(running.cell->config.total_steps());
  if (share > 0) tally.measure(*running.cell, *running.eta_seconds, share);
}

// The last record of a step; an empty object if there is none yet.
Json last_step(const std::filesystem::path& metrics) {
  constexpr std::streamoff kTail = 32768;
  std::ifstream stream(metrics, std::ios::binary | std::ios::ate);
  if (!stream) return Json::object();
  const std::streamoff size = stream.tellg();
  stream.seekg(std::max<std::streamoff>(0, size - kTail));
  Json last = Json::object();
  for (std::string line; std::getline(stream, line);) {
    Json record = Json::parse(line, nullptr, false);
    if (record.is_object() && record.value("type", "") == "step") last = std::move(record);
  }
  return last;
}

}  // namespace

RunningCell look_at(const Cell& cell) {
  RunningCell running{.cell = &cell};
  const Json last = last_step(cell.config.folder() / kMetricsFile);
  running.step = static_cast<int64_t>(number(last, "step").value_or(0));
  running.loss = number(last, "train/loss");
  running.elapsed_seconds = number(last, "elapsed_seconds");
  running.eta_seconds = number(last, "eta_seconds");
  return running;
}

std::optional<double> Forecast::seconds_left(const Results& results, const std::vector<RunningCell>& running, int64_t jobs) const {
  Tally tally{.flops = flops_};
  for (const MethodSummary& method : summarize(suite_, results)) add_finished(method, suite_.config, tally);
  for (const RunningCell& cell : running) add_running(cell, tally);
  if (!tally.of_all.known()) return std::nullopt;
  for (const Cell& cell : suite_.cells) {
    int64_t& count = tally.open[cell.method];
    if (count <= 0) continue;
    const Pace& own = tally.of_method[cell.method];
    const Pace& pace = own.known() ? own : tally.of_all;
    tally.expect(flops_(cell) * pace.seconds / pace.flops, count);
    count = 0;  // the first cell stood for all of the method
  }
  return std::max(tally.longest, tally.left / static_cast<double>(std::max<int64_t>(1, jobs)));
}

}  // namespace tersor
