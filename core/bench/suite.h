// A suite: configurations compared on the same tokens, each at several learning rates and with several seeds.
//
//   name: small
//   base: ../run/quickstart.yaml
//   set: {train.steps: 1200, optimizer.weight_decay: 0}
//   lr_factors: [0.5, 1, 2]
//   methods:
//     - {files: ../method/adamw.yaml}
//     - {files: ../method/galore.yaml, set: {optimizer.groups.0.rule.rank: 48}}
//
// Files override `base`, `set` overrides files, a method's `set` overrides the suite's, and the grid overrides all.
#pragma once

#include "core/bench/published.h"
#include "core/config/written_options.h"
#include "core/train/run_config.h"

namespace tersor {

struct SuiteMethod {
  std::string name;
  OneOrMore<std::filesystem::path> files;
  WrittenOptions set;
  std::vector<double> lr;
  WrittenOptions grid;
  void fields(FieldVisitor& v) {
    v("name", name, "its name in the table; absent: that of its last file");
    v("files", files, "configuration files laid over the suite's base");
    v("set", set, "options of this method only");
    v("lr", lr, positive, "learning rates to try, instead of the suite's multiples");
    v("grid", grid, "lists of values to try, in all combinations");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;
};

// Where the seeds after the first are run.
enum class SeedsAt { kBest, kEvery };
template <>
struct EnumNames<SeedsAt> {
  static constexpr std::array values{std::pair{SeedsAt::kBest, std::string_view("best")},
                                     std::pair{SeedsAt::kEvery, std::string_view("every")}};
};

struct SuiteConfig {
  std::string name;
  std::string title;
  std::filesystem::path out_dir = "bench";
  OneOrMore<std::filesystem::path> base;
  WrittenOptions set;
  std::vector<double> lr_factors{1};
  WrittenOptions grid;
  std::vector<int64_t> seeds{1, 2};
  SeedsAt seeds_at = SeedsAt::kBest;
  std::vector<SuiteMethod> methods;
  std::string baseline;
  bool plan_only = false;
  int64_t jobs = 0;
  int64_t threads = 1;
  std::optional<Bytes> memory;
  bool keep_checkpoints = false;
  std::string protocol;
  std::filesystem::path published;
  std::vector<std::string> remarks;
  void fields(FieldVisitor& v) {
    v("name", name, "the folder inside out_dir; absent: the name of the suite's file");
    v("title", title, "the heading of the table and the page");
    v("out_dir", out_dir, "where results are kept; relative to the file that sets it, or, by default, to the working directory");
    v("base", base, "configuration files that those of every method override");
    v("set", set, "options of every method, such as {train.steps: 200}");
    v("lr_factors", lr_factors, positive, "learning rates to try, as multiples of each method's own");
    v("grid", grid, "lists of values to try with every method, in all combinations");
    v("seeds", seeds, at_least(0), "values of run.seed; the grid is run with the first");
    v("seeds_at", seeds_at, "where the other seeds are run: at each method's best point of the grid, or at every point");
    v("methods", methods, required, "what is compared");
    v("baseline", baseline, "the method that others are compared with; absent: the first");
    v("plan_only", plan_only, "plan the memory of each configuration and train nothing");
    v("jobs", jobs, at_least(0), "runs at a time; 0: as many as fit into cores and memory");
    v("threads", threads, between(1, 1024), "CPU threads of each run");
    v("memory", memory, "memory that all runs together may take; absent: what the machine has free");
    v("keep_checkpoints", keep_checkpoints, "keep the weights of finished runs, for tersor eval and generate");
    v("protocol", protocol, "name of the protocol; published results of the same one are shown");
    v("published", published, "a file of published results");
    v("remarks", remarks, "sentences to put below the table");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;
};

// One value of the grid, as the table shows it.
struct GridValue {
  std::string option;
  std::string text;
};

// One run of a suite.
struct Cell {
  std::string name;  // of the run's folder: "galore-lr0.01-s1"
  std::string method;
  std::vector<GridValue> point;
  int64_t seed = 0;
  RunConfig config;
  Json identity;  // see identity_of

  // "lr 0.01, rank 48"
  [[nodiscard]] std::string point_text() const;
};

// All options of a run of a suite except those that do not change its results, with paths relative to the suite's file.
[[nodiscard]] Json identity_of(RunConfig config, const std::filesystem::path& home);

struct Suite {
  SuiteConfig config;
  std::filesystem::path home;              // the folder of its file
  std::vector<PublishedResult> published;  // of the suite's protocol
  std::vector<PublishedSource> sources;
  std::vector<Cell> cells;  // method by method, point by point, seed by seed: all seeds at all points

  // The number, from 1, by which tables cite the source of a published result.
  [[nodiscard]] int64_t number_of(const PublishedResult& result) const;
  [[nodiscard]] std::filesystem::path folder() const { return config.out_dir / config.name; }
  [[nodiscard]] std::filesystem::path cells_folder() const { return folder() / "cells"; }
};

// Reads a suite and the configuration of each of its cells. Throws UserError with everything that is wrong.
[[nodiscard]] Suite read_suite(const std::filesystem::path& file, const std::vector<std::string>& overrides);

// Makes a suite of one configuration: every override whose value is a list is an axis of the grid, and `run.seed=[…]` gives the seeds.
// `options` are those of a suite ("jobs=2").
[[nodiscard]] Suite read_sweep(const std::vector<std::filesystem::path>& files, const std::vector<std::string>& overrides,
                               const std::vector<std::string>& options);

}  // namespace tersor
