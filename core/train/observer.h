// How a run reports on itself: what it prints and the records it writes come from observers, which the trainer calls in order.
#pragma once

#include "core/memory/ledger.h"
#include "core/train/run_config.h"

namespace tersor {

struct RunInfo {
  const RunConfig& config;
  const Json& resolved;
  int64_t num_parameters = 0;
  int64_t first_step = 0;  // steps done before: 0, or where a resumed run continues
  int64_t weight_bytes = 0;
  int64_t optimizer_bytes = 0;
  std::string device = "CPU";
};

struct StepReport {
  Progress progress;
  double loss = 0;         // mean over the tokens of the step
  double lr = 0;
  double grad_norm = 0;    // before clipping
  bool norm_is_estimate = false;  // from compressed sums: see optim/optimizer.h
  bool skipped = false;    // a gradient was not finite
  bool stops = false;      // and that ends the run
  std::vector<std::pair<std::string, int64_t>> drawn;  // windows drawn from each source, if there are several
  int64_t active_parameters = 0;   // in matrix products; falls with pruning, rises with growth
  double average_parameters = 0;   // over the tokens so far
  double tokens_per_second = 0;  // since the last logged step
  double mfu = 0;                // 6 · active parameters · tokens per second over the devices' peak; 0: unknown
  double step_ms = 0;
  double data_ms = 0;
  std::optional<double> update_ms{};  // the optimizer's part; absent on a GPU, where it runs asynchronously
  double wait_ms = 0;      // spent waiting for other processes
  int64_t comm_bytes = 0;  // sent in this step, by all processes together
  int64_t peak_bytes = 0;  // resident memory of the process
  MemoryUse memory;        // at the step's peak of tensor memory
  std::vector<MemoryMoment> memory_moments{};  // recorded in one step of the run
  double elapsed_seconds = 0;    // since this process began to train
  double eta_seconds = 0;
  bool log = false;        // whether the step is logged
};

struct EvalReport {
  Progress progress;
  double loss = 0;        // mean over validation tokens
  double ppl = 0;         // exp(loss)
  double ppl_legacy = 0;  // exp(sum of batch means / (batches + 1)), as the method repositories print it
  int64_t tokens = 0;
  double seconds = 0;
  std::vector<std::pair<std::string, double>> losses;  // of each source, if there are several
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

// Prints lines, and a progress bar if standard output is a terminal.
[[nodiscard]] std::unique_ptr<RunObserver> make_console();
// Writes metrics.jsonl in the run's folder; on resume, first removes the records of steps that were lost.
[[nodiscard]] std::unique_ptr<RunObserver> make_jsonl(const std::filesystem::path& run);
// Writes TensorBoard events in the run's folder.
[[nodiscard]] std::unique_ptr<RunObserver> make_tensorboard(const std::filesystem::path& run);

}  // namespace tersor
