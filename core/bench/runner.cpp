#include "core/bench/runner.h"

#include <thread>

#include "core/base/files.h"
#include "core/base/quantity.h"
#include "core/bench/outputs.h"
#include "core/memory/machine.h"
#include "core/train/evaluate.h"
#include "core/train/prepare.h"
#include "core/train/run_folder.h"
#include "core/train/stop_signal.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

// What a process takes besides its tensors: LibTorch's libraries, threads, malloc's rounding.
constexpr int64_t kProgramBytes = 320 << 20;
constexpr size_t kLogLines = 12;
constexpr auto kPause = std::chrono::milliseconds(100);

std::vector<std::string> last_lines(const fs::path& file) {
  std::vector<std::string> lines;
  if (!fs::exists(file)) return lines;
  std::istringstream text(read_text(file));
  for (std::string line; std::getline(text, line);)
    if (!line.empty()) lines.push_back(line);
  if (lines.size() > kLogLines) lines.erase(lines.begin(), lines.end() - kLogLines);
  return lines;
}

// Learning rates and seeds do not affect a plan.
std::string plan_key(const Cell& cell) {
  Json json = cell.identity;
  json["run"].erase("seed");
  json["optimizer"].erase("lr");
  return json.dump();
}

fs::path created(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw user_error("'{}' cannot be created: {}; choose another out_dir", folder.string(), error.message());
  return folder;
}

}  // namespace

SuiteRunner::SuiteRunner(const Suite& suite, fs::path program, bool replace)
    : suite_(suite), program_(std::move(program)),
      lock_(std::make_unique<FolderLock>(created(suite.folder()), "running a suite", "choose another name")),
      results_(suite.folder() / "results.jsonl", suite.home), forecast_(suite, [this](const Cell& cell) { return plan(cell).flops(); }),
      memory_(suite.config.memory ? suite.config.memory->value : available_memory()), replace_(replace) {
  if (!replace) refuse_other_results();
  plan_all();
}

// Hours of work must not be thrown away because an option has changed.
void SuiteRunner::refuse_other_results() const {
  int64_t others = 0;
  std::string example;
  for (const Cell& cell : suite_.cells) {
    const CellRecord* record = results_.find_other(cell);
    if (record == nullptr || !record->finished() || ++others > 1) continue;
    for (const Difference& one : differences(record->config, cell.identity)) example += "\n  " + one.text;
    example = fmt::format("{}:{}", cell.name, example);
  }
  if (others > 0)
    throw user_error("'{}' holds results of {} of these runs with other options; --replace runs them again, another name keeps them\n{}", suite_.folder().string(), others, example);
}

// Finds mistakes that no single option shows, before the first run and all at once.
void SuiteRunner::plan_all() {
  std::vector<std::string> wrong;
  for (const Cell& cell : suite_.cells) {
    const auto [entry, fresh] = plans_.try_emplace(plan_key(cell));
    plan_of_[&cell] = &entry->second;
    if (!fresh) continue;
    try {
      entry->second = plan_run(cell.config);
    } catch (const std::exception& e) {  // a plugin's rule may throw anything
      wrong.push_back(fmt::format("{}: {}", cell.method, e.what()));
    }
  }
  if (!wrong.empty()) throw user_error("{}", fmt::join(wrong, "\n"));
}

// Opens data that several runs read only once, so that errors in it are reported once.
void SuiteRunner::open_data() {
  for (const Cell& cell : suite_.cells) {
    const auto [entry, fresh] = tokens_.try_emplace(inputs_key(cell));
    if (!fresh) continue;
    std::vector<std::string> marks = training_data(cell.config).fingerprints();
    for (const ValidationPart& part : validation_parts(cell.config)) marks.push_back(part.source->fingerprint());
    for (const fs::path& plugin : cell.config.plugins) marks.push_back(sha256_of_file(plugin));
    entry->second = sha256_of_text(fmt::format("{}", fmt::join(marks, "\n")));
  }
  refuse_other_tokens();
}

// Losses over different texts are not comparable.
void SuiteRunner::refuse_other_tokens() {
  int64_t others = 0;
  for (const Cell& cell : suite_.cells) {
    const CellRecord* record = results_.find(cell);
    if (record == nullptr || record->tokens_sum.empty() || record->tokens_sum == tokens_of(cell)) continue;
    others += record->finished() ? 1 : 0;
    if (replace_ || !record->finished()) results_.forget(cell);
  }
  if (others > 0 && !replace_)
    throw user_error("'{}' holds results of {} of these runs on other tokens, or with another build of a plugin, than there are now; "
                     "--replace runs them again, another name keeps them",
                     suite_.folder().string(), others);
}

void SuiteRunner::refuse_too_large() const {
  if (!suite_.config.memory || memory_ == 0) return;
  for (const Cell* cell : due_cells(suite_, results_))
    if (bytes_of(*cell) > memory_)
      throw user_error("memory: {} takes {} by plan, {} of that for the program itself, but all runs together may take {}", cell->name, format_bytes(bytes_of(*cell)),
                       format_bytes(kProgramBytes), format_bytes(memory_));
}

int64_t SuiteRunner::bytes_of(const Cell& cell) const { return plan(cell).largest().memory.peak() + kProgramBytes; }

int64_t SuiteRunner::jobs() const {
  if (suite_.config.jobs > 0) return suite_.config.jobs;
  return std::max<int64_t>(1, static_cast<int64_t>(std::thread::hardware_concurrency()) / suite_.config.threads);
}

int64_t SuiteRunner::num_failed() const {
  return std::count_if(suite_.cells.begin(), suite_.cells.end(), [&](const Cell& cell) {
    const CellRecord* record = results_.find(cell);
    return record != nullptr && !record->finished();
  });
}

fs::path SuiteRunner::log_of(const Cell& cell) const { return suite_.cells_folder() / (cell.name + ".log"); }

// Logs are removed, so that old errors are not taken for those of the retry.
void SuiteRunner::retry_failures() {
  for (const Cell& cell : suite_.cells)
    if (const CellRecord* record = results_.find(cell); record != nullptr && !record->finished()) fs::remove(log_of(cell));
  results_.forget_failures();
}

int SuiteRunner::run() {
  if (suite_.config.plan_only)
    plan_only();
  else
    run_processes();
  write_outputs(suite_, results_);
  if (stopping_) return kExitStopped;
  const std::vector<MethodSummary> methods = summarize(suite_, results_);
  const bool all = std::all_of(methods.begin(), methods.end(), [](const MethodSummary& m) { return m.best.has_value(); });
  const bool killed = std::any_of(suite_.cells.begin(), suite_.cells.end(), [&](const Cell& cell) {
    const CellRecord* record = results_.find(cell);
    return record != nullptr && record->killed;
  });
  return suite_.config.plan_only || (all && !killed) ? kExitDone : kExitFailed;
}

SuiteProgress SuiteRunner::progress() const {
  SuiteProgress now{.total = num_cells_to_run(suite_)};
  for (const Cell& cell : suite_.cells) now.done += results_.find(cell) != nullptr ? 1 : 0;
  // A retried run may have moved a method's best point, and then more seeds are due.
  now.total = std::max(now.total, now.done + static_cast<int64_t>(due_cells(suite_, results_).size()));
  for (const Running& one : running_) now.running.push_back(look_at(*one.cell));
  now.seconds_left = forecast_.seconds_left(results_, now.running, jobs());
  return now;
}

void SuiteRunner::plan_only() {
  console_.start(suite_, progress(), jobs(), memory_);
  for (const Cell* cell : due_cells(suite_, results_)) {
    results_.put(record_of(*cell, plan(*cell), "planned"));
    console_.over(*results_.find(*cell), progress());
  }
}

void SuiteRunner::run_processes() {
  open_data();
  refuse_too_large();
  const StopSignal signals;
  created(suite_.cells_folder());
  console_.start(suite_, progress(), jobs(), memory_);
  start_what_fits();
  while (!running_.empty()) {
    if (console_.due()) console_.progress(progress());
    std::this_thread::sleep_for(kPause);
    if (StopSignal::requested() && !stopping_) {
      stopping_ = true;
      for (const Running& one : running_) one.process.ask_to_stop();
    }
    if (collect_finished() && !stopping_) start_what_fits();
  }
}

void SuiteRunner::start_what_fits() {
  for (const Cell* cell : due_cells(suite_, results_)) {
    if (static_cast<int64_t>(running_.size()) >= jobs()) return;
    if (std::any_of(running_.begin(), running_.end(), [&](const Running& r) { return r.cell == cell; })) continue;
    int64_t taken = bytes_of(*cell);
    for (const Running& one : running_) taken += bytes_of(*one.cell);
    // A run that is too large for the machine is started alone, and refuses by itself.
    if (!running_.empty() && memory_ > 0 && taken > memory_) return;
    running_.push_back(start(*cell));
  }
}

SuiteRunner::Running SuiteRunner::start(const Cell& cell) const {
  const fs::path file = suite_.cells_folder() / (cell.name + ".yaml");
  RunConfig config = cell.config;
  const std::string text = fmt::format("# tokens {}\n{}", tokens_of(cell), to_yaml(fields_to_json(config)));  // resumes only with the same
  const bool same = fs::exists(file) && read_text(file) == text;
  if (!same) {
    fs::remove(log_of(cell));
    write_whole(file, text);
  }
  const std::string threads = std::to_string(suite_.config.threads);
  return {&cell, ChildProcess({program_.string(), "train", file.string(), same ? "run.resume=auto" : "run.resume=overwrite"},
                              {{"OMP_NUM_THREADS", threads}, {"OMP_WAIT_POLICY", "passive"}}, log_of(cell))};
}

bool SuiteRunner::collect_finished() {
  bool any = false;
  for (auto one = running_.begin(); one != running_.end();) {
    const std::optional<int> code = one->process.exit_code();
    const Cell* cell = one->cell;
    one = code ? running_.erase(one) : std::next(one);
    if (code) finish(*cell, *code);
    any = any || code;
  }
  return any;
}

void SuiteRunner::finish(const Cell& cell, int exit_code) {
  // Stopped by somebody, so not for us to start again; or by us: before its first step, a run then ends at once.
  if (exit_code == kExitStopped || (stopping_ && exit_code != kExitDone)) {
    stopping_ = true;
    return;
  }
  CellRecord record = record_of(cell, plan(cell), exit_code == kExitDone ? "done" : "failed");
  record.tokens_sum = tokens_of(cell);
  record.killed = exit_code > 128;
  if (exit_code != kExitDone) {
    record.log = last_lines(log_of(cell));
    if (record.killed) record.log.push_back(fmt::format("it was ended by signal {}", exit_code - 128));
  }
  if (exit_code == kExitDone && !suite_.config.keep_checkpoints) fs::remove_all(cell.config.folder() / "checkpoints");
  results_.put(std::move(record));
  write_outputs(suite_, results_);
  console_.over(*results_.find(cell), progress());
}

}  // namespace tersor
