// The table of a suite, in Markdown.
#include <cmath>

#include "core/base/quantity.h"
#include "core/bench/outputs.h"

namespace tersor {
namespace {

constexpr std::string_view kNothing = "–";

std::string number(double value, int digits) { return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : "not finite"; }

std::string with_spread(const std::vector<double>& values, int digits) {
  if (values.empty()) return std::string(kNothing);
  if (values.size() == 1) return number(values.front(), digits);
  return fmt::format("{} ± {}", number(mean(values), digits), number(standard_deviation(values), digits));
}

// The largest value over the seeds of a point.
std::string largest(const PointSummary& point, std::optional<int64_t> CellRecord::* of) {
  const std::optional<int64_t> most = point.largest(of);
  return most ? format_bytes(*most) : std::string(kNothing);
}

std::string published_of(const Suite& suite, const std::string& method) {
  std::string text;
  for (const PublishedResult& r : suite.published) {
    if (r.method != method) continue;
    text += fmt::format("{}{:.2f}{} [{}]", text.empty() ? "" : ", ", r.ppl, r.memory.empty() ? "" : " (" + r.memory + ")", suite.number_of(r));
  }
  return text.empty() ? std::string(kNothing) : text;
}

std::string row(std::vector<std::string> cells) {
  for (std::string& cell : cells)
    for (size_t at = cell.find('|'); at != std::string::npos; at = cell.find('|', at + 2)) cell.insert(at, "\\");
  return fmt::format("| {} |\n", fmt::join(cells, " | "));
}

// The difference from the baseline's loss, both at their best points.
std::string difference(const MethodSummary& method, const MethodSummary* baseline) {
  if (baseline == nullptr || !baseline->best || &method == baseline) return std::string(kNothing);
  return fmt::format("{:+.3f}", method.loss() - baseline->loss());
}

std::string failed_row(const Suite& suite, const MethodSummary& method) {
  int64_t failed = 0;
  for (const PointSummary& point : method.points) failed += point.num_failed();
  std::vector<std::string> cells{method.name, failed > 0 ? fmt::format("{} runs failed", failed) : "not run yet"};
  cells.resize(suite.published.empty() ? 11 : 12, std::string(kNothing));
  if (!suite.published.empty()) cells.back() = published_of(suite, method.name);
  return row(cells);
}

std::string trained_row(const Suite& suite, const MethodSummary& method, const MethodSummary* baseline) {
  if (!method.best) return failed_row(suite, method);
  const PointSummary& point = *method.best_point();
  const CellRecord& record = *method.any_record();
  std::vector<std::string> cells{
      method.name + (method.on_front ? " ●" : ""),
      fmt::format("{:.6g}{}", point.cells.front()->config.optimizer.lr, method.at_edge ? " †" : ""),
      with_spread(point.values(&CellRecord::loss), 3),
      difference(method, baseline),
      with_spread(point.values(&CellRecord::ppl), 2),
      number(mean(point.values(&CellRecord::ppl_legacy)), 2),
      format_bytes(record.planned_bytes),
      format_bytes(record.weight_bytes + record.state_bytes),
      largest(point, &CellRecord::ledger_bytes),
      largest(point, &CellRecord::resident_bytes),
      format_count(mean(point.values(&CellRecord::tokens_per_second)))};
  if (!suite.published.empty()) cells.push_back(published_of(suite, method.name));
  return row(cells);
}

std::string trained_table(const Suite& suite, const std::vector<MethodSummary>& methods) {
  std::vector<std::string> heads{"method", "rate", "validation loss", "Δ " + suite.config.baseline, "ppl", "ppl_legacy", "peak, by plan", "weights + state",
                                 "peak, by ledger", "resident", "tokens/s"};
  if (!suite.published.empty()) heads.push_back("published ppl");
  const auto found = std::find_if(methods.begin(), methods.end(), [&](const MethodSummary& m) { return m.name == suite.config.baseline; });
  std::string text = row(heads) + row(std::vector<std::string>(heads.size(), "---"));
  for (const MethodSummary* method : by_loss(methods)) text += trained_row(suite, *method, found == methods.end() ? nullptr : &*found);
  return text;
}

std::string planned_table(const std::vector<MethodSummary>& methods) {
  const std::vector<std::string> segments{"weights", "optimizer", "gradients", "activations", "temporary"};
  std::vector<std::string> heads{"method", "peak"};
  heads.insert(heads.end(), segments.begin(), segments.end());
  heads.insert(heads.end(), {"all weights + state", "parameters"});
  std::string text = row(heads) + row(std::vector<std::string>(heads.size(), "---"));
  std::vector<std::pair<std::string, const CellRecord*>> rows;
  for (const MethodSummary& method : methods)
    if (const CellRecord* record = method.any_record()) rows.emplace_back(method.name, record);
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second->planned_bytes < b.second->planned_bytes; });
  for (const auto& [name, record] : rows) {
    std::vector<std::string> cells{name, format_bytes(record->planned_bytes)};
    for (const std::string& segment : segments) {
      const auto bytes = record->planned_segments.find(segment);
      cells.push_back(bytes == record->planned_segments.end() ? std::string(kNothing) : format_bytes(bytes->second));
    }
    cells.push_back(format_bytes(record->weight_bytes + record->state_bytes));
    cells.push_back(format_count(static_cast<double>(record->parameters)));
    text += row(cells);
  }
  return text;
}

}  // namespace

std::string markdown_table(const Suite& suite, const std::vector<MethodSummary>& methods) {
  std::string text = fmt::format("# {}\n\n", suite.config.title.empty() ? suite.config.name : suite.config.title);
  text += suite.config.plan_only ? planned_table(methods) : trained_table(suite, methods);
  for (const std::string& remark : remarks_on(suite, methods)) text += "\n" + remark + "\n";
  if (suite.published.empty()) return text;
  text += "\n";
  for (size_t i = 0; i < suite.sources.size(); ++i) text += fmt::format("[{}] {}\n", i + 1, suite.sources[i].title);
  return text;
}

}  // namespace tersor
