// What a run tells about itself: what it prints and the records that it writes come from observers, which the trainer calls in order.
#pragma once

#include "core/memory/ledger.h"
#include "core/train/run_config.h"

namespace tersor {

struct RunInfo {
  const RunConfig& config;
  const Json& resolved;
  int64_t num_parameters = 0;
  int64_t first_step = 0;  // steps done before: 0, or where a resumed run goes on
  int64_t weight_bytes = 0;
  int64_t optimizer_bytes = 0;
  std::string device = "CPU";
};

struct StepReport {
  Progress progress;
  double loss = 0;         // mean over the tokens of the step
  double lr = 0;
  double grad_norm = 0;    // before clipping
  bool norm_is_estimate = false;  // of compressed sums: see optim/optimizer.h
  bool skipped = false;    // a gradient was not finite
  bool stops = false;      // and the run ends for it
  std::vector<std::pair<std::string, int64_t>> drawn;  // windows that each of several sources has given
  int64_t active_parameters = 0;   // of matrix products; falls when a run prunes, rises when it grows
  double average_parameters = 0;   // over the tokens so far
  double tokens_per_second = 0;  // since the last logged step
  double mfu = 0;                // 6 · active parameters · tokens a second over what the devices can do; 0: not known
  double step_ms = 0;
  double data_ms = 0;
  std::optional<double> update_ms{};  // the optimizer's part; a GPU does that while nobody waits for it
  double wait_ms = 0;      // for other processes
  int64_t comm_bytes = 0;  // sent in this step, by all processes together
  int64_t peak_bytes = 0;  // resident, of the process
  MemoryUse memory;        // when tensors took most in this step
  std::vector<MemoryMoment> memory_moments{};  // of one step of the run
  double elapsed_seconds = 0;    // since this process began to train
  double eta_seconds = 0;
  bool log = false;        // a step that is written down
};

struct EvalReport {
  Progress progress;
  double loss = 0;        // mean over validation tokens
  double ppl = 0;         // exp(loss)
  double ppl_legacy = 0;  // sum of batch means over (batches + 1), as the method repositories print it
  int64_t tokens = 0;
  double seconds = 0;
  std::vector<std::pair<std::string, double>> losses;  // of each of several sources
};

struct CheckpointReport {
  int64_t step = 0;
  std::filesystem::path folder;
  double seconds = 0;
};

struct RunSummary {
  std::string status;  // done | stopped | failed
  int64_t step = 0;
  double seconds = 0;
};

class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void on_start(const RunInfo&) {}
  virtual void on_step(const StepReport&) {}
  virtual void on_action(const Progress&, const ActionReport&) {}
  virtual void on_eval(const EvalReport&) {}
  virtual void on_checkpoint(const CheckpointReport&) {}
  virtual void on_end(const RunSummary&) {}
};

// Lines, and a progress bar where standard output is a terminal.
[[nodiscard]] std::unique_ptr<RunObserver> make_console();
// metrics.jsonl in the run's folder; after a resume, records of steps that were lost are removed first.
[[nodiscard]] std::unique_ptr<RunObserver> make_jsonl(const std::filesystem::path& run);
// TensorBoard events in the run's folder.
[[nodiscard]] std::unique_ptr<RunObserver> make_tensorboard(const std::filesystem::path& run);

}  // namespace tersor
