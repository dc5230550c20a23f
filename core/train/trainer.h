// The training loop. One step:
//
//   1 rate of the step   2 timeline before the update   3 micro-batches: forward, loss, backward   4 norm, gate, clip
//   5 rules, weights, decay   6 timeline after the update   7 observers, evaluation, checkpoint
//
// Checkpoints are taken only at 7, and every random number and position is a function of the step, so a resumed run is
// identical to one that was never stopped.
//
// Several processes go through the same steps, each with its share of the micro-batches, and exchange at the end of each step what all
// need to know. Only the first prints and logs.
#pragma once

#include <chrono>

#include "core/train/evaluate.h"
#include "core/train/recorded_passes.h"
#include "core/train/run_folder.h"
#include "core/train/scattered_weights.h"
#include "core/train/stop_signal.h"
#include "core/train/teachers.h"
#include "core/train/together.h"
#include "core/train/training_step.h"

namespace tersor {

class Trainer {
 public:
  // Builds everything, prepares the run's folder, and loads the checkpoint to resume from; records are written only from `run` on.
  explicit Trainer(const RunConfig& config, Communicator& comm = alone());
  ~Trainer();

  // Trains to the end or to a stop signal. Returns the exit code.
  int run();
  // The newest complete checkpoint of this run.
  [[nodiscard]] std::optional<std::filesystem::path> last_checkpoint() const { return folder_->checkpoints().latest(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Timing {
    Clock::time_point begin = Clock::now();
    Clock::time_point window = Clock::now();  // since the last logged step
    int64_t window_steps = 0;
    double rate = 0;        // steps per second over the last window
    double peak_flops = 0;  // of all devices together; 0: unknown
  };

  int run_steps();
  void build_sources();
  [[nodiscard]] std::unique_ptr<Optimizer> make_optimizer() const;
  [[nodiscard]] std::unique_ptr<ScatteredWeights> scatter_weights_of(const Structure& structure) const;
  void resume(const std::filesystem::path& checkpoint);
  void adopt_changed_settings(const Json& saved, const std::vector<std::string>& tokens);
  void warn_of_timeline() const;
  void begin();
  [[nodiscard]] Progress progress_of_next_step() const;
  [[nodiscard]] bool train_step(const Progress& progress, StepReport& report);  // false: stopped, nothing changed
  void note(const StepResult& done, StepReport& report) const;
  [[nodiscard]] bool profile_step(const Progress& progress, StepReport& report);
  [[nodiscard]] Batch read_batch(int64_t i, std::vector<int64_t>& drawn) const;
  void agree(StepReport& report);
  void report_step(StepReport& report);
  void note_acted(const Progress& progress);
  void run_timeline(Phase phase, const Progress& progress, double lr);
  void share();
  void run_evaluation(const Progress& progress);
  bool save(int64_t step);  // false: the weights are not finite and were not saved
  int finish(const std::string& status, int64_t step, int code);
  void tell(const std::function<void(RunObserver&)>& what);

  std::optional<StopSignal> signals_;  // restored last, so that a late signal does not kill a run that is done
  RunConfig config_;
  Json resolved_;
  Communicator& comm_;
  std::unique_ptr<DeviceKind> kind_;
  at::Device device_ = at::kCPU;
  std::unique_ptr<Teachers> teachers_;
  std::unique_ptr<RecordedPasses> recorded_;  // null if the device does not record
  std::unique_ptr<RunFolder> folder_;
  std::unique_ptr<ScatteredWeights> scattered_;  // null if every process has all weights
  std::shared_ptr<Llama> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Timeline> timeline_;
  std::unique_ptr<Mixture> data_;
  std::vector<ValidationPart> validation_;  // empty: no evaluation
  KeptTokenizer tokenizer_;                 // for checkpoints; only on the first process
  std::vector<std::unique_ptr<RunObserver>> observers_;
  std::unique_ptr<Timing> timing_;
  RunPosition position_;           // after the last whole step
  int64_t first_step_ = 0;         // steps done before this process started
  int64_t last_saved_ = -1;
  int64_t consecutive_skips_ = 0;
  bool stop_agreed_ = false;
  bool finished_ = false;
  bool unshared_ = false;  // actions have changed weights since they were last shared
  std::unique_ptr<Laggard> laggard_;
};

}  // namespace tersor
