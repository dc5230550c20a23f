#include "core/bench/suite_console.h"

#include "core/base/quantity.h"

namespace tersor {
namespace {

std::string eta(const SuiteProgress& progress) {
  return progress.seconds_left ? "eta " + format_duration(*progress.seconds_left) : "eta not measured yet";
}

// Picks the reason from the last lines of a log: the last error, which remedies may follow; else the last line, or the one before it if
// the last only says that the run failed.
std::string why_failed(const std::vector<std::string>& log) {
  if (log.empty()) return "it left no output";
  for (auto line = log.rbegin(); line != log.rend(); ++line)
    if (line->starts_with("error: ")) return line->substr(std::string_view("error: ").size());
  return log[log.size() - (log.size() > 1 && log.back().starts_with("failed after step") ? 2 : 1)];
}

std::string outcome(const CellRecord& r) {
  if (r.status == "planned") return fmt::format("peak {} by plan, weights {}, optimizer state {}", format_bytes(r.planned_bytes),
                                                format_bytes(r.weight_bytes), format_bytes(r.state_bytes));
  if (r.status == "done")
    return fmt::format("loss {} | ppl {} | peak {} | {} tok/s | {}", r.loss ? fmt::format("{:.4f}", *r.loss) : "not finite",
                       r.ppl ? fmt::format("{:.2f}", *r.ppl) : "not finite", format_bytes(r.ledger_bytes.value_or(r.planned_bytes)),
                       format_count(r.tokens_per_second.value_or(0)), format_duration(r.seconds.value_or(0)));
  return fmt::format("failed after step {}: {}", r.steps, r.killed ? r.log.back() : why_failed(r.log));
}

}  // namespace

void SuiteConsole::start(const Suite& suite, const SuiteProgress& progress, int64_t jobs, int64_t memory) {
  std::string text = fmt::format("{}: {} of {} runs are recorded", suite.folder().string(), progress.done, progress.total);
  if (!suite.config.plan_only)
    text += fmt::format("; {} at a time, with {} thread{} each{}", jobs, suite.config.threads, suite.config.threads == 1 ? "" : "s",
                        memory > 0 ? fmt::format(", in {}", format_bytes(memory)) : "");
  terminal_.line(text);
}

void SuiteConsole::over(const CellRecord& r, const SuiteProgress& progress) {
  terminal_.line(fmt::format("[{}/{}] {}: {}{}", progress.done, progress.total, r.cell, outcome(r),
                             progress.done < progress.total && r.status != "planned" ? " | " + eta(progress) : ""));
}

void SuiteConsole::progress(const SuiteProgress& progress) {
  std::string text = fmt::format("{}/{} | {}", progress.done, progress.total, eta(progress));
  double runs = static_cast<double>(progress.done);  // plus the finished shares of running ones
  for (const RunningCell& r : progress.running) {
    const int64_t steps = r.cell->config.total_steps();
    runs += static_cast<double>(r.step) / static_cast<double>(steps);
    text += fmt::format(" | {} {}/{}{}", r.cell->name, r.step, steps, r.loss ? fmt::format(" loss {:.3f}", *r.loss) : "");
  }
  terminal_.bar(runs / static_cast<double>(std::max<int64_t>(1, progress.total)), text);
}

}  // namespace tersor
