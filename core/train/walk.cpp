#include "core/train/walk.h"

#include "core/base/blame.h"
#include "core/train/prepare.h"

namespace tersor {
namespace {

class Walk {
 public:
  Walk(const RunConfig& config, const WalkVisitor& visitor)
      : config_(config), visitor_(visitor), shapes_(shapes_of(config)), settings_(first_settings(config)), steps_(config.total_steps()) {
    now_.total_steps = steps_;
    now_.total_tokens = steps_ * config.tokens_per_step();
    for (const TimelineEntry& entry : config.timeline) actions_.push_back(entry.action.build());
    checked_.assign(actions_.size(), false);
  }

  void go() {
    begin_stage(1);
    for (int64_t step = 1; step <= steps_ && !actions_.empty(); ++step) {
      advance();
      run(Phase::kBeforeUpdate);
      if (changed_) begin_stage(step);
      run(Phase::kAfterUpdate);
      if (changed_ && step < steps_) begin_stage(step + 1);
    }
  }

 private:
  void begin_stage(int64_t first_step) {
    changed_ = false;
    active_ = static_cast<double>(shapes_.num_active());
    visitor_.stage(first_step, shapes_, settings_);
  }

  void advance() {
    const int64_t tokens = settings_.global_batch_size * config_.data.sequence_length;
    now_ = now_.next(tokens, training_flops(active_, static_cast<double>(tokens)));
  }

  void run(Phase phase) {
    for (size_t i = 0; i < actions_.size(); ++i)
      if (actions_[i]->phase() == phase && config_.timeline[i].when.due(now_)) act(i);
  }

  void act(size_t i) try {
    visitor_.due(i, now_.step);
    const std::string& name = config_.timeline[i].action.type();
    if (!checked_[i]) actions_[i]->check({shapes_, name});
    checked_[i] = true;
    const LiveSettings before = settings_;
    const bool other_model = actions_[i]->change_structure(shapes_);
    actions_[i]->change_settings(settings_, config_.data.sequence_length);
    check_settings(settings_, config_.data.sequence_length, before.mixture.size(), name);
    if (other_model) checked_.assign(actions_.size(), false);
    changed_ = changed_ || other_model || settings_.global_batch_size != before.global_batch_size ||
               settings_.micro_batch_size != before.micro_batch_size || settings_.sequence_length != before.sequence_length;
  } catch (const UserError& e) {
    throw user_error("{}: {}", config_.timeline[i].action.mark().text(), e.what());
  } catch (...) {
    blame(fmt::format("{}: action '{}'", config_.timeline[i].action.mark().text(), config_.timeline[i].action.type()));
  }

  const RunConfig& config_;
  const WalkVisitor& visitor_;
  Llama shapes_;
  LiveSettings settings_;
  int64_t steps_;
  std::vector<std::unique_ptr<Action>> actions_;
  std::vector<bool> checked_;  // on the model as it is now
  double active_ = 0;
  bool changed_ = false;
  Progress now_;
};

}  // namespace

void walk_run(const RunConfig& config, const WalkVisitor& visitor) { Walk(config, visitor).go(); }

}  // namespace tersor
