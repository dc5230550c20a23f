#include "core/base/error.h"
#include "core/cli/commands.h"

namespace tersor {
namespace {

int run(int argc, char** argv) {
  CLI::App app{"tersor: memory-efficient pretraining of language models"};
  app.require_subcommand(1);
  app.set_version_flag("--version", TERSOR_VERSION);
  app.set_help_all_flag("--help-all", "help of all commands");
  int exit_code = kExitDone;
  add_train_command(app, exit_code);
  add_describe_command(app);
  add_tokenize_command(app);
  add_eval_command(app);
  add_generate_command(app);
  add_export_command(app);
  add_import_command(app);
  add_report_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitDone : kExitRejected;
  } catch (const UserError& e) {
    fmt::print(stderr, "{}\n", e.what());
    return kExitRejected;
  } catch (const InternalError& e) {
    fmt::print(stderr, "internal error: {}\n", e.what());
    return kExitInternal;
  } catch (const std::exception& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return kExitFailed;
  }
  return exit_code;
}

}  // namespace
}  // namespace tersor

int main(int argc, char** argv) { return tersor::run(argc, argv); }
