// Nothing is lost: a run that was stopped, killed or interrupted ends like one that was not.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <thread>

#include "core/train/loaded_run.h"
#include "core/train/stop_signal.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_run.h"
#include "tests/support/warnings.h"

extern char** environ;

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::checkpoint_sums;
using testing::records;
using testing::TemporaryFolder;
using testing::tiny_config;

void check_same_losses(const fs::path& run, const fs::path& other, int64_t from) {
  const auto a = records(run, "step");
  const auto b = records(other, "step");
  REQUIRE(a.size() == b.size());
  for (const auto& [step, record] : a) {
    if (step < from) continue;
    CHECK(record["train/loss"].dump() == b.at(step)["train/loss"].dump());
    CHECK(record["grad_norm"].dump() == b.at(step)["grad_norm"].dump());
  }
  CHECK(records(run, "eval").rbegin()->second["val/loss"].dump() == records(other, "eval").rbegin()->second["val/loss"].dump());
}

TEST_CASE("resume: n steps, a stop and n steps are 2n steps, bit for bit", "[train][resume]") {
  const std::vector<std::string> variants[] = {
      {},
      {"run.dtype=bf16", "optimizer.groups=[{match: any, rule: adamw, state: bf16}]"},
      {"optimizer.clip_norm=~", "optimizer.update=during_backward", "optimizer.groups=[{match: any, rule: {type: sgd, momentum: 0.9}}]"},
      {"timeline=[{do: reset_moments, when: every 2}]"},
      {"run.dtype=bf16", "parameterization.method={type: switch_lora, rank: 8}"},
      {"run.dtype=bf16", "parameterization.method={type: lora, rank: 8, base: int4}", "optimizer.update=during_backward"},
      {"run.dtype=bf16", "parameterization.method={type: svd, rank: 8, base: int8}"},
      {"run.dtype=bf16", "parameterization.method={type: low_rank, rank: 8, activation: silu}"}};
  for (const auto& variant : variants) {
    const TemporaryFolder folder;
    const RunConfig whole = tiny_config(folder / "whole", variant);
    REQUIRE(testing::train(whole) == kExitDone);

    RunConfig resumed = tiny_config(folder / "resumed", variant);
    resumed.run.resume = Resume::kAuto;
    fs::create_directories(resumed.folder() / "checkpoints");
    fs::copy(whole.folder() / "checkpoints" / "step-00000003", resumed.folder() / "checkpoints" / "step-00000003");
    fs::copy(whole.folder() / "metrics.jsonl", resumed.folder() / "metrics.jsonl");
    REQUIRE(testing::train(resumed) == kExitDone);
    check_same_losses(whole.folder(), resumed.folder(), 4);
    CHECK(checkpoint_sums(whole.folder() / "checkpoints" / "step-00000006") ==
          checkpoint_sums(resumed.folder() / "checkpoints" / "step-00000006"));
  }
}

TEST_CASE("resume: what is there is never written over unasked", "[train][resume]") {
  const TemporaryFolder folder;
  REQUIRE(testing::train(tiny_config(folder.path())) == kExitDone);
  CHECK_THROWS_AS(Trainer(tiny_config(folder.path())), UserError);
  CHECK_THROWS_WITH(Trainer(tiny_config(folder.path(), {"run.resume=auto", "model.hidden_size=64"})),
                    Catch::Contains("model.hidden_size: 32 → 64"));
  CHECK_THROWS_AS(Trainer(tiny_config(folder.path(), {"run.resume=auto", "optimizer.groups=[{match: any, rule: sgd}]"})), UserError);
  CHECK(compare_configs({{"optimizer", {{"groups", {{{"rule", {{"rank", 4}}}}}}}}}, {{"optimizer", {{"groups", {{{"rule", {{"rank", 8}}}}}}}}}) ==
        std::vector<std::string>{"optimizer.groups.0.rule.rank: 4 → 8"});
  CHECK(testing::train(tiny_config(folder.path(), {"run.resume=auto"})) == kExitDone);
  CHECK(testing::train(tiny_config(folder.path(), {"run.resume=overwrite", "train.steps=2"})) == kExitDone);
  CHECK(records(folder / "tiny", "step").size() == 2);
}

TEST_CASE("resume: records of a run that left no checkpoint are kept", "[train][resume]") {
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(folder.path());
  REQUIRE(testing::train(config) == kExitDone);
  const std::string before = read_text(config.folder() / "metrics.jsonl");
  std::filesystem::remove_all(config.folder() / "checkpoints");
  REQUIRE(testing::train(tiny_config(folder.path(), {"run.resume=auto"})) == kExitDone);
  CHECK(read_text(config.folder() / "metrics.old.jsonl") == before);
  CHECK(read_text(config.folder() / "metrics.jsonl").find("\"type\":\"start\"") < 2);
}

TEST_CASE("resume: what a damaged checkpoint lacks is told by the file's name", "[train][resume]") {
  const TemporaryFolder folder;
  REQUIRE(testing::train(tiny_config(folder.path(), {"checkpoint.keep=1"})) == kExitDone);
  const fs::path file = folder / "tiny" / "checkpoints" / "step-00000006" / "model.safetensors";
  const RunConfig again = tiny_config(folder.path(), {"run.resume=auto", "train.steps=8"});
  for (const std::string name : {"optim-00000.safetensors", "model.safetensors", "trainer.json"}) {
    const fs::path damaged = file.parent_path() / name;
    const std::string whole = read_text(damaged);
    std::string bytes = whole;
    char& one = bytes[name == "trainer.json" ? 0 : bytes.size() / 2];
    one = static_cast<char>(one ^ 1);
    write_whole(damaged, bytes);
    CHECK_THROWS_WITH(Trainer(again), Catch::Contains(name + "' is damaged") && Catch::Contains("no checkpoint in"));
    if (name.starts_with("optim"))
      CHECK(load_run(folder / "tiny", at::kCPU).step == 6);  // needs no optimizer state
    else
      CHECK_THROWS_WITH(load_run(folder / "tiny", at::kCPU), Catch::Contains(name + "' is damaged"));
    write_whole(damaged, whole);
  }
  CHECK(testing::train(again) == kExitDone);
}

TEST_CASE("resume: a damaged manifest is told by name", "[train][resume]") {
  const TemporaryFolder folder;
  REQUIRE(testing::train(tiny_config(folder.path(), {"checkpoint.keep=1"})) == kExitDone);
  const RunConfig again = tiny_config(folder.path(), {"run.resume=auto", "train.steps=8"});
  const fs::path file = folder / "tiny" / "checkpoints" / "step-00000006" / "manifest.json";
  const Json good = Json::parse(read_text(file));
  Json without = good;
  without["files"]["model.safetensors"].erase("bytes");
  for (const std::string& text : {std::string("{"), std::string("[]"), std::string("{}"), without.dump()}) {
    write_whole(file, text);
    CHECK_THROWS_WITH(Trainer(again), Catch::Contains("manifest.json' is damaged"));
  }
  Json other = good;
  other["format"] = 99;
  write_whole(file, other.dump());
  CHECK_THROWS_WITH(Trainer(again), Catch::Contains("has format 99") && Catch::Contains("the version that wrote it"));
}

TEST_CASE("resume: from a damaged checkpoint a run goes back to the one before it, and comes to the same weights", "[train][resume]") {
  const TemporaryFolder folder;
  const std::vector<std::string> words{"checkpoint.every=every 2", "checkpoint.keep=3", "train.steps=6"};
  REQUIRE(testing::train(tiny_config(folder.path(), words)) == kExitDone);
  const fs::path checkpoints = folder / "tiny" / "checkpoints";
  const std::string weights = read_text(checkpoints / "step-00000006" / "model.safetensors");
  std::string bytes = weights;
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_whole(checkpoints / "step-00000006" / "model.safetensors", bytes);
  fs::remove(checkpoints / "step-00000004" / "manifest.json");
  std::vector<std::string> again = words;
  again.emplace_back("run.resume=auto");
  REQUIRE(testing::train(tiny_config(folder.path(), again)) == kExitDone);
  CHECK(read_text(checkpoints / "step-00000006" / "model.safetensors") == weights);
  CHECK(fs::exists(checkpoints / "step-00000006.damaged" / "model.safetensors"));
  CHECK(fs::exists(checkpoints / "step-00000004.damaged"));
  CHECK(newest_of(folder / "tiny").filename() == "step-00000006");
}

TEST_CASE("resume: a checkpoint that only lacks its name is taken, one that is not whole is removed", "[train][resume]") {
  const TemporaryFolder folder;
  REQUIRE(testing::train(tiny_config(folder.path())) == kExitDone);
  const fs::path checkpoints = folder / "tiny" / "checkpoints";
  fs::rename(checkpoints / "step-00000006", checkpoints / "step-00000006.unfinished");
  fs::create_directories(checkpoints / "step-00000005.unfinished");
  CheckpointStore store(checkpoints, 2);
  store.remove_unfinished();
  CHECK(store.latest() == checkpoints / "step-00000006");
  CHECK_FALSE(fs::exists(checkpoints / "step-00000005.unfinished"));
}

TEST_CASE("resume: what a longer run's timeline does twice, or never, is told", "[train][resume][timeline]") {
  const TemporaryFolder folder;
  const std::vector<std::string> first{"timeline=[{do: reset_moments, when: at 50%}]"};
  REQUIRE(testing::train(tiny_config(folder.path(), first)) == kExitDone);
  testing::Warnings warnings;
  const auto told = [&](std::vector<std::string> more) {
    more.insert(more.begin(), first.begin(), first.end());
    more.emplace_back("run.resume=auto");
    const Trainer trainer(tiny_config(folder.path(), more));
    return warnings.take();
  };
  CHECK_THAT(told({}), !Catch::Contains("timeline"));
  CHECK_THAT(told({"train.steps=20"}), Catch::Contains("reset_moments was done at step 3, and in a run of this length is due at step 10 as well"));
  CHECK_THAT(told({"train.steps=20", "timeline=[{do: reset_moments, when: at 2}]"}), Catch::Contains("reset_moments is due up to step 2 only, which is past"));
}

TEST_CASE("stop_signal: what was ignored before still is, and a wish told twice is one", "[train]") {
  struct sigaction ignored {};
  struct sigaction before {};
  ignored.sa_handler = SIG_IGN;
  sigaction(SIGHUP, &ignored, &before);
  {
    const StopSignal signals;
    raise(SIGHUP);
    CHECK_FALSE(StopSignal::requested());
    raise(SIGTERM);
    CHECK(StopSignal::requested());
    for (const int again : {SIGTERM, SIGINT, SIGUSR1}) raise(again);  // nothing ends, as all come at once
  }
  struct sigaction after {};
  sigaction(SIGHUP, &before, &after);
  CHECK(after.sa_handler == SIG_IGN);
}

TEST_CASE("resume: two processes do not train in one folder", "[train][resume]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "locked" / ".lock");
  CHECK_THROWS_WITH(FolderLock(folder / "locked", "training", ""), Catch::Contains("cannot be locked"));
  const Trainer first(tiny_config(folder.path()));
  CHECK_THROWS_WITH(Trainer(tiny_config(folder.path())), Catch::Contains("another process is training"));
}

// Runs the program itself, so that signals arrive as they do from users.
class Program {
 public:
  Program(const fs::path& config, const fs::path& log) {
    std::vector<std::string> words{TERSOR_PROGRAM, "train", config.string(), "run.resume=auto"};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (const int fd : {1, 2})
      posix_spawn_file_actions_addopen(&actions, fd, log.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0644);
    REQUIRE(posix_spawn(&pid_, TERSOR_PROGRAM, &actions, nullptr, argv.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  void send(int signal) const { kill(pid_, signal); }
  // The exit code, or 128 + the signal that ended the program.
  int wait() const {
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = 0;
};

void write_config(const fs::path& file, const RunConfig& config) {
  RunConfig copy = config;
  write_whole(file, to_yaml(fields_to_json(copy)));
}

void wait_for_step(const fs::path& run, int64_t step) {
  for (int i = 0; i < 600; ++i) {
    if (fs::exists(run / "metrics.jsonl") && !records(run, "step").empty() && records(run, "step").rbegin()->first >= step) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  FAIL("the run did not reach step " << step);
}

TEST_CASE("resume: a signal saves, says how to go on, and exits with 75", "[train][resume][slow]") {
  const TemporaryFolder folder;
  const std::vector<std::string> longer{"train.steps=400", "evaluation.every=every 200", "checkpoint.every=every 150"};
  const RunConfig whole = tiny_config(folder / "whole", longer);
  REQUIRE(testing::train(whole) == kExitDone);
  const RunConfig stopped = tiny_config(folder / "stopped", longer);
  write_config(folder / "stopped.yaml", stopped);
  for (const int signal : {SIGTERM, SIGINT}) {
    const int64_t done = fs::exists(stopped.folder() / "metrics.jsonl") ? records(stopped.folder(), "step").rbegin()->first : 0;
    const Program program(folder / "stopped.yaml", folder / "log");
    wait_for_step(stopped.folder(), done + 20);
    program.send(signal);
    CHECK(program.wait() == kExitStopped);
  }
  CHECK(read_text(folder / "log").find("run.resume=auto") != std::string::npos);
  CHECK(Program(folder / "stopped.yaml", folder / "log").wait() == kExitDone);
  check_same_losses(whole.folder(), stopped.folder(), 1);
  CHECK(checkpoint_sums(whole.folder() / "checkpoints" / "step-00000400") ==
        checkpoint_sums(stopped.folder() / "checkpoints" / "step-00000400"));
}

TEST_CASE("resume: kill -9 at any moment, saves included, loses nothing that was saved", "[train][resume][slow]") {
  const TemporaryFolder folder;
  // A save after every step, so that most kills hit one.
  const std::vector<std::string> longer{"train.steps=300", "evaluation.every=every 100", "checkpoint.every=every 1"};
  const RunConfig whole = tiny_config(folder / "whole", longer);
  REQUIRE(testing::train(whole) == kExitDone);
  const RunConfig killed = tiny_config(folder / "killed", longer);
  write_config(folder / "killed.yaml", killed);
  const RandomStream random = random_stream(7, "kill");
  int code = -1;
  for (uint64_t i = 0; i < 40 && code != kExitDone; ++i) {
    const Program program(folder / "killed.yaml", folder / "log");
    if (i < 8) {
      std::this_thread::sleep_for(std::chrono::milliseconds(600 + static_cast<int64_t>(random.below(i, 700))));
      program.send(SIGKILL);
    }
    code = program.wait();
    CHECK((code == kExitDone || code == 128 + SIGKILL));
  }
  CHECK(code == kExitDone);
  check_same_losses(whole.folder(), killed.folder(), 1);
  CHECK(checkpoint_sums(whole.folder() / "checkpoints" / "step-00000300") ==
        checkpoint_sums(killed.folder() / "checkpoints" / "step-00000300"));
}

}  // namespace
}  // namespace tersor
