// How a run begins: from scratch, from the weights of another, or from its last checkpoint.
#include <ATen/Parallel.h>

#include "core/base/log.h"
#include "core/config/plugin.h"
#include "core/interop/hugging_face.h"
#include "core/train/prepare.h"
#include "core/train/profile.h"
#include "core/train/state_files.h"
#include "core/train/trainer.h"
#include "core/train/walk.h"

namespace tersor {

Trainer::Trainer(const RunConfig& config, Communicator& comm)
    : config_(config), resolved_(fields_to_json(config_)), comm_(comm), kind_(config_.run.device.build()), laggard_(std::make_unique<Laggard>(comm)) {
  if (config_.run.threads > 0) at::set_num_threads(static_cast<int>(config_.run.threads));
  device_ = kind_->open(comm_.local_rank(), config_.run.scalar_type());
  if (!config_.log.profile.never()) Profile::prepare(device_);
  validate(config_, comm_);
  check_shares(config_, comm_.size());
  build_sources();
  timeline_ = std::make_unique<Timeline>(config_.timeline);
  position_.settings = first_settings(config_);
  position_.drawn.assign(data_->size(), 0);
  position_.acted.emplace();
  const bool leads = comm_.rank() == 0;
  if (config_.run.resume == Resume::kAuto) folder_ = std::make_unique<RunFolder>(config_, leads);
  const auto checkpoint = folder_ && leads ? folder_->checkpoints().take_latest_whole() : std::nullopt;
  const std::string chosen = comm_.gather(checkpoint ? checkpoint->string() : "")[0];
  if (!chosen.empty()) {
    resume(chosen);
  } else {
    scattered_ = scatter_weights_of(first_structure(config_));
    model_ = build_model(config_, device_, scattered_.get());
    if (leads) {
      check_tokenizer_of_start(config_, data_->tokenizer());
      warn_of_another_function(config_);
    }
    optimizer_ = make_optimizer();
  }
  const bool from_another = chosen.empty() && !config_.run.init_from.empty();
  if (leads) tokenizer_ = keep_tokenizer(data_->tokenizer(), from_another ? newest_of(config_.run.init_from) : std::filesystem::path(chosen));
  recorded_ = record_passes(config_, *kind_, comm_);
  if (config_.distill) teachers_ = std::make_unique<Teachers>(config_, data_->tokenizer(), device_);
  // Last, because run.resume=overwrite removes the old run: everything else must have succeeded.
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
  if (comm_.rank() != 0) return;
  std::vector<std::filesystem::path> tokenizers;
  for (size_t i = 0; i < data_->size(); ++i) tokenizers.push_back(data_->tokenizer_of(i));
  for (const ValidationPart& part : validation_) {
    tokenizers.push_back(part.source->tokenizer());
    const int64_t there = part.source->size() * config_.data.sequence_length;
    if (there < config_.evaluation.tokens) log().warn("evaluation.tokens is {}, but '{}' has only {}: each evaluation takes them all", config_.evaluation.tokens, part.name, there);
  }
  check_tokenizers(config_, tokenizers);
}

void Trainer::resume(const std::filesystem::path& checkpoint) {
  const TrainerState state = open_checkpoint(checkpoint, Summed::kNone);  // the first process has checked the sums
  for (const std::string& change : compare_configs(state.config, resolved_)) log().info("changed since the checkpoint: {}", change);
  for (const auto& [file, sum] : loaded_plugins())
    if (const auto before = state.plugins.find(file); before != state.plugins.end() && before->second != sum) log().info("changed since the checkpoint: plugin '{}' itself", file);
  scattered_ = scatter_weights_of(state.structure);
  model_ = build_model(config_, state.structure, device_, scattered_.get());
  load_weights(checkpoint, *model_);
  optimizer_ = make_optimizer();
  load_optimizer(checkpoint, *optimizer_);
  for (const std::string& name : state.frozen) optimizer_->set_frozen(name, true);
  position_ = state.position;
  adopt_changed_settings(state.config, state.tokens);
  first_step_ = last_saved_ = position_.step;
  if (comm_.rank() == 0) warn_of_timeline();
}

// For a run that was made longer or shorter, or was given other actions.
void Trainer::warn_of_timeline() const {
  if (!position_.acted) return;
  std::vector<std::vector<int64_t>> due(config_.timeline.size());
  walk_run(config_, {.due = [&](size_t action, int64_t step) { due[action].push_back(step); }});
  for (size_t i = 0; i < due.size(); ++i) {
    if (due[i].empty()) continue;
    const auto acted = position_.acted->find(resolved_["timeline"][i].dump());
    const Choice<actions>& action = config_.timeline[i].action;
    if (acted == position_.acted->end() && due[i].back() <= position_.step)
      log().warn("{}: timeline: {} is due up to step {} only, which is past: it will not run", action.mark().text(), action.type(), due[i].back());
    else if (acted != position_.acted->end() && due[i].size() == 1 && due[i][0] > position_.step)
      log().warn("{}: timeline: {} was done at step {}, and in a run of this length is due at step {} as well; leave it out, or name the step", action.mark().text(),
                 action.type(), acted->second, due[i][0]);
  }
}

// Options changed by hand since the checkpoint override the settings that the run had reached.
void Trainer::adopt_changed_settings(const Json& saved, const std::vector<std::string>& tokens) {
  if (position_.drawn.size() != data_->size())
    throw user_error("data: the checkpoint is of a run with {} sources, but there are {} now; restore them, or keep only the weights "
                     "with run.name=another run.init_from=…", position_.drawn.size(), data_->size());
  if (comm_.rank() == 0 && !tokens.empty() && tokens != data_->fingerprints())
    log().warn("the data's tokens differ from those that this run was trained on so far: from here on it is another run");
  const LiveSettings given = first_settings(config_);
  if (saved.at("train").at("micro_batch_size") != given.micro_batch_size) position_.settings.micro_batch_size = given.micro_batch_size;
  const auto weights = [](const Json& config) {
    Json all = Json::array();
    for (const Json& source : config.at("data").at("sources")) all.push_back(source.at("weight"));
    return all;
  };
  if (weights(saved) != weights(resolved_)) position_.settings.mixture = given.mixture;
  if (position_.settings.global_batch_size % position_.settings.micro_batch_size != 0)
    throw user_error("train.micro_batch_size {} does not divide the {} windows per step that the run has now",
                     position_.settings.micro_batch_size, position_.settings.global_batch_size);
}

}  // namespace tersor
