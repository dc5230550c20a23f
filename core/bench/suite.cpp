#include "core/bench/suite.h"

#include <set>

#include "core/bench/expand.h"
#include "core/config/merge.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

// What a fair comparison keeps equal: the tokens, their order and number, and what the loss is measured on.
Json protocol_of(const RunConfig& config) {
  RunConfig copy = config;
  const Json all = fields_to_json(copy);
  return {{"data", all["data"]},
          {"evaluation.tokens", all["evaluation"]["tokens"]},
          {"model.vocab_size", all["model"]["vocab_size"]},
          {"train.steps", all["train"]["steps"]},
          {"train.global_batch_size", all["train"]["global_batch_size"]}};
}

void check_same_protocol(const std::vector<Cell>& cells, const SuiteConfig& suite, const ConfigNode& node, Diagnostics& out) {
  const Json first = protocol_of(cells.front().config);
  const ConfigNode* methods = node.find("methods");
  for (size_t i = 0; i < suite.methods.size(); ++i) {
    const auto cell = std::find_if(cells.begin(), cells.end(), [&](const Cell& c) { return c.method == suite.methods[i].name; });
    if (cell == cells.end()) continue;
    const Json own = protocol_of(cell->config);
    for (const auto& [option, value] : first.items())
      if (own[option] != value)
        out.add(methods->items[i], fmt::format("methods of a suite must see the same tokens, but {} is {} here and {} for '{}'", option,
                                               own[option].dump(), value.dump(), cells.front().method));
  }
}

// Fills in names that were left out, from those of the files.
void complete_names(SuiteConfig& suite, const fs::path& file) {
  if (suite.name.empty()) suite.name = file.stem().string();
  for (SuiteMethod& method : suite.methods)
    if (method.name.empty() && !method.files.empty()) method.name = method.files.back().stem().string();
  if (suite.baseline.empty() && !suite.methods.empty()) suite.baseline = suite.methods.front().name;
  suite.out_dir = fs::absolute(suite.out_dir).lexically_normal();
}

// Methods are compared by their losses.
void check_evaluation(const std::vector<Cell>& cells, const SuiteConfig& suite) {
  for (const Cell& cell : cells)
    if (!suite.plan_only && cell.config.evaluation.every.never())
      throw user_error("{}: evaluation.every is never, but methods are compared by their validation loss; set it, or plan_only: true", cell.method);
}

void check_names(const SuiteConfig& suite, const ConfigNode& node, Diagnostics& out) {
  std::set<std::string> names;
  for (size_t i = 0; i < suite.methods.size(); ++i)
    if (!names.insert(suite.methods[i].name).second)
      out.add(node.find("methods")->items[i], fmt::format("an earlier method is also called '{}'; give it another `name`", suite.methods[i].name));
  if (names.contains(suite.baseline)) return;
  out.add(node.nearest({"baseline"}), fmt::format("no method is called '{}'{}", suite.baseline, did_you_mean(suite.baseline, {names.begin(), names.end()})));
}

void add_published(Suite& suite) {
  if (suite.config.published.empty()) return;
  Published published = read_published(suite.config.published);
  std::erase_if(published.results, [&](const PublishedResult& r) { return r.protocol != suite.config.protocol; });
  suite.published = std::move(published.results);
  suite.sources = std::move(published.sources);
}

// Reports the mistakes of all methods at once, those in files that they share only once.
std::vector<Cell> expand(const Suite& suite) {
  std::vector<Cell> cells;
  std::vector<std::string> wrong;
  for (const SuiteMethod& method : suite.config.methods) {
    try {
      std::vector<Cell> own = expand_method(suite, method);
      cells.insert(cells.end(), std::make_move_iterator(own.begin()), std::make_move_iterator(own.end()));
    } catch (const UserError& e) {
      if (std::find(wrong.begin(), wrong.end(), e.what()) == wrong.end()) wrong.emplace_back(e.what());
    }
  }
  if (!wrong.empty()) throw user_error("{}", fmt::join(wrong, "\n"));
  std::set<std::string> names;
  for (const Cell& cell : cells)
    if (!names.insert(cell.name).second) throw user_error("two runs of the suite are called '{}': the grid has a value twice", cell.name);
  return cells;
}

// A list becomes an axis of the grid, run.seed gives the suite's seeds, and everything else holds for every run.
void sort_override(ConfigEntry entry, SuiteConfig& suite, Diagnostics& out) {
  const bool list = entry.value.kind == ConfigNode::Kind::kSequence;
  if (entry.key == "run.seed") {
    if (!list) entry.value = {.kind = ConfigNode::Kind::kSequence, .items = {entry.value}, .mark = entry.value.mark, .path = entry.key};
    return read_option(suite.seeds, entry.value, out);
  }
  (list ? suite.methods.front().grid : suite.methods.front().set).add(std::move(entry));
}

}  // namespace

void SuiteMethod::check(const ConfigNode& node, Diagnostics& out) const {
  if (name.empty() && files.empty()) out.add(node, "needs `files`, or a `name`");
  if (name.starts_with('.')) out.add(node, fmt::format("'{}' cannot be the name of a method", name));
}

void SuiteConfig::check(const ConfigNode& node, Diagnostics& out) const {
  const auto place = [&](const char* key) -> const ConfigNode& { return node.nearest({key}); };
  if (name.find('/') != std::string::npos || name.starts_with('.')) out.add(place("name"), fmt::format("'{}' cannot be the name of a folder", name));
  if (methods.empty()) out.add(place("methods"), "is empty; name at least one");
  if (seeds.empty()) out.add(place("seeds"), "is empty; give at least one seed");
  if (std::set(seeds.begin(), seeds.end()).size() != seeds.size()) out.add(place("seeds"), "holds a seed twice");
  if (lr_factors.empty()) out.add(place("lr_factors"), "is empty; [1] tries only each method's own rate");
}

int64_t Suite::number_of(const PublishedResult& result) const {
  const auto found = std::find_if(sources.begin(), sources.end(), [&](const PublishedSource& s) { return s.key == result.source; });
  return found - sources.begin() + 1;
}

Suite read_suite(const fs::path& file, const std::vector<std::string>& overrides) {
  Diagnostics out;
  const ConfigNode node = load_config({file}, overrides, out);
  out.throw_if_any();
  Suite suite;
  read_fields(suite.config, node, out);
  out.throw_if_any();
  complete_names(suite.config, file);
  check_names(suite.config, node, out);
  out.throw_if_any();
  add_published(suite);
  suite.home = fs::absolute(file).lexically_normal().parent_path();
  suite.cells = expand(suite);
  check_evaluation(suite.cells, suite.config);
  if (!suite.config.plan_only) check_same_protocol(suite.cells, suite.config, node, out);
  out.throw_if_any();
  return suite;
}

Suite read_sweep(const std::vector<fs::path>& files, const std::vector<std::string>& overrides, const std::vector<std::string>& options) {
  Diagnostics out;
  ConfigNode node = load_config({}, options, out);
  merge(node, parse_config(to_yaml({{"methods", Json::array({{{"name", files.back().stem().string()}}})}}), "command line", out));
  Suite suite;
  SuiteConfig& config = suite.config;
  read_fields(config, node, out);
  out.throw_if_any();
  config.methods.front().files.assign(files.begin(), files.end());
  config.seeds_at = SeedsAt::kEvery;
  config.seeds.clear();
  std::vector<std::string> common;
  for (const std::string& text : overrides) {
    auto entry = parse_override(text, out);
    if (entry && entry->value.kind != ConfigNode::Kind::kSequence) common.push_back(text);
    if (entry) sort_override(std::move(*entry), config, out);
  }
  out.throw_if_any();
  if (config.methods.front().grid.entries().empty() && config.seeds.size() < 2)
    throw user_error("a sweep needs values to try, for instance optimizer.lr=[0.001,0.003] or run.seed=[1,2,3]");
  if (config.seeds.empty()) config.seeds.push_back(read_run_config(files, common).run.seed);
  complete_names(config, files.back());
  suite.home = fs::absolute(files.front()).lexically_normal().parent_path();
  suite.cells = expand(suite);
  check_evaluation(suite.cells, config);
  // Every point becomes a row of the table.
  for (Cell& cell : suite.cells)
    if (const std::string text = cell.point_text(); !text.empty()) cell.method = text;
  config.baseline = suite.cells.front().method;
  return suite;
}

}  // namespace tersor
