// The same steps in one process and in several, for every rule, every way to shard, and both values of `update`.
#include <array>
#include <atomic>
#include <mutex>
#include <numeric>

#include "core/base/files.h"
#include "core/train/prepare.h"
#include "tests/support/quadratic.h"
#include "tests/support/source_dir.h"
#include "tests/support/world.h"
#include "tests/support/worst.h"

namespace tersor {
namespace {

using namespace testing;
namespace fs = std::filesystem;

TEST_CASE("communicator: sums, owners and texts", "[dist]") {
  World world(3);
  world.run([](Communicator& comm) {
    const double own = comm.rank() + 1;
    const at::Tensor sum = at::full({5}, own, at::kFloat);
    comm.all_reduce(sum).wait();
    TERSOR_CHECK(at::equal(sum, at::full({5}, 6.0, at::kFloat)), "all_reduce");
    const at::Tensor at_owner = at::full({3, 2}, own, at::kDouble);
    comm.reduce(at_owner, 1).wait();
    TERSOR_CHECK(comm.rank() != 1 || at::equal(at_owner, at::full({3, 2}, 6.0, at::kDouble)), "reduce");
    const at::Tensor given = at::full({4}, own, at::kBFloat16);
    comm.broadcast(given, 2).wait();
    TERSOR_CHECK(at::equal(given, at::full({4}, 3.0, at::kBFloat16)), "broadcast");
    TERSOR_CHECK(comm.gather(std::to_string(comm.rank())) == (std::vector<std::string>{"0", "1", "2"}), "gather");
    TERSOR_CHECK(comm.bytes_sent() == 2 * 2 * 20 + 2 * (48 + 16) + 2 * 8, "bytes {}", comm.bytes_sent());
  });
}

// Bytes that the loopback interface has carried so far.
int64_t loopback_bytes() {
  std::istringstream words(read_text("/proc/net/dev"));
  for (std::string word; words >> word;)
    if (word == "lo:") {
      int64_t bytes = 0;
      words >> bytes;
      return bytes;
    }
  return 0;
}

TEST_CASE("communicator: bytes that are counted are bytes that go over the network", "[dist]") {
  World world(3);
  for (const char* what : {"all_reduce", "reduce", "broadcast"}) {
    int64_t seen = 0;
    int64_t counted = 0;
    world.run([&](Communicator& comm) {
      const at::Tensor x = at::ones({5'000'000});
      (void)comm.gather("");
      const int64_t before = loopback_bytes();
      const int64_t sent = comm.bytes_sent();
      (void)comm.gather("");
      (what[0] == 'a' ? comm.all_reduce(x) : what[0] == 'r' ? comm.reduce(x, 1) : comm.broadcast(x, 2)).wait();
      (void)comm.gather("");
      if (comm.rank() == 0) seen = loopback_bytes() - before;
      if (comm.rank() == 0) counted = comm.bytes_sent() - sent;
    });
    INFO(what);
    CHECK(static_cast<double>(seen) == Approx(static_cast<double>(counted)).epsilon(0.2));  // headers, retransmissions and other traffic
  }
}

struct Way {
  std::string rule;
  std::string format = "fp32";
  std::string more;  // further options of the optimizer
  int64_t parts = 4;
};

// Trains on micro-batches of different weights and returns the model's weights. Calls `each` after every step.
std::vector<at::Tensor> trained(const Way& way, const Processes& processes, int64_t steps = 4, const std::function<void(const Quadratic&)>& each = {}) {
  const Quadratic problem;
  Optimizer optimizer(problem.params, configuration(way.rule, way.format, way.more + ", accumulate: compressed"), 1, processes);
  const auto weight = [&](int64_t part) { return static_cast<double>(part + 1) * 0.4 / static_cast<double>(way.parts); };
  for (int64_t step = 1; step <= steps; ++step) {
    optimizer.begin_step(at_step(step), 0.01, way.parts);
    int64_t last = 0;
    for (int64_t part = processes.comm->rank(); part < way.parts; part += processes.comm->size()) {
      optimizer.begin_micro_batch();
      problem.loss(weight(part)).backward();
      last = part;
    }
    if (optimizer.begin_second_pass()) problem.loss(weight(last)).backward();
    const StepOutcome outcome = optimizer.finish_step();
    TERSOR_CHECK(outcome.finite, "finite");
    if (each) each(problem);
  }
  return weights(problem);
}

double distance(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) keep_worst(worst, (a[i] - b[i]).abs().max().item<double>());
  return worst;
}

// Returns the weights after training, which must be the same in all processes bit for bit.
std::vector<at::Tensor> trained_together(World& world, const Way& way, Shard shard) {
  std::vector<std::vector<at::Tensor>> all(static_cast<size_t>(world.size()));
  world.run([&](Communicator& comm) { all[static_cast<size_t>(comm.rank())] = trained(way, {.comm = &comm, .shard = shard}); });
  for (const auto& one : all) CHECK(distance(one, all[0]) == 0);
  return all[0];
}

// The ways to shard in which the optimizer alone sees to it that every process has all weights.
std::vector<std::pair<Shard, std::string_view>> shards() {
  std::vector<std::pair<Shard, std::string_view>> all(EnumNames<Shard>::values.begin(), EnumNames<Shard>::values.end());
  std::erase_if(all, [](const auto& shard) { return shard.first == Shard::kWeights; });
  return all;
}

std::vector<std::string> rules_and_variants() {
  std::vector<std::string> rules = update_rules().names();
  for (const char* variant : {"{type: galore, rank: 3, refresh: every 2}", "{type: galore, rank: 3, refresh: every 2, side: full, scale: 1}",
                              "{type: apollo, rank: 3, projection: svd, refresh: every 2}", "{type: fira, rank: 3, refresh: every 2}"})
    rules.emplace_back(variant);
  return rules;
}

TEST_CASE("processes: two with a micro-batch each are one with two, bit for bit", "[dist][conformance]") {
  World world(2);
  for (const std::string& rule : rules_and_variants())
    for (const std::string more : {", clip_norm: 0.5", ", update: during_backward, clip_norm: 0.5", ", update: during_backward"})
      for (const std::string format : {"fp32", "{type: int8, min_size: 0}"}) {
        const Way way{.rule = rule, .format = format, .more = more, .parts = 2};
        const auto alone = trained(way, {});
        for (const auto& [shard, name] : shards()) {
          INFO(rule << more << " " << format << " " << name);
          CHECK(distance(trained_together(world, way, shard), alone) == 0);
        }
      }
}

TEST_CASE("processes: four with sums in another order stay near", "[dist][conformance]") {
  World world(4);
  for (const std::string& rule : rules_and_variants())
    for (const std::string more : {", clip_norm: 0.5", ", update: during_backward, clip_norm: 0.5"}) {
      const Way way{.rule = rule, .more = more, .parts = 8};
      const auto alone = trained(way, {});
      for (const auto& [shard, name] : shards()) {
        INFO(rule << more << " " << name);
        // fp32 rounding of sums, which normalized rules magnify where a gradient is near zero.
        CHECK(distance(trained_together(world, way, shard), alone) < 2e-4);
      }
    }
}

TEST_CASE("processes: four have the losses of one over fifty steps", "[dist][slow][conformance]") {
  constexpr int64_t kSteps = 50;
  World world(4);
  const auto losses = [](const Way& way, const Processes& processes) {
    std::vector<double> all;
    (void)trained(way, processes, kSteps, [&](const Quadratic& problem) {
      const at::NoGradGuard no_grad;
      all.push_back(problem.loss().item<double>());
    });
    return all;
  };
  for (const std::string& rule : rules_and_variants()) {
    const Way way{.rule = rule, .more = ", clip_norm: 0.5, update: during_backward", .parts = 4};
    const std::vector<double> alone = losses(way, {});
    for (const auto& [shard, name] : shards()) {
      std::vector<std::vector<double>> all(4);
      world.run([&, shard = shard](Communicator& comm) { all[static_cast<size_t>(comm.rank())] = losses(way, {.comm = &comm, .shard = shard}); });
      double worst = 0;
      for (const std::vector<double>& one : all)
        for (size_t i = 0; i < alone.size(); ++i) keep_worst(worst, std::abs(one[i] - alone[i]) / alone[0]);
      INFO(rule << " " << name);
      CHECK(worst < 1e-6);  // fp32 rounding of sums in another order
    }
  }
}

TEST_CASE("processes: a table whose rows are shared out is what it is at one, bit for bit", "[dist][conformance]") {
  constexpr int64_t kRows = 16384;
  constexpr int64_t kColumns = 32;  // four parts
  const at::Tensor first = at::arange(kRows * kColumns, at::kFloat).sin_().view({kRows, kColumns});
  const auto made = [&](at::ScalarType type) {
    return std::vector<Param>{{"table", first.to(type).clone().requires_grad_(true), Role::kEmbedding},
                              {"w", first[1].to(type).clone().requires_grad_(true), Role::kVector}};
  };
  const auto trained = [&](const OptimizerConfig& config, at::ScalarType type, const Processes& processes) {
    const std::vector<Param> params = made(type);
    Optimizer optimizer(params, config, 1, processes);
    TERSOR_CHECK(processes.comm->alone() || optimizer.own_rows("table")->end > 0, "the table is not cut");
    for (int64_t step = 1; step <= 3; ++step) {
      optimizer.begin_step(at_step(step), 0.01, 2);
      for (int64_t part = processes.comm->rank(); part < 2; part += processes.comm->size()) {
        optimizer.begin_micro_batch();
        const auto loss = [&] { return ((params[0].value - static_cast<double>(part)).square().sum() + params[1].value.square().sum()) * 0.1; };
        loss().backward();
        if (part + processes.comm->size() >= 2 && optimizer.begin_second_pass()) loss().backward();
      }
      TERSOR_CHECK(optimizer.finish_step().finite, "finite");
      if (step == 2) (void)optimizer.reset("table", {.keep = Reset::Keep::kLargest, .share = 0.9});
    }
    return std::vector<at::Tensor>{params[0].value.detach(), params[1].value.detach()};
  };
  World world(2);
  for (const std::string rule : {"adamw", "lion", "{type: sgd, momentum: 0.9}"})
    for (const std::string format : {"fp32", "bf16", "{type: int8, min_size: 0}"})
      for (const at::ScalarType type : {at::kFloat, at::kBFloat16})
        for (const std::string more : {", clip_norm: 0.5", ", update: during_backward, clip_norm: 0.5"}) {
          if (rule != "adamw" && more.starts_with(", update")) continue;
          const OptimizerConfig config = configuration(rule, format, more, made(type));
          const auto alone = trained(config, type, {});
          for (const auto& [shard, name] : EnumNames<Shard>::values) {
            if (shard == Shard::kNone) continue;
            INFO(rule << " " << format << " " << type << more << " " << name);
            std::vector<std::vector<at::Tensor>> all(2);
            world.run([&](Communicator& comm) { all[static_cast<size_t>(comm.rank())] = trained(config, type, {.comm = &comm, .shard = shard}); });
            CHECK(at::equal(all[0][0], alone[0]));
            CHECK(at::equal(all[1][0], alone[0]));
          }
        }
}

TEST_CASE("processes: what each updates is even, and every row is somebody's", "[dist][plan]") {
  for (const char* size : {"60m", "130m", "350m", "1b", "7b"}) {
    const RunConfig config = read_run_config({fs::path(testing::source_dir()) / "configs/model" / fmt::format("llama_{}.yaml", size)}, {"data.source=synthetic"});
    const std::vector<Param> params = shapes_of(config).params();
    for (const int processes : {2, 3, 4, 8, 16}) {
      INFO(size << " on " << processes);
      const auto comm = on_paper(0, processes);
      const std::vector<int64_t> loads = Optimizer(params, config.optimizer, 1, {.comm = comm.get(), .shard = Shard::kStates}).loads();
      const auto sum = std::accumulate(loads.begin(), loads.end(), int64_t{0});
      CHECK(sum == shapes_of(config).num_parameters());
      CHECK(static_cast<double>(*std::max_element(loads.begin(), loads.end())) * processes <= 1.05 * static_cast<double>(sum));
    }
  }
}

TEST_CASE("processes: sharded moments, and bases that compress no gradients, add up to those of one", "[dist]") {
  World world(4);
  for (const std::string rule : {"adamw", "{type: fira, rank: 3}", "{type: apollo, rank: 3, projection: svd}"}) {
    const Quadratic problem;
    const OptimizerConfig config = configuration(rule, "fp32");
    const Optimizer whole(problem.params, config, 1);
    std::mutex mutex;
    int64_t sum = 0;
    world.run([&](Communicator& comm) {
      const Quadratic own;
      const Optimizer optimizer(own.params, config, 1, {.comm = &comm, .shard = Shard::kStates});
      const std::lock_guard lock(mutex);
      sum += optimizer.state().bytes();
    });
    INFO(rule);
    CHECK(sum == whole.state().bytes());
  }
}

// Machines may compute the same basis with other roundings, and replicas would diverge.
TEST_CASE("processes: a basis is found by one and handed out, whether it compresses gradients or not", "[dist]") {
  constexpr int64_t kSteps = 4;
  World world(2);
  for (const std::string rule : {"{type: galore, rank: 3, refresh: every 2}", "{type: galore, rank: 3, refresh: every 2, side: full, scale: 1}",
                                 "{type: apollo, rank: 3, projection: svd, refresh: every 2}", "{type: fira, rank: 3, refresh: every 2}",
                                 "{type: galore, rank: 4, inner: {type: fira, rank: 3, refresh: every 2}}"}) {
    std::array<std::atomic<int64_t>, kSteps + 1> sent{};  // by both processes, up to each step
    world.run([&](Communicator& comm) {
      const int64_t before = comm.bytes_sent();
      size_t step = 0;
      (void)trained({.rule = rule, .parts = 2}, {.comm = &comm, .shard = Shard::kNone}, kSteps, [&](const Quadratic&) { sent.at(++step) += comm.bytes_sent() - before; });
    });
    INFO(rule);
    CHECK(sent[3] - sent[2] > sent[2] - sent[1]);  // bases are computed in steps 1 and 3
    CHECK(sent[3] - sent[2] > sent[4] - sent[3]);
  }
}

TEST_CASE("processes: one whose gradient is not finite holds all back", "[dist]") {
  World world(2);
  for (const auto& [shard, name] : shards()) {
    world.run([&, shard = shard](Communicator& comm) {
      const Quadratic problem;
      Optimizer optimizer(problem.params, configuration("adamw", "fp32"), 1, {.comm = &comm, .shard = shard});
      const auto before = weights(problem);
      optimizer.begin_step(at_step(1), 0.01, 2);
      optimizer.begin_micro_batch();
      const double factor = comm.rank() == 1 ? std::numeric_limits<double>::infinity() : 1;
      (problem.loss() + problem.params[1].value.sum() * factor).backward();
      TERSOR_CHECK(!optimizer.finish_step().finite, "not finite");
      TERSOR_CHECK(distance(weights(problem), before) == 0, "weights have changed");
    });
  }
}

}  // namespace
}  // namespace tersor
