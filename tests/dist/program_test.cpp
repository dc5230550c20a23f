// Whole runs of several processes, as a user starts them.
#include <cmath>

#include "core/data/token_file.h"
#include "core/interop/safetensors.h"
#include "core/train/processes_plan.h"
#include "tests/support/catch.h"
#include "tests/support/methods.h"
#include "tests/support/shell.h"
#include "tests/support/source_dir.h"
#include "tests/support/tiny_run.h"
#include "tests/support/world.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::Ended;
using testing::shell;
using testing::TemporaryFolder;

// The command that starts a tiny run in so many processes.
std::string command(const TemporaryFolder& folder, int processes, const std::string& name, const std::string& words) {
  RunConfig config = testing::tiny_config(folder.path(), {"train.steps=12", "checkpoint.every=every 3", "train.micro_batch_size=2", "run.threads=1"});
  write_whole(folder / "tiny.yaml", to_yaml(fields_to_json(config)));
  const std::string launch = processes > 1 ? fmt::format("{}/scripts/launch -n {} --grace 20 ", testing::source_dir(), processes) : "";
  return fmt::format("{}{} train {} run.name={} run.resume=auto {}", launch, TERSOR_PROGRAM, (folder / "tiny.yaml").string(), name, words);
}

std::map<int64_t, double> losses(const TemporaryFolder& folder, const std::string& name) {
  std::map<int64_t, double> all;
  for (const auto& [step, record] : testing::records(folder / name, "step")) all[step] = record["train/loss"].get<double>();
  return all;
}

// Checksum of all weights of a checkpoint by name, in however many files.
std::string sum_of_weights(const fs::path& checkpoint) {
  std::map<std::string, std::string> sums;
  for (const auto& file : fs::directory_iterator(checkpoint)) {
    if (!file.path().filename().string().starts_with("model") || file.path().extension() != ".safetensors") continue;
    const SafetensorsFile saved(file.path());
    for (const auto& [name, entry] : saved.entries()) {
      const at::Tensor value = at::empty(entry.shape, entry.dtype);
      saved.copy_into(name, value);
      CHECK(sums.emplace(name, sha256_of_text(std::string(static_cast<const char*>(value.const_data_ptr()), value.nbytes()))).second);
    }
  }
  std::string all;
  for (const auto& [name, sum] : sums) all += name + sum;
  return sha256_of_text(all);
}

TEST_CASE("program: a run goes on on another number of processes, each way to shard", "[dist]") {
  const TemporaryFolder folder;
  const std::string method = "\"optimizer.groups=[{match: {role: matrix}, rule: {type: galore, rank: 8, refresh: every 4}, state: int8}, {match: any}]\"";
  const std::string words = method + " optimizer.accumulate=compressed schedule.type=constant schedule.warmup=0 ";
  REQUIRE(shell(folder, command(folder, 1, "whole", words)).code == 0);
  const auto expected = losses(folder, "whole");
  REQUIRE(expected.size() == 12);
  for (const std::string shard : {"none", "states", "gradients", "weights"}) {
    int steps = 0;
    for (const int processes : {1, 2, 4, 1}) {
      steps += 3;
      const Ended ended = shell(folder, command(folder, processes, shard, fmt::format("{} distributed.shard={} train.steps={}", words, shard, steps)));
      INFO(shard << " " << processes << "\n" << ended.output);
      REQUIRE(ended.code == 0);
    }
    // fp32 rounding of sums in another order, over 12 steps; 8-bit moments may round to the neighboring code.
    for (const auto& [step, loss] : losses(folder, shard)) CHECK(std::abs(loss - expected.at(step)) < 1e-4);
    CHECK(losses(folder, shard).size() == 12);
  }
}

// With 16384 tokens, the tables have four parts, which can be in different processes.
TEST_CASE("program: a run whose tables are cut goes on where they are cut otherwise", "[dist]") {
  const TemporaryFolder folder;
  const std::string words = "model.vocab_size=16384 \"optimizer.groups=[{match: any, state: int8}]\" run.dtype=bf16 optimizer.accumulate=full schedule.type=constant "
                            "schedule.warmup=0 train.micro_batch_size=4 ";
  REQUIRE(shell(folder, command(folder, 2, "whole", words + "distributed.shard=none")).code == 0);
  int steps = 0;
  for (const std::string shard : {"states", "weights", "none", "gradients"}) {
    const Ended ended = shell(folder, command(folder, 2, "cut", fmt::format("{} distributed.shard={} train.steps={}", words, shard, steps += 3)));
    INFO(shard << "\n" << ended.output);
    REQUIRE(ended.code == 0);
    const SafetensorsFile second(folder / "cut" / fmt::format("checkpoints/step-{:08}", steps) / "optim-00001.safetensors");
    CHECK(second.metadata().contains("rows") == (shard != "none"));
  }
  CHECK(losses(folder, "cut") == losses(folder, "whole"));  // two processes add up in one order only
  for (const int processes : {4, 1}) {
    const Ended ended = shell(folder, command(folder, processes, "cut", fmt::format("{} train.micro_batch_size=2 distributed.shard=states train.steps={}", words, steps += 3)));
    INFO(processes << "\n" << ended.output);
    REQUIRE(ended.code == 0);
  }
}

TEST_CASE("program: what a timeline does on two processes is what it does on one, bit for bit", "[dist][timeline]") {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> runs{
      {"grown", "\"timeline=[{do: {type: grow, growth: {type: stack, factor: 2}, moments: copy}, when: at 4}, "
                "{do: {type: reset_moments, match: any, mode: magnitude, share: 0.5}, when: at 7}]\""},
      {"merged", "\"parameterization={method: {type: lora, rank: 4}}\" \"timeline=[{do: {type: merge}, when: every 4}]\""},
      {"switched", "\"parameterization={method: {type: switch_lora, rank: 4}}\" \"timeline=[{do: {type: switch_vectors}, when: every 1}]\""},
      {"pruned", "\"parameterization={method: {type: masked}}\" \"timeline=[{do: {type: prune, sparsity: 0.5}, when: at 4}]\""},
      {"tables", "model.vocab_size=16384 \"timeline=[{do: {type: reset_moments, match: any, mode: magnitude, share: 0.5}, when: at 3}, "
                 "{do: {type: grow, growth: {type: stack, factor: 2}, moments: copy}, when: at 5}]\""},
      {"changed", "\"timeline=[{do: {type: reparameterize, method: {type: low_rank, rank: 4}}, when: at 5}]\""}};
  for (const auto& [name, timeline] : runs)
    for (const std::string shard : {"none", "states", "gradients", "weights"}) {
      const std::string words = timeline + " train.micro_batch_size=4 optimizer.accumulate=compressed checkpoint.every=\"every 12\"";
      const Ended one = shell(folder, command(folder, 1, name, words));
      INFO(name << " " << shard << "\n" << one.output);
      REQUIRE(one.code == 0);
      const std::string together = fmt::format("{}_{}", name, shard);
      const Ended two = shell(folder, command(folder, 2, together, words + " distributed.shard=" + shard));
      INFO(two.output);
      REQUIRE(two.code == 0);
      const auto sum = [&](const std::string& run) { return sum_of_weights(folder / run / "checkpoints/step-00000012"); };
      CHECK(sum(together) == sum(name));
    }
}

TEST_CASE("program: scattered weights are those of one process, bit for bit, of every method", "[dist][slow][conformance]") {
  for (const fs::path& method : testing::shipped("method")) {
    const TemporaryFolder folder;
    const std::vector<std::string> words{"optimizer.accumulate=compressed", "train.steps=4", "train.micro_batch_size=4", "train.global_batch_size=8",
                                         "run.threads=1", "evaluation={every: every 2, tokens: 100}"};
    const auto of = [&](const std::string& name, std::vector<std::string> more) {
      more.push_back("run.name=" + name);
      more.insert(more.end(), words.begin(), words.end());
      RunConfig config = testing::tiny_method(folder, method, more);
      write_whole(folder / (name + ".yaml"), to_yaml(fields_to_json(config)));
      return fmt::format("{} train {}", TERSOR_PROGRAM, (folder / (name + ".yaml")).string());
    };
    const std::string launch = testing::source_dir() + "/scripts/launch -n 2 --grace 20 ";
    const Ended one = shell(folder, of("one", {}));
    INFO(method.string() << "\n" << one.output);
    REQUIRE(one.code == 0);
    const auto sum = [&](const std::string& run) { return sum_of_weights(folder / run / "checkpoints/step-00000004"); };
    for (const std::string recompute : {"none", "block"}) {
      const Ended two = shell(folder, launch + of(recompute, {"distributed.shard=weights", "train.recompute=" + recompute}));
      INFO(two.output);
      REQUIRE(two.code == 0);
      CHECK(sum(recompute) == sum("one"));
      CHECK(testing::records(folder / recompute, "eval").at(4)["val/loss"].get<double>() ==
            Approx(testing::records(folder / "one", "eval").at(4)["val/loss"].get<double>()).epsilon(1e-6));
    }
  }
}

TEST_CASE("program: evaluation and log are those of one process", "[dist]") {
  const TemporaryFolder folder;
  REQUIRE(shell(folder, command(folder, 1, "one", "")).code == 0);
  REQUIRE(shell(folder, command(folder, 2, "two", "")).code == 0);
  const auto one = testing::records(folder / "one", "eval");
  const auto two = testing::records(folder / "two", "eval");
  REQUIRE(one.size() == two.size());
  for (const auto& [step, record] : one) CHECK(std::abs(record["val/loss"].get<double>() - two.at(step)["val/loss"].get<double>()) < 1e-4);
  CHECK(testing::records(folder / "two", "step").at(5)["comm/bytes"].get<int64_t>() > 0);
  CHECK_FALSE(testing::records(folder / "one", "step").at(5).contains("comm/bytes"));
}

// Two network namespaces stand for two machines joined by one cable. Creating them takes rights that not every user has.
TEST_CASE("program: processes on two machines are processes on one", "[dist]") {
  if (shell(TemporaryFolder(), "unshare -n ip link >/dev/null 2>&1").code != 0) {
    WARN("namespaces of the network cannot be made here");
    return;
  }
  const TemporaryFolder folder;
  REQUIRE(shell(folder, command(folder, 4, "one", "")).code == 0);
  const std::string words = command(folder, 1, "two", "distributed.shard=weights");
  const std::string id = std::to_string(::getpid());
  const Ended ended = shell(folder, fmt::format(R"(
    a=tersor-{0}-a b=tersor-{0}-b
    ip netns add $a && ip netns add $b && trap "ip netns del $a; ip netns del $b" EXIT || exit 99
    ip link add eth0 netns $a type veth peer name eth0 netns $b || exit 99
    for at in "$a 10.99.0.1" "$b 10.99.0.2"; do set -- $at; ip -n $1 addr add $2/24 dev eth0; ip -n $1 link set eth0 up; ip -n $1 link set lo up; done
    export WORLD_SIZE=4 LOCAL_WORLD_SIZE=2 MASTER_ADDR=10.99.0.1 MASTER_PORT=29500
    for rank in 0 1 2 3; do
      node=$a; ((rank > 1)) && node=$b
      RANK=$rank LOCAL_RANK=$((rank % 2)) timeout 100 ip netns exec $node {1} & all+=($!)
    done
    for one in "${{all[@]}}"; do wait $one || failed=1; done
    exit $((failed)))", id, words));
  INFO(ended.output);
  REQUIRE(ended.code == 0);
  CHECK(losses(folder, "two") == losses(folder, "one"));
}

TEST_CASE("program: a machine that takes the meeting place for itself is told so", "[dist]") {
  const TemporaryFolder folder;
  const Ended ended = shell(folder, fmt::format("WORLD_SIZE=2 RANK=0 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR=0.0.0.0 MASTER_PORT={} timeout 60 {}", testing::free_port(),
                                                  command(folder, 1, "lost", "")));
  INFO(ended.output);
  CHECK(ended.code == kExitRejected);
  CHECK(ended.output.find("GLOO_SOCKET_IFNAME") != std::string::npos);
}

// A command that waits until the run has saved a checkpoint, then sends the signal to the process of that rank.
std::string signal_rank(const TemporaryFolder& folder, const std::string& run, const std::string& signal, int rank) {
  return fmt::format("for i in $(seq 300); do [[ -e {0}/checkpoints/latest ]] && break; sleep 0.1; done; "
                     "for p in $(pgrep -f \"train {1}/tiny.yaml\"); do "
                     "[[ $(cat /proc/$p/comm 2>/dev/null) == tersor ]] && tr \"\\0\" \"\\n\" < /proc/$p/environ | grep -qx RANK={3} && kill -{2} $p; done",
                     (folder / run).string(), folder.path().string(), signal, rank);
}

TEST_CASE("program: a process that is killed ends the others, who name it, and the run goes on", "[dist]") {
  const TemporaryFolder folder;
  for (const int victim : {0, 1}) {
    const std::string run = fmt::format("killed{}", victim);
    const std::string words = "train.steps=100000 checkpoint.every=\"every 20\" evaluation.every=never distributed.timeout=20";
    const Ended ended = shell(folder, fmt::format("{} & {}; wait %1", command(folder, 2, run, words), signal_rank(folder, run, "KILL", victim)));
    INFO(ended.output);
    CHECK(ended.code == 137);
    CHECK(ended.output.find(fmt::format("process {} of 2", victim)) != std::string::npos);
    CHECK(ended.output.find(fmt::format("process {} of 2 ends", 1 - victim)) != std::string::npos);
    const auto saved = CheckpointStore(folder / run / "checkpoints", 2).latest();
    REQUIRE(saved.has_value());
    const int64_t step = open_checkpoint(*saved, Summed::kAll).position.step;  // verifies every checksum
    const Ended again = shell(folder, command(folder, 2, run, fmt::format("train.steps={}", step + 2)));
    INFO(again.output);
    CHECK(again.code == 0);
  }
}

TEST_CASE("program: a stop asked of one process saves once for all", "[dist]") {
  const TemporaryFolder folder;
  const std::string words = "train.steps=100000 checkpoint.every=\"every 20\" evaluation.every=never";
  const Ended ended = shell(folder, fmt::format("{} & {}; wait %1", command(folder, 2, "stopped", words), signal_rank(folder, "stopped", "TERM", 1)));
  INFO(ended.output);
  CHECK(ended.code == kExitStopped);
  CHECK(ended.output.find("stopped and saved") != std::string::npos);
  const int64_t last = testing::records(folder / "stopped", "step").rbegin()->first;
  CHECK(open_checkpoint(*CheckpointStore(folder / "stopped/checkpoints", 2).latest(), Summed::kAll).position.step == last);
}

// Starts two processes of a run, each with words of its own, and returns how the first ends.
Ended two_processes(const TemporaryFolder& folder, const std::string& run, const std::string& of_first, const std::string& of_second) {
  const auto as = [&](int rank, const std::string& more) {
    return fmt::format("env RANK={} WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port {} {}", rank, run, more);
  };
  const std::string port = "port=$(python3 -c \"import socket; s = socket.socket(); s.bind((\\\"127.0.0.1\\\", 0)); print(s.getsockname()[1])\"); ";
  return shell(folder, fmt::format("{}{} & {}; wait %1", port, as(0, of_first), as(1, of_second)));
}

TEST_CASE("program: a process that fails says why to the others", "[dist]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "tokens");
  for (const char* name : {"a_train.bin", "a_val.bin"}) {
    TokenFileWriter writer(folder / "tokens" / name, 64);
    writer.append(std::vector<int32_t>(1000, 7));
    writer.close();
  }
  const std::string run = command(folder, 1, "failing", "distributed.timeout=20 \"data.source={type: shards, path: /proc/self/fd/9}\"");
  const Ended ended = two_processes(folder, run, "9<" + (folder / "tokens").string(), "");  // the second does not have the data
  INFO(ended.output);
  CHECK(ended.code == kExitFailed);
  CHECK(ended.output.find("process 0 of 2 ends: process 1 of 2 failed:") != std::string::npos);
  CHECK(ended.output.find("fd/9' does not exist") != std::string::npos);
}

TEST_CASE("program: processes with other options than the first are told which", "[dist]") {
  const TemporaryFolder folder;
  const Ended ended = two_processes(folder, command(folder, 1, "unequal", "distributed.timeout=20"), "", "optimizer.lr=0.5 run.threads=2");
  INFO(ended.output);
  CHECK(ended.code == kExitRejected);
  CHECK(ended.output.find("process 1 was started with other options") != std::string::npos);
  CHECK(ended.output.find("optimizer.lr: 0.01 → 0.5") != std::string::npos);
  CHECK(ended.output.find("run.threads: ") == std::string::npos);
}

TEST_CASE("program: what is planned to be sent is sent", "[dist][plan]") {
  const TemporaryFolder folder;
  const std::string method = "\"optimizer.groups=[{match: {role: matrix}, rule: {type: galore, rank: 8, refresh: every 4}}, {match: any}]\" optimizer.clip_norm=1";
  for (const auto& [shard, name] : EnumNames<Shard>::values) {
    const std::string run(name);
    REQUIRE(shell(folder, command(folder, 2, run, method + " distributed.shard=" + run)).code == 0);
    const RunConfig config = read_run_config({folder / run / "config.yaml"}, {});
    const ProcessesPlan plan = plan_processes(config, 2, shard);
    CHECK(plan.micro_batches == 2);
    const int64_t told = 2 * (2 + 2) * 8;  // the loss and the like, sent at the end of a step
    CHECK(testing::records(folder / run, "step").at(3)["comm/bytes"].get<double>() - told == 2 * plan.sent);
  }
}

TEST_CASE("program: processes that cannot share a step are told so, and nothing hangs", "[dist]") {
  const TemporaryFolder folder;
  const Ended ended = shell(folder, command(folder, 3, "three", ""));
  INFO(ended.output);
  CHECK(ended.code == kExitRejected);
  CHECK(ended.output.find("4 micro-batches in a step") != std::string::npos);
  CHECK(ended.output.find("multiple of 3") != std::string::npos);
}

}  // namespace
}  // namespace tersor
