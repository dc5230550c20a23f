#include "core/bench/outputs.h"

#include <cmath>

#include "core/base/files.h"
#include "core/base/quantity.h"
#include "core/report/report.h"
#include "core/report/run_records.h"

namespace tersor {
namespace {

double loss_or_last(const MethodSummary& method) {
  return std::isnan(method.loss()) ? INFINITY : method.loss();
}

// A field of a CSV file, quoted as in RFC 4180.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string csv_number(const auto& value) { return value ? fmt::format("{}", *value) : ""; }

std::string csv_line(const Cell& cell, const CellRecord& r) {
  const std::vector<std::string> fields{r.cell,
                                        r.method,
                                        cell.point_text(),
                                        fmt::format("{}", cell.config.optimizer.lr),
                                        fmt::format("{}", r.seed),
                                        r.status,
                                        csv_number(r.loss),
                                        csv_number(r.ppl),
                                        csv_number(r.ppl_legacy),
                                        fmt::format("{}", r.planned_bytes),
                                        fmt::format("{}", r.weight_bytes),
                                        fmt::format("{}", r.state_bytes),
                                        csv_number(r.ledger_bytes),
                                        csv_number(r.resident_bytes),
                                        csv_number(r.tokens_per_second),
                                        csv_number(r.seconds),
                                        fmt::format("{}", r.steps),
                                        fmt::format("{}", r.tokens),
                                        fmt::format("{}", r.parameters)};
  std::string line;
  for (const std::string& field : fields) line += (line.empty() ? "" : ",") + csv_field(field);
  return line + "\n";
}

// The curves of the page: each method at its best point, with the first seed.
std::vector<NamedRun> runs_of(const std::vector<MethodSummary>& methods) {
  std::vector<NamedRun> runs;
  for (const MethodSummary* method : by_loss(methods)) {
    if (!method->best) continue;
    const Cell& cell = *method->best_point()->cells.front();
    if (std::filesystem::exists(cell.config.folder() / kMetricsFile)) runs.push_back({cell.config.folder(), method->name});
  }
  return runs;
}

std::string list(const auto& values) { return fmt::format("{}", fmt::join(values, ", ")); }

std::string remark_on_tokens(const Suite& suite) {
  const RunConfig& config = suite.cells.front().config;
  const auto same_text = [&](const Cell& cell) {
    const Json& first = suite.cells.front().identity;
    return cell.identity.at("data") == first.at("data") && cell.config.evaluation.tokens == config.evaluation.tokens;
  };
  if (!std::all_of(suite.cells.begin(), suite.cells.end(), same_text))
    return "Not every run has the same data or is evaluated on as many tokens: losses are not comparable from row to row.";
  const auto alike = [&](const Cell& cell) { return cell.config.total_steps() == config.total_steps() && cell.config.tokens_per_step() == config.tokens_per_step(); };
  if (!std::all_of(suite.cells.begin(), suite.cells.end(), alike))
    return fmt::format("Not every run has seen as many tokens; the loss is the mean over {} validation tokens.", format_count(static_cast<double>(config.evaluation.tokens)));
  return fmt::format("Every run: {} steps of {} tokens, {} in all; the loss is the mean over {} validation tokens, the same ones each time.",
                     config.total_steps(), config.tokens_per_step(),
                     format_count(static_cast<double>(config.total_steps() * config.tokens_per_step())),
                     format_count(static_cast<double>(config.evaluation.tokens)));
}

std::string remark_on_choice(const SuiteConfig& c) {
  if (c.seeds_at == SeedsAt::kBest)
    return fmt::format("Points of the grid are compared by the validation loss with seed {}; the best one is run with seed{} {}. What is "
                       "chosen by a loss has a slightly lower one than it deserves.",
                       c.seeds.front(), c.seeds.size() == 1 ? "" : "s", list(c.seeds));
  return fmt::format("Every point of the grid is run with seed{} {}, and compared by the mean validation loss.", c.seeds.size() == 1 ? "" : "s", list(c.seeds));
}

std::string remark_on_failures(const MethodSummary& method) {
  std::vector<std::string> failed;
  for (const PointSummary& point : method.points)
    for (const CellRecord* record : point.records)
      if (record != nullptr && !record->finished()) failed.push_back(record->killed ? record->cell + " (killed)" : record->cell);
  if (failed.empty()) return "";
  return fmt::format("{}: {} {} failed and {} no part in the choice.", method.name, list(failed), failed.size() == 1 ? "has" : "have", failed.size() == 1 ? "has" : "have");
}

}  // namespace

std::vector<const MethodSummary*> by_loss(const std::vector<MethodSummary>& methods) {
  std::vector<const MethodSummary*> sorted;
  for (const MethodSummary& method : methods) sorted.push_back(&method);
  std::stable_sort(sorted.begin(), sorted.end(), [](const MethodSummary* a, const MethodSummary* b) { return loss_or_last(*a) < loss_or_last(*b); });
  return sorted;
}

std::vector<std::string> remarks_on(const Suite& suite, const std::vector<MethodSummary>& methods) {
  std::vector<std::string> remarks = suite.config.remarks;
  if (suite.config.plan_only) {
    remarks.emplace_back("By plan: what the tensors of a step take at the fullest moment; nothing was trained. The program itself comes on top.");
    return remarks;
  }
  remarks.push_back(remark_on_tokens(suite));
  remarks.push_back(remark_on_choice(suite.config));
  for (const MethodSummary& method : methods)
    if (std::string failures = remark_on_failures(method); !failures.empty()) remarks.push_back(std::move(failures));
  if (std::any_of(methods.begin(), methods.end(), [](const MethodSummary& m) { return m.at_edge; }))
    remarks.push_back("† the best rate is the largest or the smallest that was tried: a wider grid may find a better one.");
  if (methods.size() > 1) remarks.push_back("● no other method takes less memory, by plan, and has a lower perplexity.");
  remarks.push_back("± is the standard deviation over seeds. ppl_legacy divides by one batch too many, as the evaluation behind many published "
                    "tables does; published numbers are to be compared with it.");
  return remarks;
}

std::string csv_of(const Suite& suite, const Results& results) {
  std::string text = "cell,method,point,lr,seed,status,val_loss,val_ppl,val_ppl_legacy,plan_bytes,plan_weights_bytes,plan_optimizer_bytes,"
                     "ledger_bytes,resident_bytes,tokens_per_second,seconds,steps,tokens,parameters\n";
  for (const Cell& cell : suite.cells)
    if (const CellRecord* record = results.find(cell)) text += csv_line(cell, *record);
  return text;
}

void write_outputs(const Suite& suite, const Results& results) {
  const std::vector<MethodSummary> methods = summarize(suite, results);
  write_whole(suite.folder() / "results.csv", csv_of(suite, results));
  write_whole(suite.folder() / "table.md", markdown_table(suite, methods));
  write_bench_page(bench_json(suite, methods, results), runs_of(methods), suite.folder() / "index.html");
}

}  // namespace tersor
