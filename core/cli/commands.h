// The commands of the program, one file each. Each adds itself to the command line; its callback sets the exit code.
#pragma once

#include <CLI/CLI.hpp>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

namespace tersor {

// For numbers on the command line: what CLI11 has of this tells of the largest number there is.
[[nodiscard]] inline CLI::Validator at_least_zero(bool or_more = true) {
  const auto check = [or_more](const std::string& text) {
    double number = 0;
    const bool good = CLI::detail::lexical_cast(text, number) && (or_more ? number >= 0 : number > 0) && std::isfinite(number);
    return good ? std::string() : fmt::format("must be a number {} 0, not '{}'", or_more ? "of at least" : "above", text);
  };
  return {check, or_more ? "NONNEGATIVE" : "POSITIVE"};
}
[[nodiscard]] inline CLI::Validator above_zero() { return at_least_zero(false); }

void add_train_command(CLI::App& app, int& exit_code);
void add_plan_command(CLI::App& app, int& exit_code);
void add_describe_command(CLI::App& app);
void add_tokenize_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_generate_command(CLI::App& app);
void add_export_command(CLI::App& app);
void add_import_command(CLI::App& app);
void add_report_command(CLI::App& app);
void add_bench_command(CLI::App& app, int& exit_code);
void add_sweep_command(CLI::App& app, int& exit_code);
void add_doctor_command(CLI::App& app, int& exit_code);

}  // namespace tersor
