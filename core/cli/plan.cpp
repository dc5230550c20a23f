// plan: what a run will need and do, before anything is allocated; with --budget, how to make it fit.
#include "core/base/files.h"
#include "core/base/quantity.h"
#include "core/cli/commands.h"
#include "core/cli/config_words.h"
#include "core/cli/plan_output.h"
#include "core/train/prepare.h"
#include "core/train/together.h"

namespace tersor {
namespace {

struct PlanArguments {
  double flops = 0;
  std::string budget;
  std::filesystem::path output;
  bool growth = false;
  bool json = false;
  bool measure = false;
  std::vector<int> processes;
  double bandwidth = 0;
  double latency = 50e-6;
};

std::optional<int64_t> read_budget(const std::string& text) {
  if (text.empty()) return std::nullopt;
  Diagnostics out;
  Bytes budget;
  read_option(budget, scalar_node(text, "--budget"), out);
  out.throw_if_any();
  if (budget.value <= 0) throw user_error("--budget: must be an amount of memory such as 24GiB, not '{}'", text);
  return budget.value;
}

// What fits the budget: the run as it is, or with overrides that save enough; else the nearest miss.
Fit fit_of(const ReadConfig& read, int64_t peak, int64_t budget) {
  return peak <= budget ? Fit{.fits = true, .peak = peak} : fit_budget(read, budget);
}

void print_verdict(const Fit& fit, int64_t peak, int64_t budget, const std::filesystem::path& output) {
  std::fflush(stdout);  // the verdict comes last
  if (peak <= budget) return fmt::print("\nit fits: {} of {}\n", format_bytes(peak), format_bytes(budget));
  fmt::print(stderr, "\nas it is, it does not fit: the peak of {} is {} above the budget of {}\n", format_bytes(peak), format_bytes(peak - budget), format_bytes(budget));
  const std::string overrides = quoted(fit.overrides);
  if (!fit.fits)
    return fmt::print(stderr, "no known option makes it fit; the nearest miss takes {}, {} too much, with\n  {}\n", format_bytes(fit.peak),
                      format_bytes(fit.peak - budget), overrides);
  fmt::print(stderr, "it fits, in {}, with\n  {}\n", format_bytes(fit.peak), overrides);
  for (const Saving& saving : fit.savings) fmt::print(stderr, "  {}: {}\n", quoted(saving.overrides), price_of(saving));
  if (output.empty())
    fmt::print(stderr, "--output FILE writes that configuration\n");
  else
    fmt::print(stderr, "written; go on with: tersor train {}\n", output.string());
}

void write_config(RunConfig config, const std::filesystem::path& file, const std::string& remark) {
  write_whole(file, "# " + remark + "\n" + to_yaml(fields_to_json(config)));
}

int plan(const CLI::App& command, const PlanArguments& a) {
  const auto budget = read_budget(a.budget);
  const auto [files, overrides] = sort_words(command);
  const ReadConfig read = [&files = files, &overrides = overrides](const std::vector<std::string>& more) {
    std::vector<std::string> all = overrides;
    all.insert(all.end(), more.begin(), more.end());
    return read_run_config(files, all);
  };
  if (!a.output.empty() && !budget) throw user_error("--output writes the configuration that fits a budget; give one with --budget");
  if (!a.output.empty() && std::filesystem::exists(a.output)) throw user_error("--output: '{}' exists already", a.output.string());
  const RunConfig config = read({});
  const RunPlan planned = plan_run(config);
  PlanOutput output{.config = config, .plan = planned, .savings = savings(read), .flops = a.flops, .growth = a.growth};
  for (const int count : a.processes) check_shares(config, count);
  for (const int count : a.processes)
    for (const auto& [shard, name] : EnumNames<Shard>::values) output.processes.push_back(plan_processes(config, count, shard));
  output.bandwidth = a.bandwidth;
  output.latency = a.latency;
  if (a.measure) output.measured = step_memory(config, *build_model(config));
  Json json = a.json ? plan_json(output) : Json();
  if (!a.json) print_plan(output);
  int code = kExitDone;
  if (budget) {
    const int64_t peak = planned.largest().memory.peak();
    const Fit fit = fit_of(read, peak, *budget);
    if (fit.fits && !a.output.empty())
      write_config(read(fit.overrides), a.output, fmt::format("Planned to take {} of {}.", format_bytes(fit.peak), format_bytes(*budget)));
    if (!a.json) print_verdict(fit, peak, *budget, a.output);
    json["budget"] = {{"bytes", *budget}, {"fits", peak <= *budget}, {"found", fit.fits}, {"overrides", fit.overrides}, {"peak_bytes", fit.peak}};
    code = fit.fits ? kExitDone : kExitRejected;
  }
  if (a.json) fmt::print("{}\n", json.dump(2));
  return code;
}

}  // namespace

void add_plan_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* command = app.add_subcommand("plan", "memory, compute and schedule of a run, before anything is allocated");
  command->add_option("--flops", arguments->flops, "floating-point operations per second actually reached, to estimate the time")
      ->check(above_zero());
  command->add_option("--budget", arguments->budget,
                      "available memory, for instance 24GiB; if the run does not fit, looks for options that make it fit; exit code 2 if none do");
  command->add_option("--output", arguments->output, "with --budget: writes the configuration that fits");
  CLI::Option* processes = command->add_option("--processes", arguments->processes, "numbers of processes, for instance 2,8,64: what each holds and sends, sharded or not")
      ->delimiter(',')->check(CLI::Range(2, 4096));
  CLI::Option* bandwidth = command->add_option("--bandwidth", arguments->bandwidth, "with --processes: bytes per second that one process can send, to estimate the time")
      ->check(above_zero())->needs(processes);
  command->add_option("--latency", arguments->latency, "with --bandwidth: seconds that a message takes, whatever its size")
      ->check(above_zero())->needs(bandwidth)->capture_default_str();
  command->add_flag("--measure", arguments->measure, "take two real steps, and show plan and measurement side by side");
  command->add_flag("--growth", arguments->growth, "when to grow the model from a shallower one, by G_stack's guideline");
  command->add_flag("--json", arguments->json, "exact numbers for machines");
  command->allow_extras();
  command->footer("tersor plan configs/model/llama_7b.yaml configs/data/synthetic.yaml configs/method/galore.yaml --flops 50e12");
  command->callback([command, arguments, &exit_code] { exit_code = plan(*command, *arguments); });
}

}  // namespace tersor
