// Runs the cells of a suite, each in a process of its own, as many at a time as fit, and records their results.
//
//   SuiteRunner runner(suite, "build/release/tersor");
//   const int exit_code = runner.run();
//
// Runs are recorded as soon as they end, so that an interruption loses nothing: a stopped run resumes from its last checkpoint.
#pragma once

#include <list>

#include "core/base/folder_lock.h"
#include "core/bench/child_process.h"
#include "core/bench/forecast.h"
#include "core/bench/suite_console.h"

namespace tersor {

class SuiteRunner {
 public:
  // `program` is called as `program train FILE`. Plans every configuration. Throws UserError if one cannot be run, if another process
  // works on the suite, or, unless `replace`, if the suite's folder holds results of other configurations.
  SuiteRunner(const Suite& suite, std::filesystem::path program, bool replace);

  // Prepares to run again what failed before.
  void retry_failures();
  // Returns kExitDone; kExitFailed if some method has no result or a run was killed; kExitStopped after a signal.
  [[nodiscard]] int run();
  [[nodiscard]] const Results& results() const { return results_; }
  [[nodiscard]] int64_t num_failed() const;

 private:
  struct Running {
    const Cell* cell;
    ChildProcess process;
  };

  void refuse_other_results() const;
  void plan_all();
  void open_data();  // throws UserError if some is missing
  void refuse_other_tokens();
  [[nodiscard]] static std::string inputs_key(const Cell& cell) { return cell.identity["data"].dump() + cell.identity.value("plugins", Json()).dump(); }
  [[nodiscard]] const std::string& tokens_of(const Cell& cell) const { return tokens_.at(inputs_key(cell)); }
  void refuse_too_large() const;
  [[nodiscard]] const RunPlan& plan(const Cell& cell) const { return *plan_of_.at(&cell); }
  [[nodiscard]] int64_t bytes_of(const Cell& cell) const;  // planned, the program itself included
  void plan_only();
  void run_processes();
  void start_what_fits();
  [[nodiscard]] Running start(const Cell& cell) const;
  [[nodiscard]] bool collect_finished();  // returns whether there was one
  void finish(const Cell& cell, int exit_code);
  [[nodiscard]] SuiteProgress progress() const;
  [[nodiscard]] int64_t jobs() const;
  [[nodiscard]] std::filesystem::path log_of(const Cell& cell) const;

  const Suite& suite_;
  std::filesystem::path program_;
  std::unique_ptr<FolderLock> lock_;
  Results results_;
  std::map<std::string, RunPlan> plans_;  // by plan_key
  std::map<const Cell*, const RunPlan*> plan_of_;
  std::map<std::string, std::string> tokens_;  // fingerprints of data and plugins, by inputs_key
  Forecast forecast_;
  SuiteConsole console_;
  std::list<Running> running_;
  int64_t memory_ = 0;  // that all runs together may take; 0: unknown
  bool replace_;
  bool stopping_ = false;
};

}  // namespace tersor
