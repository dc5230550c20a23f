// bench and sweep: many runs side by side, and a table of their results.
#include "core/bench/outputs.h"
#include "core/bench/runner.h"
#include "core/cli/commands.h"
#include "core/cli/config_words.h"

namespace tersor {
namespace {

struct BenchArguments {
  bool dry_run = false;
  bool retry = false;
  bool replace = false;
};

struct SweepArguments : BenchArguments {
  std::string name;
  std::string out_dir;
  std::string memory;
  int64_t jobs = 0;
  int64_t threads = 1;
};

// This program, wherever it is called from.
std::filesystem::path this_program() { return std::filesystem::read_symlink("/proc/self/exe"); }

void print_cells(const Suite& suite) {
  const Results results(suite.folder() / "results.jsonl", suite.home);
  int64_t recorded = 0;
  for (const Cell& cell : suite.cells) {
    const bool done = results.find(cell) != nullptr;
    recorded += done ? 1 : 0;
    fmt::print("{:<40} {} seed {}{}\n", cell.name, cell.point_text(), cell.seed, done ? ", recorded" : "");
  }
  fmt::print("{} of these {} make up the suite, {} are recorded in {}\n", num_cells_to_run(suite), suite.cells.size(), recorded, suite.folder().string());
}

int run_suite(const Suite& suite, const BenchArguments& arguments, const std::string& again) {
  if (arguments.dry_run) {
    print_cells(suite);
    return kExitDone;
  }
  SuiteRunner runner(suite, this_program(), arguments.replace);
  if (arguments.retry) runner.retry_failures();
  const int code = runner.run();
  if (code == kExitStopped) {
    fmt::print("finished runs are kept; the same command continues from there: {}\n", again);
    return code;
  }
  const int64_t failed = runner.num_failed();
  fmt::print("\n{}\n{}/index.html\n", markdown_table(suite, summarize(suite, runner.results())), suite.folder().string());
  if (failed > 0) fmt::print("{} run{} failed, see results.jsonl; --retry tries {} again\n", failed, failed == 1 ? "" : "s", failed == 1 ? "it" : "them");
  return code;
}

int bench(const CLI::App& command, const BenchArguments& arguments) {
  const auto [files, overrides] = sort_words(command, "configs/bench/smoke.yaml");
  if (files.size() != 1) throw user_error("bench takes one suite, not {} files; to combine suites, use `extends`", files.size());
  return run_suite(read_suite(files.front(), overrides), arguments, "tersor bench " + quoted(command.remaining()));
}

int sweep(const CLI::App& command, const SweepArguments& a) {
  const auto [files, overrides] = sort_words(command);
  std::vector<std::string> options{fmt::format("jobs={}", a.jobs), fmt::format("threads={}", a.threads)};
  for (const auto& [option, value] : {std::pair{"name", a.name}, {"out_dir", a.out_dir}, {"memory", a.memory}})
    if (!value.empty()) options.push_back(fmt::format("{}={}", option, value));
  return run_suite(read_sweep(files, overrides, options), a, "tersor sweep …");
}

void add_common_flags(CLI::App* command, BenchArguments& arguments) {
  command->add_flag("--dry-run", arguments.dry_run, "print what would be run, and stop");
  command->add_flag("--retry", arguments.retry, "rerun what failed");
  command->add_flag("--replace", arguments.replace, "rerun what was recorded with other options or on other tokens");
  command->allow_extras();
}

}  // namespace

void add_bench_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command = app.add_subcommand("bench", "compare methods: a suite of runs on the same tokens, and a table of the results");
  add_common_flags(command, *arguments);
  command->footer("tersor bench configs/bench/smoke.yaml seeds=[1,2,3] set.train.steps=500\n'tersor describe suite' lists the options of a suite");
  command->callback([command, arguments, &exit_code] { exit_code = bench(*command, *arguments); });
}

void add_sweep_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<SweepArguments>();
  CLI::App* command = app.add_subcommand("sweep", "train with all combinations of values: option=[a,b,c] is an axis, run.seed=[1,2] the seeds");
  command->add_option("--name", arguments->name, "folder of the results; the name of the last file when absent");
  command->add_option("--out-dir", arguments->out_dir, "where that folder is made; bench when absent");
  command->add_option("--jobs", arguments->jobs, "runs at a time; as many as fit when absent")->check(at_least_zero());
  command->add_option("--threads", arguments->threads, "CPU threads of each run")->check(above_zero());
  command->add_option("--memory", arguments->memory, "memory that all runs together may take, for instance 24GiB");
  add_common_flags(command, *arguments);
  command->footer("tersor sweep configs/run/quickstart.yaml optimizer.lr=[0.001,0.003] run.seed=[1,2] train.steps=200");
  command->callback([command, arguments, &exit_code] { exit_code = sweep(*command, *arguments); });
}

}  // namespace tersor
