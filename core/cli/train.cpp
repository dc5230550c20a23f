#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "core/base/log.h"
#include "core/cli/commands.h"
#include "core/cli/config_words.h"
#include "core/cli/failure.h"
#include "core/train/evaluate.h"
#include "core/train/prepare.h"
#include "core/train/trainer.h"

namespace tersor {
namespace {

// Divides the cores of a machine among the processes on it.
void share_cores(const RunConfig& config, const Place& place) {
  if (config.run.threads > 0 || place.local_size == 1) return;
  at::set_num_threads(std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / place.local_size));
}

int train_alone(const std::string& program, const RunConfig& config) {
  Trainer trainer(config);
  const auto command = [&] { return fmt::format("{} train {} run.resume=auto", quoted(program), quoted((config.folder() / "config.yaml").string())); };  // with all options
  int code = kExitFailed;
  try {
    code = trainer.run();
  } catch (const UserError& e) {  // the options were right, but something else was not
    const auto saved = trainer.last_checkpoint();
    throw std::runtime_error(fmt::format("{}\n{}", e.what(), saved ? fmt::format("the last checkpoint is '{}': once that is fixed, go on with: {}", saved->string(), command())
                                                                   : "there is no checkpoint yet"));
  }
  if (code == kExitStopped) {
    fmt::print("go on with: {}\n", command());
  }
  return code;
}

// Ends a process that has lost another at once: other threads that wait for an answer would wait on.
[[noreturn]] void end_now(int code) {
  std::fflush(nullptr);
  std::_Exit(code);
}

int train_together(const RunConfig& config, const Place& place) {
  share_cores(config, place);
  if (place.rank != 0) log().set_level(spdlog::level::warn);
  const auto kind = config.run.device.build();
  (void)kind->open(place.local_rank, config.run.scalar_type());
  const auto comm = [&] {
    try {
      return connect(place, std::chrono::milliseconds(static_cast<int64_t>(1000 * config.distributed.timeout)), kind->connector());
    } catch (const UserError& e) {
      fmt::print(stderr, "{}\n", e.what());
      end_now(kExitRejected);  // other threads may wait for an answer without end
    }
  }();
  std::unique_ptr<Trainer> trainer;
  const auto next = [&] {
    return trainer && trainer->last_checkpoint() ? "; continue from the last checkpoint with run.resume=auto" : "";
  };
  try {
    check_same_options(config, *comm);
    trainer = std::make_unique<Trainer>(config, *comm);
    const int code = trainer->run();
    (void)comm->gather("");  // the first process holds the store and must not be the first to exit
    if (code == kExitStopped && place.rank == 0) fmt::print("stopped and saved: to go on, start the processes the same way, with run.resume=auto\n");
    return code;
  } catch (const LostProcess& e) {
    log().error("process {} of {} ends: {}{}", place.rank, place.size, e.what(), next());
    end_now(kExitFailed);
  } catch (const std::exception& e) {
    const Failure failure = failure_of(e);
    comm->fail(failure.text);
    log().error("process {} of {}: {}{}", place.rank, place.size, failure.text, next());
    std::fflush(nullptr);
    if (place.rank == 0) std::this_thread::sleep_for(std::chrono::seconds(2));  // the others read the reason from the store in this process
    end_now(trainer && failure.exit_code == kExitRejected ? kExitFailed : failure.exit_code);  // the options were right
  }
}

// A run continues in its folder; if that was moved, the new place must be named.
void check_place(const std::vector<std::filesystem::path>& files, const std::vector<std::string>& overrides, const RunConfig& config) {
  namespace fs = std::filesystem;
  const auto names_a_place = [](const std::string& word) { return word.find("run.name=") < 3 || word.find("run.out_dir=") < 3; };
  if (std::any_of(overrides.begin(), overrides.end(), names_a_place)) return;  // another run with the same options
  if (config.run.resume != Resume::kAuto || files.empty() || files.back().filename() != "config.yaml") return;
  const fs::path folder = fs::absolute(files.back()).parent_path();
  if (!fs::exists(folder / "checkpoints") || fs::exists(config.folder())) return;
  throw user_error("'{}' is the configuration of a run that was in '{}'; to go on here, add run.out_dir={} run.name={}", files.back().string(),
                   config.folder().string(), quoted(folder.parent_path().string()), quoted(folder.filename().string()));
}

int train(const CLI::App& command, bool dry_run) {
  const auto [files, overrides] = sort_words(command);
  const RunConfig config = read_run_config(files, overrides);
  check_place(files, overrides, config);
  if (dry_run) {
    validate(config);  // as the trainer does for one process
    try {
      (void)training_data(config);
      if (!config.evaluation.every.never()) (void)validation_parts(config);
    } catch (const UserError& e) {  // the machine that trains may have the data
      log().warn("the options are right, but on this machine the run could not begin: {}", e.what());
    }
    RunConfig copy = config;
    fmt::print("{}", to_yaml(fields_to_json(copy)));
    return kExitDone;
  }
  const Place place = find_place();
  return place.size == 1 ? train_alone(command.get_parent()->get_name(), config) : train_together(config, place);
}

}  // namespace

void add_train_command(CLI::App& app, int& exit_code) {
  auto dry_run = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("train", "train as YAML files say: later files, then section.option=value, take precedence");
  command->add_flag("--dry-run", *dry_run, "check the configuration, print it with every default, and stop");
  command->allow_extras();
  command->footer("tersor train configs/run/quickstart.yaml optimizer.lr=0.003 run.resume=auto");
  command->callback([command, dry_run, &exit_code] { exit_code = train(*command, *dry_run); });
}

}  // namespace tersor
