#include "core/config/node.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace tersor {
namespace {

// Turns YAML text into a tree with marks. Duplicate keys are errors: YAML would silently keep one of them.
class TreeBuilder {
 public:
  TreeBuilder(std::string name, Diagnostics& diagnostics)
      : file_(std::make_shared<const std::string>(std::move(name))), diagnostics_(diagnostics) {}

  ConfigNode build(const std::string& text) {
    try {
      const std::vector<YAML::Node> documents = YAML::LoadAll(text);
      if (documents.size() > 1)
        diagnostics_.add(mark(documents[1].Mark()), "", "begins a second YAML document; a file holds one");
      return documents.empty() ? ConfigNode{.mark = Mark{file_, 1, 1}} : convert(documents[0], "");
    } catch (const YAML::Exception& e) {
      diagnostics_.add(mark(e.mark), "", "cannot be read as YAML: " + e.msg);
      return ConfigNode{.kind = ConfigNode::Kind::kMap, .mark = mark(e.mark)};
    }
  }

 private:
  Mark mark(const YAML::Mark& m) const {
    return m.is_null() ? Mark{file_, 1, 1} : Mark{file_, m.line + 1, m.column + 1};
  }

  ConfigNode convert(const YAML::Node& yaml, const std::string& path) {
    constexpr int kDeepest = 64;
    ConfigNode node;
    if (depth_ >= kDeepest) {
      diagnostics_.add(mark(yaml.Mark()), "", "is nested too deeply, or contains itself");
      return node;
    }
    ++depth_;
    fill(node, yaml, path);
    --depth_;
    return node;
  }

  void fill(ConfigNode& node, const YAML::Node& yaml, const std::string& path) {
    node.mark = mark(yaml.Mark());
    node.path = path;
    if (yaml.IsScalar()) {
      node.kind = ConfigNode::Kind::kScalar;
      node.scalar = yaml.Scalar();
      node.quoted = yaml.Tag() == "!";
    } else if (yaml.IsSequence()) {
      node.kind = ConfigNode::Kind::kSequence;
      for (size_t i = 0; i < yaml.size(); ++i)
        node.items.push_back(convert(yaml[i], fmt::format("{}[{}]", path, i)));
    } else if (yaml.IsMap()) {
      node.kind = ConfigNode::Kind::kMap;
      for (const auto& entry : yaml) add_entry(node, entry.first, entry.second);
    }
  }

  void add_entry(ConfigNode& node, const YAML::Node& key, const YAML::Node& value) {
    const Mark key_mark = mark(key.Mark());
    if (!key.IsScalar()) {
      diagnostics_.add(key_mark, node.path, "a key must be plain text");
      return;
    }
    const std::string name = key.Scalar();
    const std::string path = node.path.empty() ? name : node.path + "." + name;
    if (node.find(name) != nullptr) {
      diagnostics_.add(key_mark, path, "is written twice in this map; keep one");
      return;
    }
    ConfigNode converted = convert(value, path);
    if (converted.mark.line == 0) converted.mark = key_mark;
    node.entries.push_back({name, key_mark, std::move(converted)});
  }

  std::shared_ptr<const std::string> file_;
  Diagnostics& diagnostics_;
  int depth_ = 0;
};

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above + 1, row[j - 1] + 1, change});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string Mark::text() const {
  if (!file) return "configuration";
  return line == 0 ? *file : fmt::format("{}:{}:{}", *file, line, column);
}

std::filesystem::path Mark::folder() const {
  if (!file || line == 0) return std::filesystem::current_path();
  return std::filesystem::absolute(*file).parent_path();
}

const ConfigNode* ConfigNode::find(std::string_view key) const {
  for (const ConfigEntry& entry : entries)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

ConfigNode* ConfigNode::find(std::string_view key) {
  return const_cast<ConfigNode*>(std::as_const(*this).find(key));
}

const ConfigNode& ConfigNode::nearest(std::initializer_list<std::string_view> keys) const {
  const ConfigNode* place = this;
  for (const std::string_view key : keys) {
    const ConfigNode* next = place->find(key);
    if (next == nullptr) break;
    place = next;
  }
  return *place;
}

std::string_view ConfigNode::kind_name() const {
  switch (kind) {
    case Kind::kNull: return "nothing";
    case Kind::kScalar: return "a single value";
    case Kind::kSequence: return "a list";
    case Kind::kMap: return "a map of options";
  }
  return "";
}

ConfigNode scalar_node(std::string text, std::string path) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::kScalar;
  node.scalar = std::move(text);
  node.path = std::move(path);
  return node;
}

void Diagnostics::add(const Mark& mark, std::string_view path, std::string message) {
  const std::string where = path.empty() ? "" : fmt::format("{}: ", path);
  lines_.push_back({mark, fmt::format("{}: {}{}", mark.text(), where, message)});
}

std::string Diagnostics::text() const {
  const auto file_of = [](const Line& line) { return line.mark.file ? *line.mark.file : std::string(); };
  std::map<std::string, size_t> files;  // in the order in which they are first named
  for (const Line& line : lines_) files.emplace(file_of(line), files.size());
  std::vector<Line> sorted = lines_;
  std::stable_sort(sorted.begin(), sorted.end(), [&](const Line& a, const Line& b) {
    return std::tuple(files[file_of(a)], a.mark.line, a.mark.column) < std::tuple(files[file_of(b)], b.mark.line, b.mark.column);
  });
  std::string all;
  for (const Line& line : sorted) all += (all.empty() ? "" : "\n") + line.text;
  return all;
}

void Diagnostics::throw_if_any() const {
  if (!empty()) throw UserError(text());
}

ConfigNode parse_config(const std::string& text, const std::string& name,
                        Diagnostics& diagnostics) {
  ConfigNode root = TreeBuilder(name, diagnostics).build(text);
  if (root.kind == ConfigNode::Kind::kNull) root.kind = ConfigNode::Kind::kMap;
  if (root.kind != ConfigNode::Kind::kMap) {
    diagnostics.add(root, fmt::format("must be a map of options, not {}", root.kind_name()));
    root = ConfigNode{.kind = ConfigNode::Kind::kMap, .mark = root.mark};
  }
  return root;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const std::string* best = nullptr;
  size_t best_distance = std::min(std::max<size_t>(2, word.size() / 3) + 1, word.size());
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = &candidate;
    }
  }
  return best != nullptr ? fmt::format("; did you mean '{}'?", *best) : "";
}

}  // namespace tersor
