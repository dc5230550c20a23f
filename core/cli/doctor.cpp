// `tersor doctor`: what a run would find on this machine, and whether the machine computes correctly.
#include <ATen/Parallel.h>
#include <torch/version.h>

#include <chrono>
#include <fstream>

#include "core/base/error.h"
#include "core/base/quantity.h"
#include "core/base/version.h"
#include "core/cli/commands.h"
#include "core/dist/communicator.h"
#include "core/memory/machine.h"
#include "core/train/prepare.h"
#include "core/train/training_step.h"

namespace tersor {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

void line(const std::string& what, const std::string& is) { fmt::print("{:<20} {}\n", what, is); }

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string text; std::getline(file, text);)
    if (text.starts_with("model name")) return text.substr(text.find(':') + 2);
  return "unknown";
}

// Repeats `what` for about a second and returns the seconds that one takes.
double seconds_of(const std::function<void()>& what, const std::function<void()>& finish) {
  what();
  finish();
  const auto begin = Clock::now();
  int64_t done = 0;
  do {
    what();
    finish();
    ++done;
  } while (seconds_since(begin) < 1);
  return seconds_since(begin) / static_cast<double>(done);
}

std::string product(const DeviceKind& kind, const at::Device& device, at::ScalarType type) {
  const int64_t size = device.is_cpu() ? 1024 : 8192;
  const at::TensorOptions options = at::TensorOptions(type).device(device);
  const at::Tensor a = at::full({size, size}, 0.5, options);
  at::Tensor c = at::empty({size, size}, options);
  const double seconds = seconds_of([&] { at::mm_out(c, a, a); }, [&] { kind.synchronize(device); });
  const auto n = static_cast<double>(size);
  const bool right = c.eq(0.25 * n).all().item<bool>();  // exact in both types
  return fmt::format("{:.1f} TFLOP/s{}", 2 * n * n * n / seconds / 1e12, right ? "" : ", and the product is WRONG");
}

// The losses of three steps of a tiny model, which are the same on all devices but for rounding.
at::Tensor losses(const RunConfig& config, const at::Device& device) {
  const auto model = build_model(config, device);
  Optimizer optimizer(model->params(), config.optimizer, 1);
  const Mixture data = training_data(config);
  std::vector<double> all;
  for (int64_t step = 1; step <= 3; ++step) {
    std::vector<int64_t> drawn(data.size());
    const Batch batch = data.read((step - 1) * config.train.micro_batch_size, config.train.micro_batch_size, {1}, drawn);
    const int64_t tokens = batch.targets.numel();
    const auto done = training_step(*model, optimizer, {.progress = {.step = step, .tokens = step * tokens, .tokens_before = (step - 1) * tokens, .total_steps = 3},
                                                        .lr = 0.01, .num_targets = tokens, .read = [&](int64_t) { return batch; }});
    all.push_back(done->loss);
  }
  return at::tensor(all, at::kDouble);
}

bool check_training(const std::string& dtype, const at::Device& device) {
  const RunConfig config = read_run_config({}, {"data.source={type: synthetic}", "data.sequence_length=32", "model={vocab_size: 128, hidden_size: 64, "
                                                "intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4}", "train.global_batch_size=4",
                                                "train.micro_batch_size=4", "run.dtype=" + dtype});
  const at::Tensor here = losses(config, at::kCPU);
  const double apart = ((losses(config, device) - here).abs() / here).max().item<double>();  // NaN if any loss is
  const bool alike = apart < (dtype == "fp32" ? 1e-4 : 2e-2);
  line("training in " + dtype, fmt::format("{} ({:.1e} from the CPU's losses)", alike ? "as on the CPU" : "NOT as on the CPU", apart));
  return alike;
}

void time_all_reduce(Communicator& comm, const DeviceKind& kind, const at::Device& device) {
  constexpr int64_t kNumbers = 1 << 24;
  const at::Tensor x = at::ones({kNumbers}, at::TensorOptions(at::kFloat).device(device));
  comm.all_reduce(x).wait();
  kind.synchronize(device);
  const bool right = x.eq(comm.size()).all().item<bool>();
  constexpr int kTimes = 5;
  const auto begin = Clock::now();
  for (int i = 0; i < kTimes; ++i) comm.all_reduce(x).wait();
  kind.synchronize(device);
  const double seconds = seconds_since(begin) / kTimes;
  const double moved = 2.0 * (comm.size() - 1) / comm.size() * 4.0 * kNumbers;
  if (comm.rank() == 0)
    line("all-reduce", fmt::format("{} processes, 64 MiB in {:.1f} ms, {}/s a process{}", comm.size(), 1e3 * seconds, format_bytes(moved / seconds),
                                   right ? "" : ", and the sum is WRONG"));
}

int doctor(const std::string& name) {
  const Place place = find_place();
  const auto kind = devices().find(name);
  if (!kind) throw user_error("no device is called '{}'; there are {}", name, fmt::join(devices().names(), ", "));
  const auto chosen = kind->build();
  const at::Device device = chosen->open(place.local_rank, at::kFloat);
  bool well = true;
  if (place.rank == 0) {
    line("tersor", fmt::format("{}, LibTorch {}", kVersion, TORCH_VERSION));
    line("processor", fmt::format("{}, {} threads", processor(), at::get_num_threads()));
    line("host memory", format_bytes(available_memory()) + " free");
    line("device", chosen->name(place.local_rank));
    for (const auto& [what, is] : chosen->details(place.local_rank)) line("  " + what, is);
    line("products in fp32", product(*chosen, device, at::kFloat));
    line("products in bf16", product(*chosen, device, at::kBFloat16));
    if (!device.is_cpu())
      for (const char* dtype : {"fp32", "bf16"}) well = check_training(dtype, device) && well;
  }
  if (place.size > 1) {
    const auto comm = connect(place, std::chrono::minutes(2), chosen->connector());
    time_all_reduce(*comm, *chosen, device);
    (void)comm->gather("");
  }
  return well ? kExitDone : kExitFailed;
}

}  // namespace

void add_doctor_command(CLI::App& app, int& exit_code) {
  auto name = std::make_shared<std::string>("auto");
  CLI::App* command = app.add_subcommand("doctor", "what this machine has, how fast it multiplies, and whether it computes correctly");
  command->add_option("--device", *name, "cpu, cuda or auto");
  command->footer("torchrun --no-python --nproc_per_node 2 tersor doctor     times an all-reduce, too");
  command->callback([name, &exit_code] { exit_code = doctor(*name); });
}

}  // namespace tersor
