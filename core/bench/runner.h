// Runs the cells of a suite, each in a process of its own, as many at a time as fit, and keeps what they leave.
//
//   SuiteRunner runner(suite, "build/release/tersor");
//   const int exit_code = runner.run();
//
// What is over is recorded at once, so that an interruption loses nothing: a stopped run goes on from its last checkpoint.
#pragma once

#include <list>

#include "core/base/folder_lock.h"
#include "core/bench/child_process.h"
#include "core/bench/forecast.h"
#include "core/bench/suite_console.h"

namespace tersor {

class SuiteRunner {
 public:
  // `program` is what is called as `program train FILE`. Plans every configuration. UserError where one cannot be run, or where
  // another process works on the suite; and, unless they are to be replaced, where results of other configurations are in its place.
  SuiteRunner(const Suite& suite, std::filesystem::path program, bool replace);

  // Tries what failed before once more.
  void retry_failures();
  // kExitDone; kExitFailed where some method has no result, or a run was killed; kExitStopped after a signal.
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
  void open_data();  // UserError where some is missing
  void refuse_other_tokens();
  [[nodiscard]] static std::string inputs_key(const Cell& cell) { return cell.identity["data"].dump() + cell.identity.value("plugins", Json()).dump(); }
  [[nodiscard]] const std::string& tokens_of(const Cell& cell) const { return tokens_.at(inputs_key(cell)); }
  void refuse_too_large() const;
  [[nodiscard]] const RunPlan& plan(const Cell& cell) const { return *plan_of_.at(&cell); }
  [[nodiscard]] int64_t bytes_of(const Cell& cell) const;  // expected, the program included
  void plan_only();
  void run_processes();
  void start_what_fits();
  [[nodiscard]] Running start(const Cell& cell) const;
  [[nodiscard]] bool collect_finished();  // whether there was one
  void finish(const Cell& cell, int exit_code);
  [[nodiscard]] SuiteProgress progress() const;
  [[nodiscard]] int64_t jobs() const;
  [[nodiscard]] std::filesystem::path log_of(const Cell& cell) const;

  const Suite& suite_;
  std::filesystem::path program_;
  std::unique_ptr<FolderLock> lock_;
  Results results_;
  std::map<std::string, RunPlan> plans_;  // by what they depend on
  std::map<const Cell*, const RunPlan*> plan_of_;
  std::map<std::string, std::string> tokens_;  // of the data and the plugins of a cell, what tells them from others
  Forecast forecast_;
  SuiteConsole console_;
  std::list<Running> running_;
  int64_t memory_ = 0;  // that all may take; 0: no one knows
  bool replace_;
  bool stopping_ = false;
};

}  // namespace tersor
