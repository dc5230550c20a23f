// The commands of the program, one file each. Each adds itself to the command line; its callback sets the exit code.
#pragma once

#include <CLI/CLI.hpp>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

namespace tersor {

// Checks numbers on the command line; the messages of CLI11's own checks print the largest double.
[[nodiscard]] inline CLI::Validator number_that(const std::string& what, bool (*good)(double)) {
  return {[what, good](const std::string& text) {
            double number = 0;
            return CLI::detail::lexical_cast(text, number) && std::isfinite(number) && good(number) ? std::string() : "must be a number " + what + ", not '" + text + "'";
          }, "NUMBER"};
}
[[nodiscard]] inline CLI::Validator above_zero() {
  return number_that("above 0", [](double x) { return x > 0; });
}
[[nodiscard]] inline CLI::Validator at_least_zero() {
  return number_that("of at least 0", [](double x) { return x >= 0; });
}

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
