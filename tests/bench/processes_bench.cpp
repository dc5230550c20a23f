// Whether the plan's model of communication holds: latency and bandwidth are fitted to what steps of models of 9M and 35M parameters
// send over Gloo on this machine, and then predict steps of a 20M model, also sharded in a way that was not seen, which are sent and
// timed. Run by scripts/bench processes.
#include <fmt/format.h>

#include "core/memory/machine.h"
#include "core/train/prepare.h"
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

// A process on paper that writes down what it would send.
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

// What the model reads of operations: bytes that a process sends on average, and messages in a row.
struct Load {
  double bytes = 0;
  double rounds = 0;
};

Load load_of(const std::vector<Operation>& operations, int size) {
  const auto paper = on_paper(0, size);
  for (const Operation& o : operations) begin(*paper, o, at::empty({o.bytes / 4}, at::TensorOptions(at::kFloat).device(at::kMeta))).wait();
  return {static_cast<double>(paper->bytes_sent()) / size, static_cast<double>(paper->rounds())};
}

// Seconds for all, a few on the way at a time, as in a backward pass: the median of some rounds, each as long as the slowest process.
double seconds_of(World& world, const std::vector<Operation>& operations) {
  constexpr int kRounds = 9;
  std::vector<std::vector<double>> took(kRounds, std::vector<double>(static_cast<size_t>(world.size())));
  world.run([&](Communicator& comm) {
    std::vector<at::Tensor> tensors;
    for (const Operation& o : operations) tensors.push_back(at::zeros({o.bytes / 4}, at::kFloat));
    for (auto& round : took) {
      (void)comm.gather("");
      const auto start = std::chrono::steady_clock::now();
      std::vector<Pending> under_way;
      for (size_t i = 0; i < operations.size(); ++i) {
        under_way.push_back(begin(comm, operations[i], tensors[i]));
        if (i >= 4) under_way[i - 4].wait();
      }
      for (Pending& one : under_way) one.wait();
      round[static_cast<size_t>(comm.rank())] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  });
  std::vector<double> rounds;
  for (const auto& round : took) rounds.push_back(*std::max_element(round.begin(), round.end()));
  std::nth_element(rounds.begin(), rounds.begin() + kRounds / 2, rounds.end());
  return rounds[kRounds / 2];
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
  Optimizer optimizer(shapes.params(), config.optimizer, 1, {.comm = &recorder, .shard = shard});
  take_step(config, shapes, optimizer, size, 1);
  optimizer.catch_up_on_paper();
  recorder.operations.clear();
  take_step(config, shapes, optimizer, size, 2);
  return recorder.operations;
}

void compare(int size) {
  World world(size);
  std::vector<std::pair<Load, double>> samples;
  for (const std::string name : {"llama_9m", "llama_35m"})
    for (const std::string method : {"adamw", "apollo"})
      for (const Shard shard : {Shard::kNone, Shard::kStates}) {
        const std::vector<Operation> step = step_of(size, name, method, shard);
        samples.emplace_back(load_of(step, size), seconds_of(world, step));
      }
  const Model model = fit(samples);
  fmt::print("{} processes: latency {:.0f} us, bandwidth {:.2f} GB/s\n", size, 1e6 * model.latency, 1e-9 / model.seconds_a_byte);
  for (const std::string method : {"adamw", "galore"})
    for (const auto& [shard, name] : EnumNames<Shard>::values) {
      const std::vector<Operation> step = step_of(size, "llama_20m", method, shard);
      const Load load = load_of(step, size);
      const double predicted = model.seconds(load);
      const double measured = seconds_of(world, step);
      fmt::print("  {:<7} shard={:<10} {:>4} operations {:>8.1f} MB by each: predicted {:>7.1f} ms, measured {:>7.1f} ms, {:+.0f} %\n", method, name,
                 step.size(), 1e-6 * load.bytes, 1e3 * predicted, 1e3 * measured, 100 * (predicted / measured - 1));
    }
}

}  // namespace
}  // namespace tersor

int main() {
  tersor::keep_freed_memory();  // as the program does
  for (const int size : {2, 3, 4}) tersor::compare(size);
}
