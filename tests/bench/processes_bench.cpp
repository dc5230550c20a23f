// Tests the plan's model of communication: latency and bandwidth are fitted to what steps of 9M and 35M models send over Gloo on this
// machine, and then predict steps of a 20M model, also with shardings that were not fitted; these are sent and timed as well. Run by
// scripts/bench processes.
#include <fmt/format.h>

#include "core/memory/machine.h"
#include "core/train/prepare.h"
#include "core/train/scattered_weights.h"
#include "core/train/step_memory.h"
#include "tests/support/world.h"

namespace tersor {
namespace {

using testing::World;

enum class Kind { kAllReduce, kReduce, kBroadcast };

struct Operation {
  Kind kind;
  int64_t bytes;
  int owner;
};

// A simulated process that records what it would send.
class Recorder final : public Communicator {
 public:
  explicit Recorder(int size) : Communicator(0, size) {}
  Pending all_reduce(const at::Tensor& x) override { return note(Kind::kAllReduce, x, 0); }
  Pending reduce(const at::Tensor& x, int owner) override { return note(Kind::kReduce, x, owner); }
  Pending broadcast(const at::Tensor& x, int owner) override { return note(Kind::kBroadcast, x, owner); }
  std::vector<std::string> gather(const std::string& text) override { return std::vector<std::string>(static_cast<size_t>(size()), text); }
  std::vector<Operation> operations;

 private:
  Pending note(Kind kind, const at::Tensor& x, int owner) {
    operations.push_back({kind, static_cast<int64_t>(x.nbytes()), owner});
    return {};
  }
};

Pending begin(Communicator& comm, const Operation& o, const at::Tensor& x) {
  if (o.kind == Kind::kAllReduce) return comm.all_reduce(x);
  return o.kind == Kind::kReduce ? comm.reduce(x, o.owner) : comm.broadcast(x, o.owner);
}

// What the model reads of operations: bytes per process, on average, and messages that wait for the one before.
struct Load {
  double bytes = 0;
  double rounds = 0;
};

Load load_of(const std::vector<Operation>& operations, int size) {
  const auto paper = on_paper(0, size);
  for (const Operation& o : operations) begin(*paper, o, at::empty({o.bytes / 4}, at::TensorOptions(at::kFloat).device(at::kMeta))).wait();
  return {static_cast<double>(paper->bytes_sent()) / size, static_cast<double>(paper->rounds())};
}

// Runs one step's operations, a few in flight at a time, as in a backward pass. Returns the seconds of the slowest process.
double seconds_of(World& world, const std::vector<Operation>& operations) {
  std::vector<double> took(static_cast<size_t>(world.size()));
  world.run([&](Communicator& comm) {
    std::vector<at::Tensor> tensors;
    for (const Operation& o : operations) tensors.push_back(at::zeros({o.bytes / 4}, at::kFloat));
    (void)comm.gather("");
    const auto start = std::chrono::steady_clock::now();
    std::vector<Pending> under_way;
    for (size_t i = 0; i < operations.size(); ++i) {
      under_way.push_back(begin(comm, operations[i], tensors[i]));
      if (i >= 4) under_way[i - 4].wait();
    }
    for (Pending& one : under_way) one.wait();
    took[static_cast<size_t>(comm.rank())] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  });
  return *std::max_element(took.begin(), took.end());
}

// The median of every step over rounds, each of which times all steps, so that other load on the machine affects all alike.
std::vector<double> seconds_of_each(World& world, const std::vector<std::vector<Operation>>& steps) {
  constexpr size_t kRounds = 9;
  std::vector<std::vector<double>> took(steps.size());
  for (size_t round = 0; round < kRounds; ++round)
    for (size_t i = 0; i < steps.size(); ++i) took[i].push_back(seconds_of(world, steps[i]));
  std::vector<double> medians;
  for (std::vector<double>& one : took) {
    std::nth_element(one.begin(), one.begin() + kRounds / 2, one.end());
    medians.push_back(one[kRounds / 2]);
  }
  return medians;
}

struct Model {
  double latency = 0;
  double seconds_a_byte = 0;
  [[nodiscard]] double seconds(const Load& load) const { return load.rounds * latency + load.bytes * seconds_a_byte; }
};

// Least squares of relative errors.
Model fit(const std::vector<std::pair<Load, double>>& samples) {
  double rr = 0, rb = 0, bb = 0, r = 0, b = 0;
  for (const auto& [load, seconds] : samples) {
    const double x = load.rounds / seconds;
    const double y = load.bytes / seconds;
    rr += x * x, rb += x * y, bb += y * y, r += x, b += y;
  }
  const double determinant = rr * bb - rb * rb;
  return {(r * bb - b * rb) / determinant, (b * rr - r * rb) / determinant};
}

std::vector<Operation> step_of(int size, const std::string& model, const std::string& method, Shard shard) {
  const std::filesystem::path configs = std::filesystem::path(TERSOR_SOURCE_DIR) / "configs";
  RunConfig config = read_run_config({configs / ("model/" + model + ".yaml"), configs / "data/synthetic.yaml", configs / ("method/" + method + ".yaml")}, {});
  Recorder recorder(size);
  Llama shapes = shapes_of(config);
  const auto scattered = scatter(shapes, {.comm = &recorder, .shard = shard});
  Optimizer optimizer(shapes.params(), config.optimizer, 1, {.comm = &recorder, .shard = shard});
  take_step(config, shapes, optimizer, size, 1);
  optimizer.catch_up_on_paper();
  recorder.operations.clear();
  take_step(config, shapes, optimizer, size, 2);
  return recorder.operations;
}

void compare(int size) {
  struct Foretold {
    std::string method;
    std::string_view shard;
  };
  std::vector<std::vector<Operation>> steps;  // those to fit, then those to predict
  for (const std::string name : {"llama_9m", "llama_35m"})
    for (const std::string method : {"adamw", "apollo"})
      for (const Shard shard : {Shard::kNone, Shard::kStates}) steps.push_back(step_of(size, name, method, shard));
  const size_t samples = steps.size();
  std::vector<Foretold> foretold;
  for (const std::string method : {"adamw", "galore"})
    for (const auto& [shard, name] : EnumNames<Shard>::values) {
      steps.push_back(step_of(size, "llama_20m", method, shard));
      foretold.push_back({method, name});
    }
  World world(size);
  const std::vector<double> seconds = seconds_of_each(world, steps);
  std::vector<std::pair<Load, double>> known;
  for (size_t i = 0; i < samples; ++i) known.emplace_back(load_of(steps[i], size), seconds[i]);
  const Model model = fit(known);
  fmt::print("{} processes: latency {:.0f} us, bandwidth {:.2f} GB/s\n", size, 1e6 * model.latency, 1e-9 / model.seconds_a_byte);
  for (size_t i = 0; i < foretold.size(); ++i) {
    const Load load = load_of(steps[samples + i], size);
    const double predicted = model.seconds(load);
    const double measured = seconds[samples + i];
    fmt::print("  {:<7} shard={:<10} {:>4} operations {:>8.1f} MB by each: predicted {:>7.1f} ms, measured {:>7.1f} ms, {:+.0f} %\n", foretold[i].method,
               foretold[i].shard, steps[samples + i].size(), 1e-6 * load.bytes, 1e3 * predicted, 1e3 * measured, 100 * (predicted / measured - 1));
  }
}

}  // namespace
}  // namespace tersor

int main() {
  tersor::keep_freed_memory();  // as the program does
  for (const int size : {2, 3, 4}) tersor::compare(size);
}
