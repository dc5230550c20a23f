#include <unistd.h>

#include <csignal>

#include "core/base/error.h"
#include "core/base/version.h"
#include "core/cli/commands.h"
#include "core/cli/failure.h"
#include "core/config/registry.h"
#include "core/memory/ledger.h"
#include "core/memory/machine.h"

namespace tersor {
namespace {

// "no command is called 'trian'; did you mean 'train'?", or nothing when the command exists.
std::string suggest_command(const CLI::App& app, const std::string& word) {
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands(nullptr)) known.push_back(command->get_name());
  if (word.starts_with('-') || std::find(known.begin(), known.end(), word) != known.end()) return "";
  return fmt::format("no command is called '{}'{}", word, did_you_mean(word, known));
}

void add_commands(CLI::App& app, int& exit_code) {
  app.require_subcommand(1);
  app.set_version_flag("--version", kVersion);
  app.set_help_all_flag("--help-all", "help of all commands");
  add_train_command(app, exit_code);
  add_plan_command(app, exit_code);
  add_describe_command(app);
  add_tokenize_command(app);
  add_eval_command(app);
  add_generate_command(app);
  add_export_command(app);
  add_import_command(app);
  add_report_command(app);
  add_bench_command(app, exit_code);
  add_sweep_command(app, exit_code);
  add_doctor_command(app, exit_code);
}

// Token and weight files are memory-mapped: if one is cut short meanwhile, or its disk fails, reading it raises SIGBUS.
void tell_of_lost_file(int) {
  constexpr char kText[] = "\nerror: a file that was being read has become shorter, or its disk has failed (SIGBUS)\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, kText, sizeof(kText) - 1);
}

void catch_lost_files() {
  struct sigaction action {};
  action.sa_handler = &tell_of_lost_file;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the read is retried, and then ends the program
  sigaction(SIGBUS, &action, nullptr);
}

int run(int argc, char** argv) {
  catch_lost_files();
  keep_freed_memory();
  install_memory_ledger();
  CLI::App app{"tersor: memory-efficient pretraining of language models"};
  int exit_code = kExitDone;
  add_commands(app, exit_code);
  try {
    if (!registration_errors().empty()) throw InternalError(registration_errors().front());
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const std::string hint = argc > 1 ? suggest_command(app, argv[1]) : "";
    if (!hint.empty()) {
      fmt::print(stderr, "{}\n", hint);
      return kExitRejected;
    }
    return app.exit(e) == 0 ? kExitDone : kExitRejected;
  } catch (const std::exception& e) {
    const Failure failure = failure_of(e);
    fmt::print(stderr, "{}{}\n", failure.exit_code == kExitFailed ? "error: " : "", failure.text);
    return failure.exit_code;
  } catch (...) {
    fmt::print(stderr, "error: something was thrown that is not a std::exception\n");
    return kExitFailed;
  }
  return exit_code;
}

}  // namespace
}  // namespace tersor

int main(int argc, char** argv) { return tersor::run(argc, argv); }
