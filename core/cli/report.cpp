#include "core/report/report.h"

#include <fmt/format.h>

#include "core/cli/commands.h"

namespace tersor {
namespace {

struct ReportArguments {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path output;
};

void report(const ReportArguments& arguments) {
  const std::filesystem::path page = arguments.output.empty() ? arguments.runs.front() / "report.html" : arguments.output;
  write_report(arguments.runs, page);
  fmt::print("{}\n", page.string());
}

}  // namespace

void add_report_command(CLI::App& app) {
  auto arguments = std::make_shared<ReportArguments>();
  CLI::App* command = app.add_subcommand("report", "a page with the curves and configurations of runs, to open in a browser");
  command->add_option("runs", arguments->runs, "folders of runs")->required();
  command->add_option("--output", arguments->output, "the page to write; report.html in the first run's folder when absent");
  command->callback([arguments] { report(*arguments); });
}

}  // namespace tersor
