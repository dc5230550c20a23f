#include "core/bench/expand.h"

#include "core/base/files.h"
#include "core/config/merge.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

struct Axis {
  std::string option;
  std::vector<ConfigNode> values;
};

// A point of the grid: one value for every axis.
using Point = std::vector<std::pair<std::string, ConfigNode>>;

constexpr std::string_view kRate = "optimizer.lr";

std::string text_of(const ConfigNode& value) {
  return value.kind == ConfigNode::Kind::kScalar ? value.scalar : written_to_json(value).dump();
}

// The options that the grid overrides: those of the files, the suite's `set` and the method's.
ConfigNode written_config(const SuiteConfig& suite, const SuiteMethod& method, Diagnostics& out) {
  std::vector<fs::path> files = suite.base;
  files.insert(files.end(), method.files.begin(), method.files.end());
  ConfigNode root = load_config(files, {}, out);
  suite.set.apply(root, out);
  method.set.apply(root, out);
  return root;
}

Axis& axis_of(std::vector<Axis>& axes, const std::string& option) {
  const auto found = std::find_if(axes.begin(), axes.end(), [&](const Axis& a) { return a.option == option; });
  return found != axes.end() ? *found : axes.emplace_back(Axis{option, {}});
}

void add_axes(std::vector<Axis>& axes, const WrittenOptions& grid, Diagnostics& out) {
  for (const ConfigEntry& entry : grid.entries()) {
    if (entry.value.kind != ConfigNode::Kind::kSequence || entry.value.items.empty())
      out.add(entry.value, fmt::format("must be a list of values for {}", entry.key));
    axis_of(axes, entry.key).values = entry.value.items;
  }
}

// Learning rates first: the grid varies them most slowly.
std::vector<Axis> axes_of(const SuiteConfig& suite, const SuiteMethod& method, double own_rate, Diagnostics& out) {
  std::vector<Axis> axes;
  std::vector<double> rates = method.lr;
  if (rates.empty())
    for (const double factor : suite.lr_factors) rates.push_back(factor * own_rate);
  for (const double rate : rates)
    axis_of(axes, std::string(kRate)).values.push_back({.kind = ConfigNode::Kind::kScalar, .scalar = fmt::format("{:.6g}", rate)});
  add_axes(axes, suite.grid, out);
  add_axes(axes, method.grid, out);
  return axes;
}

std::vector<Point> points_of(const std::vector<Axis>& axes) {
  std::vector<Point> points{{}};
  for (const Axis& axis : axes) {
    std::vector<Point> longer;
    for (const Point& point : points) {
      for (const ConfigNode& value : axis.values) {
        longer.push_back(point);
        longer.back().emplace_back(axis.option, value);
      }
    }
    points = std::move(longer);
  }
  return points;
}

std::string last_part(const std::string& option) { return option.substr(option.rfind('.') + 1); }

// `text` as the name of a folder. A checksum tells texts apart of which something had to be replaced or cut off.
std::string name_of(const std::string& text) {
  std::string plain;
  for (const char c : text) plain += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_' ? c : '_';
  if (plain == text && plain.size() <= 40) return plain;
  return plain.substr(0, 24) + "~" + sha256_of_text(text).substr(0, 6);
}

// Makes paths relative to `home`, so that results survive a move of the whole folder; those with nothing in common stay absolute.
void make_relative(Json& json, const fs::path& home) {
  if (json.is_string()) {
    const fs::path path = json.get<std::string>();
    if (path.is_absolute() && *std::next(path.begin()) == *std::next(home.begin())) json = path.lexically_relative(home).string();
  } else if (json.is_structured()) {
    for (Json& inner : json) make_relative(inner, home);
  }
}

}  // namespace

Json identity_of(RunConfig config, const fs::path& home) {
  Json json = fields_to_json(config);
  for (const char* option : {"name", "out_dir", "resume", "device", "threads", "memory_limit"}) json["run"].erase(option);
  make_relative(json, home);
  return json;
}

namespace {

std::string cell_name(const std::string& method, const std::vector<GridValue>& point, int64_t seed) {
  std::string name = name_of(method);
  for (const GridValue& value : point) name += "-" + name_of(last_part(value.option) + value.text);
  return fmt::format("{}-s{}", name, seed);
}

}  // namespace

std::string Cell::point_text() const {
  std::string text;
  for (const GridValue& value : point) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", last_part(value.option), value.text);
  return text;
}

std::vector<Cell> expand_method(const Suite& whole, const SuiteMethod& method) {
  const SuiteConfig& suite = whole.config;
  Diagnostics out;
  const ConfigNode below = written_config(suite, method, out);
  out.throw_if_any();
  const std::vector<Axis> axes = axes_of(suite, method, read_run_config(below, out).optimizer.lr, out);
  out.throw_if_any();
  std::vector<Cell> cells;
  for (const Point& point : points_of(axes)) {
    ConfigNode root = below;
    Cell cell{.method = method.name};
    for (const auto& [option, value] : point) {
      set_option(root, option, value, out);
      cell.point.push_back({option, text_of(value)});
    }
    out.throw_if_any();
    cell.config = read_run_config(root, out);
    cell.config.run.out_dir = whole.cells_folder();
    cell.config.run.threads = suite.threads;
    cell.config.run.resume = Resume::kNever;
    for (const int64_t seed : suite.seeds) {
      cell.seed = cell.config.run.seed = seed;
      cell.name = cell.config.run.name = cell_name(method.name, cell.point, seed);
      cell.identity = identity_of(cell.config, whole.home);
      cells.push_back(cell);
    }
  }
  return cells;
}

}  // namespace tersor
