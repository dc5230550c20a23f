#include "core/train/trainer.h"

#include <chrono>
#include <cmath>

#include "core/base/files.h"
#include "core/base/log.h"
#include "core/memory/machine.h"
#include "core/train/nonfinite.h"
#include "core/train/prepare.h"
#include "core/train/profile.h"

namespace tersor {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxConsecutiveSkips = 10;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

Progress Trainer::progress_of_next_step() const {
  const int64_t tokens = position_.settings.global_batch_size * config_.data.sequence_length;
  const int64_t total = config_.total_steps();
  const Progress done{.step = position_.step, .tokens = position_.tokens, .total_steps = total,
                      .total_tokens = total * config_.tokens_per_step(), .flops = position_.flops};
  return done.next(tokens, training_flops(static_cast<double>(model_->num_active()), static_cast<double>(tokens)));
}

void Trainer::tell(const std::function<void(RunObserver&)>& what) {
  for (const auto& observer : observers_) what(*observer);
}

// Creates the observers and tells them of the run that begins.
void Trainer::begin() {
  if (comm_.rank() == 0) {
    write_whole(folder_->path() / "config.yaml", to_yaml(resolved_));
    observers_.push_back(make_console());
    observers_.push_back(make_jsonl(folder_->path()));
    if (config_.log.tensorboard) observers_.push_back(make_tensorboard(folder_->path()));
  }
  const RunInfo info{config_, resolved_, model_->num_parameters(), first_step_, model_->bytes(), optimizer_->state().bytes(),
                     kind_->name(comm_.local_rank())};
  tell([&](RunObserver& o) { o.on_start(info); });
  timing_ = std::make_unique<Timing>();
  timing_->peak_flops = comm_.size() * kind_->peak_flops(comm_.local_rank(), config_.run.scalar_type());
}

int Trainer::run() {
  signals_.emplace();
  const int64_t total = config_.total_steps();
  if (first_step_ >= total) {
    log().info("'{}' is complete: {} of {} steps are done", folder_->path().string(), first_step_, total);
    return kExitDone;
  }
  begin();
  finished_ = false;
  try {
    return run_steps();
  } catch (...) {
    try {
      finish("failed", position_.step, kExitFailed);
    } catch (...) {  // report what ended the run, not this
    }
    throw;
  }
}

int Trainer::run_steps() {
  const int64_t total = config_.total_steps();
  for (int64_t step = first_step_ + 1; step <= total; ++step) {
    const Progress progress = progress_of_next_step();
    const int64_t rows_of_step = position_.settings.global_batch_size;  // an action after the update may change it
    StepReport report{.progress = progress, .active_parameters = model_->num_active()};
    const bool profiled = comm_.rank() == 0 && config_.log.profile.due(progress);
    if (!(profiled ? profile_step(progress, report) : train_step(progress, report))) {
      if (!save(step - 1)) return finish("failed", step - 1, kExitFailed);
      finish("stopped", step - 1, kExitStopped);
      return kExitStopped;
    }
    position_ = {.step = step, .samples = position_.samples + rows_of_step, .tokens = progress.tokens, .flops = progress.flops,
                 .settings = position_.settings, .drawn = position_.drawn, .acted = std::move(position_.acted)};
    note_acted(progress);
    report.average_parameters = position_.flops / training_flops(1, static_cast<double>(position_.tokens));
    report.stops = report.skipped && (config_.optimizer.on_nonfinite == OnNonfinite::kStop || ++consecutive_skips_ >= kMaxConsecutiveSkips);
    report_step(report);
    if (report.stops) {
      // Per-layer updates on a GPU, where the host does not wait for each norm, have already applied this step's gradients.
      const bool reached = config_.optimizer.update == UpdateMode::kDuringBackward && !config_.optimizer.two_passes() && !device_.is_cpu();
      log().error("step {}: {}", step, end_by_nonfinite(config_.optimizer, kMaxConsecutiveSkips, last_checkpoint(), reached ? "" : weight_not_finite(*model_)));
      return finish("failed", step, kExitFailed);
    }
    if (!report.skipped) consecutive_skips_ = 0;
    const bool last = step == total;
    if (!validation_.empty() && (last || config_.evaluation.every.due(progress))) run_evaluation(progress);
    const bool saves = config_.checkpoint.every.due(progress) || (last && config_.checkpoint.at_end);
    const bool saved = !saves || save(step);
    if (last && !saved) return finish("failed", step, kExitFailed);
  }
  return finish("done", total, kExitDone);
}

bool Trainer::train_step(const Progress& progress, StepReport& report) {
  const auto begin = Clock::now();
  kind_->reset_peak(device_);
  const bool recorded = progress.step == first_step_ + 2;  // the first step is not typical
  if (recorded) record_memory(device_.type());
  if (comm_.alone() ? StopSignal::requested() : stop_agreed_) return false;
  const int64_t sent = comm_.bytes_sent();
  const double waited = comm_.seconds_waited();
  // Changes made before the update cannot be undone, so a step with any is finished.
  const bool may_stop = comm_.alone() && !timeline_->due(Phase::kBeforeUpdate, progress);
  const auto rate = [&] { return config_.optimizer.lr * rate_factor(config_.schedule, position_.settings, progress); };
  run_timeline(Phase::kBeforeUpdate, progress, rate());
  report.lr = rate();  // an action may have changed it
  const LiveSettings settings = position_.settings;
  std::vector<int64_t> drawn = position_.drawn;
  const int64_t num_targets = data_->num_targets(position_.samples, settings.global_batch_size, settings.mixture, drawn);
  const auto read = [&](int64_t i) -> std::optional<Batch> {
    if (may_stop && StopSignal::requested()) return std::nullopt;
    return read_batch(i, drawn);
  };
  const auto done = training_step(*model_, *optimizer_, {.progress = progress, .lr = report.lr,
                                                         .num_micro_batches = settings.global_batch_size / settings.micro_batch_size,
                                                         .num_targets = num_targets,
                                                         .loss_chunk = config_.train.loss_chunk, .teachers = teachers_.get(),
                                                         .recorded = recorded_.get(), .read = read});
  if (!done) return false;
  comm_.settle();
  position_.drawn = std::move(drawn);
  run_timeline(Phase::kAfterUpdate, progress, report.lr);
  note(*done, report);
  if (recorded) report.memory_moments = recorded_memory(device_.type());
  report.step_ms = 1e3 * seconds_since(begin);
  report.wait_ms = 1e3 * (comm_.seconds_waited() - waited);
  agree(report);
  report.comm_bytes = comm_.bytes_sent() - sent;
  return true;
}

void Trainer::note(const StepResult& done, StepReport& report) const {
  report.data_ms = done.data_ms;
  if (device_.is_cpu()) report.update_ms = done.update_ms;
  report.loss = done.loss;
  report.grad_norm = done.outcome.grad_norm;
  report.norm_is_estimate = done.outcome.norm_is_estimate;
  report.skipped = !done.outcome.finite;
}

// Takes the step and profiles it. The time that profiling itself takes does not count in the run's speed.
bool Trainer::profile_step(const Progress& progress, StepReport& report) {
  const auto begin = Clock::now();
  kind_->synchronize(device_);
  Profile profile(device_);
  timing_->window += Clock::now() - begin;
  if (!train_step(progress, report)) return false;
  kind_->synchronize(device_);
  const auto end = Clock::now();
  const std::filesystem::path name = folder_->path() / "profile" / fmt::format("step-{:08}", progress.step);
  try {
    log().info("step {}: {}; '{}.txt' and .json", progress.step, profile.save(name), name.string());
  } catch (const std::exception& e) {  // a full disk
    log().warn("step {}: its profile is not written: {}", progress.step, e.what());
  }
  timing_->window += Clock::now() - end;
  return true;
}

// Reads micro-batch i of the step, counted over all processes, and skips those of the other processes before and after it.
Batch Trainer::read_batch(int64_t i, std::vector<int64_t>& drawn) const {
  const LiveSettings& settings = position_.settings;
  const int64_t rows = settings.micro_batch_size;
  data_->skip(position_.samples + (i - comm_.rank()) * rows, comm_.rank() * rows, settings.mixture, drawn);
  const Batch batch = data_->read(position_.samples + i * rows, rows, settings.mixture, drawn);
  data_->skip(position_.samples + (i + 1) * rows, (comm_.size() - comm_.rank() - 1) * rows, settings.mixture, drawn);
  return on_device({batch.inputs.view({-1, settings.sequence_length}), batch.targets.view({-1, settings.sequence_length})}, device_);
}

// Exchanges what all processes need to know of a step, in one message.
void Trainer::agree(StepReport& report) {
  if (comm_.alone()) return;
  const at::Tensor told = at::zeros({2 + comm_.size()}, at::kDouble);
  told[0] = report.loss;
  told[1] = StopSignal::requested() ? 1 : 0;
  told[2 + comm_.rank()] = report.step_ms - report.wait_ms;
  comm_.all_reduce(told).wait();
  report.loss = told[0].item<double>();
  stop_agreed_ = told[1].item<double>() > 0;
  laggard_->note(told.slice(0, 2));
}

void Trainer::report_step(StepReport& report) {
  const Progress& now = report.progress;
  report.log = now.step % config_.log.every == 0 || now.step == now.total_steps || now.step == first_step_ + 1;
  ++timing_->window_steps;
  const double window = seconds_since(timing_->window);
  if (report.log || timing_->rate == 0) timing_->rate = static_cast<double>(timing_->window_steps) / std::max(window, 1e-9);
  if (report.log) {
    timing_->window = Clock::now();
    timing_->window_steps = 0;
  }
  if (data_->size() > 1)
    for (size_t i = 0; i < data_->size(); ++i) report.drawn.emplace_back(data_->name(i), position_.drawn[i]);
  report.peak_bytes = peak_resident_memory();
  report.memory = kind_->peak(device_).whole;
  report.tokens_per_second = timing_->rate * static_cast<double>(now.tokens - now.tokens_before);
  if (timing_->peak_flops > 0) report.mfu = training_flops(static_cast<double>(report.active_parameters), report.tokens_per_second) / timing_->peak_flops;
  report.eta_seconds = static_cast<double>(now.total_steps - now.step) / timing_->rate;
  report.elapsed_seconds = seconds_since(timing_->begin);
  tell([&](RunObserver& o) { o.on_step(report); });
}

void Trainer::note_acted(const Progress& progress) {
  for (size_t i = 0; position_.acted && i < config_.timeline.size(); ++i)
    if (config_.timeline[i].when.due(progress)) (*position_.acted)[resolved_["timeline"][i].dump()] = progress.step;
}

void Trainer::run_timeline(Phase phase, const Progress& progress, double lr) {
  const RunContext context{.model = *model_, .optimizer = *optimizer_, .progress = progress,
                           .seed = static_cast<uint64_t>(config_.run.seed), .lr = lr, .settings = position_.settings, .window = config_.data.sequence_length};
  const bool touched = timeline_->touches_weights(phase, progress);
  if (touched && scattered_) scattered_->gather();
  const std::vector<ActionReport> all = timeline_->run(phase, context);
  if (recorded_ && timeline_->changes_passes(phase, progress)) recorded_->forget();
  unshared_ = unshared_ || touched;
  if (touched && !all.empty()) share();
  if (touched && scattered_) scattered_->attach(*model_);
  for (const ActionReport& done : all) tell([&](RunObserver& o) { o.on_action(progress, done); });
}

// Gives every process what the first one's actions computed, as other machines may round differently. Weights changed by an action that
// acts at every step without a report are shared only with the next report or save.
void Trainer::share() {
  if (!std::exchange(unshared_, false)) return;
  share_weights(*model_, comm_);
  comm_.settle();
}

void Trainer::run_evaluation(const Progress& progress) {
  EvalReport report = evaluate(loss_of(*model_, config_.train.loss_chunk), validation_, config_.evaluation.tokens, config_, comm_);
  report.progress = progress;
  timing_->window += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(report.seconds));
  tell([&](RunObserver& o) { o.on_eval(report); });
}

bool Trainer::save(int64_t step) {
  if (step == last_saved_ || step == 0) return true;
  const auto begin = Clock::now();
  comm_.settle();
  if (scattered_) {
    scattered_->rest();
  } else {
    share();
    check_replicas(*model_, comm_);
  }
  if (!are_finite(*model_, comm_)) {
    const auto last = last_checkpoint();
    log().error("step {}: the weights are not finite and are not saved; {}", step, last ? fmt::format("'{}' remains the last checkpoint", last->string()) : "there is no checkpoint");
    return false;
  }
  const CheckpointContent content{.model = *model_, .optimizer = *optimizer_, .config = resolved_, .position = position_,
                                  .tokenizer = tokenizer_, .tokens = data_->fingerprints()};
  CheckpointReport report{.step = step, .folder = folder_->checkpoints().save(content)};
  report.seconds = seconds_since(begin);
  timing_->window += Clock::now() - begin;
  last_saved_ = step;
  tell([&](RunObserver& o) { o.on_checkpoint(report); });
  return true;
}

int Trainer::finish(const std::string& status, int64_t step, int code) {
  if (std::exchange(finished_, true)) return code;
  const RunSummary summary{.status = status, .step = step, .seconds = seconds_since(timing_->begin)};
  tell([&](RunObserver& o) { o.on_end(summary); });
  return code;
}

}  // namespace tersor
