// The report: one HTML page with the curves, the memory and the configuration of one run or several, side by side.
// It needs no network and no server; the page itself is core/report/page.html, compiled into the program.
//
//   write_report({"runs/adamw", "runs/galore"}, "compare.html");
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace tersor {

// Reads metrics.jsonl and, if there is one, config.yaml of each run, which may still be in progress. Throws UserError if a folder is
// not a run's, or if `page` exists and is not an HTML page.
void write_report(const std::vector<std::filesystem::path>& runs, const std::filesystem::path& page);

struct NamedRun {
  std::filesystem::path folder;
  std::string name;
};

// Writes the page of a suite: the same, below a summary of all its runs from `bench` (made in core/bench/outputs.cpp, drawn by
// core/report/bench_section.html and bench_script.js).
void write_bench_page(const nlohmann::ordered_json& bench, const std::vector<NamedRun>& runs, const std::filesystem::path& page);

// Curves with more points than this are thinned; the page says so. Each stretch of a curve keeps its extremes, and every
// curve its first and last point.
inline constexpr size_t kMaxCurvePoints = 2000;
inline constexpr size_t kMaxBenchPoints = 400;

}  // namespace tersor
