#include "core/train/trainer.h"

#include <ATen/Parallel.h>

#include <chrono>
#include <cmath>

#include "core/base/files.h"
#include "core/base/log.h"
#include "core/interop/hugging_face.h"
#include "core/memory/machine.h"
#include "core/train/nonfinite.h"
#include "core/train/prepare.h"
#include "core/train/state_files.h"
#include "core/train/stop_signal.h"
#include "core/train/training_step.h"

namespace tersor {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxConsecutiveSkips = 10;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

struct Trainer::Timing {
  Clock::time_point begin = Clock::now();
  Clock::time_point window = Clock::now();  // since the last logged step
  int64_t window_steps = 0;
  double rate = 0;       // steps a second over the last window
  double peak_flops = 0;  // of all devices together, where that is known
};

Trainer::Trainer(const RunConfig& config, Communicator& comm)
    : config_(config), resolved_(fields_to_json(config_)), comm_(comm), kind_(config_.run.device.build()), laggard_(std::make_unique<Laggard>(comm)) {
  if (config_.run.threads > 0) at::set_num_threads(static_cast<int>(config_.run.threads));
  device_ = kind_->open(comm_.local_rank());
  validate(config_, comm_);
  check_shares(config_, comm_.size());
  build_sources();
  timeline_ = std::make_unique<Timeline>(config_.timeline);
  position_.settings = first_settings(config_);
  position_.drawn.assign(data_->size(), 0);
  const bool leads = comm_.rank() == 0;
  if (config_.run.resume == Resume::kAuto) folder_ = std::make_unique<RunFolder>(config_, leads);
  const auto checkpoint = folder_ && leads ? folder_->checkpoints().latest() : std::nullopt;
  const std::string chosen = comm_.gather(checkpoint ? checkpoint->string() : "")[0];
  if (!chosen.empty()) {
    resume(chosen);
  } else {
    scattered_ = scatter_weights_of(first_structure(config_));
    model_ = build_model(config_, device_, scattered_.get());
    optimizer_ = make_optimizer();
  }
  recorded_ = record_passes(config_, *kind_, comm_);
  if (config_.distill) teachers_ = std::make_unique<Teachers>(config_, data_->tokenizer(), device_);
  // Last: run.resume=overwrite removes the old run, so all else must stand.
  if (!folder_) folder_ = std::make_unique<RunFolder>(config_, leads);
  (void)comm_.gather("");
}

Trainer::~Trainer() = default;

std::unique_ptr<ScatteredWeights> Trainer::scatter_weights_of(const Structure& structure) const {
  if (comm_.alone() || config_.distributed.shard != Shard::kWeights) return nullptr;
  return std::make_unique<ScatteredWeights>(shapes_of(config_, structure), comm_);
}

std::unique_ptr<Optimizer> Trainer::make_optimizer() const {
  if (scattered_) scattered_->attach(*model_);
  return std::make_unique<Optimizer>(model_->params(), config_.optimizer, static_cast<uint64_t>(config_.run.seed),
                                     Processes{.comm = &comm_, .shard = config_.distributed.shard});
}

void Trainer::build_sources() {
  data_ = std::make_unique<Mixture>(training_data(config_));
  if (!config_.evaluation.every.never()) validation_ = validation_parts(config_);
}

void Trainer::resume(const std::filesystem::path& checkpoint) {
  const TrainerState state = open_checkpoint(checkpoint);
  for (const std::string& change : compare_configs(state.config, resolved_)) log().info("changed since the checkpoint: {}", change);
  scattered_ = scatter_weights_of(state.structure);
  model_ = build_model(config_, state.structure, device_, scattered_.get());
  load_weights(checkpoint, *model_);
  optimizer_ = make_optimizer();
  load_optimizer(checkpoint, *optimizer_);
  for (const std::string& name : state.frozen) optimizer_->set_frozen(name, true);
  position_ = state.position;
  adopt_changed_settings(state.config);
  first_step_ = last_saved_ = position_.step;
}

// What was changed by hand since the checkpoint wins over what the run had become.
void Trainer::adopt_changed_settings(const Json& saved) {
  if (position_.drawn.size() != data_->size())
    throw user_error("data: the checkpoint is of a run with {} sources, and there are {} now; put them back, or keep the weights alone "
                     "with run.name=another run.init_from=…", position_.drawn.size(), data_->size());
  const LiveSettings given = first_settings(config_);
  if (saved.at("train").at("micro_batch_size") != given.micro_batch_size) position_.settings.micro_batch_size = given.micro_batch_size;
  if (saved.at("data").at("sources") != resolved_.at("data").at("sources")) position_.settings.mixture = given.mixture;
  if (position_.settings.global_batch_size % position_.settings.micro_batch_size != 0)
    throw user_error("train.micro_batch_size {} does not divide the {} windows a step that the run has now",
                     position_.settings.micro_batch_size, position_.settings.global_batch_size);
}

Progress Trainer::progress_of_next_step() const {
  const int64_t tokens = position_.settings.global_batch_size * config_.data.sequence_length;
  const int64_t total = config_.total_steps();
  return {.step = position_.step + 1,
          .tokens = position_.tokens + tokens,
          .tokens_before = position_.tokens,
          .total_steps = total,
          .total_tokens = total * config_.tokens_per_step(),
          .flops = position_.flops + 6.0 * static_cast<double>(model_->num_active()) * static_cast<double>(tokens),
          .flops_before = position_.flops};
}

void Trainer::tell(const std::function<void(RunObserver&)>& what) {
  for (const auto& observer : observers_) what(*observer);
}

int Trainer::run() {
  const StopSignal signals;
  const int64_t total = config_.total_steps();
  if (first_step_ >= total) {
    log().info("'{}' is complete: {} of {} steps are done", folder_->path().string(), first_step_, total);
    return kExitDone;
  }
  if (comm_.rank() == 0) {
    write_whole(folder_->path() / "config.yaml", to_yaml(resolved_));
    observers_.push_back(make_console());
    observers_.push_back(make_jsonl(folder_->path()));
    if (config_.log.tensorboard) observers_.push_back(make_tensorboard(folder_->path()));
  }
  const RunInfo info{config_, resolved_, model_->num_parameters(), first_step_, model_->bytes(), optimizer_->state().bytes(), comm_.size(),
                     kind_->name(comm_.local_rank())};
  tell([&](RunObserver& o) { o.on_start(info); });
  timing_ = std::make_unique<Timing>();
  timing_->peak_flops = comm_.size() * kind_->peak_flops(comm_.local_rank(), config_.run.dtype == Dtype::kBf16 ? at::kBFloat16 : at::kFloat);

  for (int64_t step = first_step_ + 1; step <= total; ++step) {
    const Progress progress = progress_of_next_step();
    const int64_t rows_of_step = position_.settings.global_batch_size;  // an action after the update may change it
    StepReport report{.progress = progress, .active_parameters = model_->num_active()};
    if (!train_step(progress, report)) {
      save(step - 1);
      finish("stopped", step - 1, kExitStopped);
      return kExitStopped;
    }
    position_ = {.step = step, .samples = position_.samples + rows_of_step, .tokens = progress.tokens, .flops = progress.flops,
                 .settings = position_.settings, .drawn = position_.drawn};
    if (data_->size() > 1)
      for (size_t i = 0; i < data_->size(); ++i) report.drawn.emplace_back(data_->name(i), position_.drawn[i]);
    report.average_parameters = position_.flops / (6 * static_cast<double>(position_.tokens));
    report.stops = report.skipped && (config_.optimizer.on_nonfinite == OnNonfinite::kStop || ++consecutive_skips_ >= kMaxConsecutiveSkips);
    report_step(report);
    if (report.stops) {
      log().error("step {}: {}", step, end_by_nonfinite(config_.optimizer, kMaxConsecutiveSkips, last_checkpoint()));
      return finish("failed", step, kExitFailed);
    }
    if (!report.skipped) consecutive_skips_ = 0;
    const bool last = step == total;
    if (!validation_.empty() && (last || config_.evaluation.every.due(progress))) run_evaluation(progress);
    if (last || config_.checkpoint.every.due(progress)) save(step);
  }
  return finish("done", total, kExitDone);
}

bool Trainer::train_step(const Progress& progress, StepReport& report) {
  const auto begin = Clock::now();
  kind_->reset_peak(device_);
  const bool recorded = progress.step == first_step_ + 2;  // the first is not an ordinary one
  if (recorded) record_memory(device_.type());
  if (comm_.alone() ? StopSignal::requested() : stop_agreed_) return false;
  const int64_t sent = comm_.bytes_sent();
  const double waited = comm_.seconds_waited();
  // What has changed before the update cannot be taken back: such a step is finished.
  const bool may_stop = comm_.alone() && !timeline_->due(Phase::kBeforeUpdate, progress);
  report.lr = config_.optimizer.lr * rate_factor(config_.schedule, *timeline_, progress);
  run_timeline(Phase::kBeforeUpdate, progress, report.lr);
  const LiveSettings settings = position_.settings;
  std::vector<int64_t> drawn = position_.drawn;
  const int64_t num_targets = data_->num_targets(position_.samples, settings.global_batch_size, settings.mixture, drawn);
  const auto read = [&](int64_t i) -> std::optional<Batch> {
    if (may_stop && StopSignal::requested()) return std::nullopt;
    const int64_t rows = settings.micro_batch_size;
    const int64_t before = i - comm_.rank();  // the micro-batches of the others lie before this process's and after
    data_->skip(position_.samples + before * rows, comm_.rank() * rows, settings.mixture, drawn);
    const Batch batch = data_->read(position_.samples + i * rows, rows, settings.mixture, drawn);
    data_->skip(position_.samples + (i + 1) * rows, (comm_.size() - comm_.rank() - 1) * rows, settings.mixture, drawn);
    return on_device({batch.inputs.view({-1, settings.sequence_length}), batch.targets.view({-1, settings.sequence_length})}, device_);
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
  report.data_ms = done->data_ms;
  if (device_.is_cpu()) report.update_ms = done->update_ms;
  report.loss = done->loss.item<double>();
  report.grad_norm = done->outcome.grad_norm;
  report.norm_is_estimate = done->outcome.norm_is_estimate;
  report.skipped = !done->outcome.finite;
  if (recorded) report.memory_moments = recorded_memory(device_.type());
  report.step_ms = 1e3 * seconds_since(begin);
  report.wait_ms = 1e3 * (comm_.seconds_waited() - waited);
  agree(report);
  report.comm_bytes = comm_.bytes_sent() - sent;
  return true;
}

// What all need to know of a step, in one message.
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
  report.peak_bytes = peak_resident_memory();
  report.memory = kind_->peak(device_).whole;
  report.tokens_per_second = timing_->rate * static_cast<double>(now.tokens - now.tokens_before);
  if (timing_->peak_flops > 0) report.mfu = 6 * static_cast<double>(report.active_parameters) * report.tokens_per_second / timing_->peak_flops;
  report.eta_seconds = static_cast<double>(now.total_steps - now.step) / timing_->rate;
  report.elapsed_seconds = seconds_since(timing_->begin);
  tell([&](RunObserver& o) { o.on_step(report); });
}

void Trainer::run_timeline(Phase phase, const Progress& progress, double lr) {
  const RunContext context{.model = *model_, .optimizer = *optimizer_, .progress = progress,
                           .seed = static_cast<uint64_t>(config_.run.seed), .lr = lr, .settings = position_.settings};
  const bool touched = timeline_->touches_weights(phase, progress);
  if (touched && scattered_) scattered_->gather();
  const std::vector<ActionReport> all = timeline_->run(phase, context);
  if (recorded_ && !all.empty()) recorded_->forget();
  if (touched && !all.empty()) share_weights(*model_, comm_);  // an action may compute with other digits on another machine
  if (touched && scattered_) scattered_->attach(*model_);
  for (const ActionReport& done : all) tell([&](RunObserver& o) { o.on_action(progress, done); });
}

void Trainer::run_evaluation(const Progress& progress) {
  EvalReport report = evaluate(loss_of(*model_, config_.train.loss_chunk), validation_, config_.evaluation.tokens, config_, comm_);
  report.progress = progress;
  timing_->window += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(report.seconds));
  tell([&](RunObserver& o) { o.on_eval(report); });
}

void Trainer::save(int64_t step) {
  if (step == last_saved_ || step == 0) return;
  const auto begin = Clock::now();
  comm_.settle();
  if (scattered_)
    scattered_->rest();
  else
    check_replicas(*model_, comm_);
  const CheckpointContent content{.model = *model_, .optimizer = *optimizer_, .config = resolved_, .position = position_,
                                  .tokenizer = data_->tokenizer()};
  CheckpointReport report{.step = step, .folder = folder_->checkpoints().save(content)};
  report.seconds = seconds_since(begin);
  timing_->window += Clock::now() - begin;
  last_saved_ = step;
  tell([&](RunObserver& o) { o.on_checkpoint(report); });
}

int Trainer::finish(const std::string& status, int64_t step, int code) {
  const RunSummary summary{.status = status, .step = step, .seconds = seconds_since(timing_->begin)};
  tell([&](RunObserver& o) { o.on_end(summary); });
  return code;
}

}  // namespace tersor
