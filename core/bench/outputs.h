// What a suite writes for people, besides results.jsonl for machines: table.md, results.csv (one line per run) and index.html.
#pragma once

#include "core/bench/summary.h"

namespace tersor {

void write_outputs(const Suite& suite, const Results& results);

// One table, the methods from the lowest loss to the highest, with remarks on how the numbers came about.
[[nodiscard]] std::string markdown_table(const Suite& suite, const std::vector<MethodSummary>& methods);
[[nodiscard]] std::string csv_of(const Suite& suite, const Results& results);
// What the page draws; the page itself adds the curves.
[[nodiscard]] Json bench_json(const Suite& suite, const std::vector<MethodSummary>& methods, const Results& results);

// Methods from the lowest mean loss to the highest; those without one come last, in the order of the suite.
[[nodiscard]] std::vector<const MethodSummary*> by_loss(const std::vector<MethodSummary>& methods);
// How the numbers came about: steps, tokens, seeds, how rates were chosen.
[[nodiscard]] std::vector<std::string> remarks_on(const Suite& suite, const std::vector<MethodSummary>& methods);

}  // namespace tersor
