#include "core/base/files.h"
#include "core/config/cadence.h"
#include "core/config/registry.h"
#include "core/train/run_config.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

namespace tersor {
namespace {

enum class Fruit { kApple, kPear };

}  // namespace
template <>
struct EnumNames<Fruit> {
  static constexpr std::array values{std::pair{Fruit::kApple, std::string_view("apple")},
                                     std::pair{Fruit::kPear, std::string_view("pear")}};
};
namespace {

struct Inner {
  double scale = 0.25;
  void fields(FieldVisitor& v) { v("scale", scale, positive, "a factor"); }
};

struct Whole {
  bool flag = true;
  int64_t count = 3;
  Fruit fruit = Fruit::kApple;
  Inner inner;
  std::vector<Inner> list;
  std::optional<int64_t> maybe;
  Span span;
  Bytes memory;
  Cadence when = Cadence::every(10);
  std::filesystem::path path;
  void fields(FieldVisitor& v) {
    v("flag", flag, "yes or no");
    v("count", count, at_least(1), "how many");
    v("fruit", fruit, "which");
    v("inner", inner, "a section");
    v("list", list, "sections");
    v("maybe", maybe, at_least(0), "perhaps");
    v("span", span, "how long");
    v("memory", memory, "how much");
    v("when", when, "how often");
    v("path", path, "where");
  }
};

Whole read(const std::string& text, Diagnostics& out) {
  Whole whole;
  const ConfigNode node = parse_config(text, "a.yaml", out);
  read_fields(whole, node, out);
  return whole;
}

std::string errors_of(const std::string& text) {
  Diagnostics out;
  (void)read(text, out);
  try {
    out.throw_if_any();
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

Whole good(const std::string& text) {
  Diagnostics out;
  Whole whole = read(text, out);
  out.throw_if_any();
  return whole;
}

Progress at_step(int64_t step, int64_t tokens_per_step = 100, int64_t total = 1000) {
  return {step, step * tokens_per_step, (step - 1) * tokens_per_step, total, total * tokens_per_step};
}

std::vector<int64_t> due_steps(const std::string& text, int64_t total = 1000) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::kScalar;
  node.scalar = text;
  Diagnostics out;
  Cadence cadence;
  cadence.read(node, out);
  out.throw_if_any();
  std::vector<int64_t> steps;
  for (int64_t step = 1; step <= total; ++step)
    if (cadence.due(at_step(step, 100, total))) steps.push_back(step);
  return steps;
}

TEST_CASE("config: values with units are read", "[config]") {
  const Whole w = good("{count: 10k, memory: 2GiB, span: 10M tokens, maybe: 1_000, inner: {scale: 50%}, fruit: pear}");
  CHECK(w.count == 10000);
  CHECK(w.memory.value == int64_t{2} << 30);
  CHECK(w.span.value == 1e7);
  CHECK(w.span.unit == Span::Unit::kTokens);
  CHECK(w.maybe == 1000);
  CHECK(w.inner.scale == 0.5);
  CHECK(w.fruit == Fruit::kPear);
}

TEST_CASE("config: every mistake is reported at once, each with its place", "[config]") {
  CHECK(errors_of("count: 0\nfruit: aple\ninner:\n  scael: 1\n  scale: -1\nlist: 3\nwhen: sometimes\n") ==
        "a.yaml:1:8: count: must be at least 1, not 0\n"
        "a.yaml:2:8: fruit: must be one of apple, pear, not 'aple'; did you mean 'apple'?\n"
        "a.yaml:4:3: inner.scael: unknown option; did you mean 'scale'? (options: scale)\n"
        "a.yaml:5:10: inner.scale: must be greater than 0, not -1\n"
        "a.yaml:6:7: list: must be a list of section, not a single value\n"
        "a.yaml:7:7: when: must be a cadence (never, every 200, every 10M tokens, at 700, at 80%, every 200 from 10% until "
        "80%), not 'sometimes'");
}

TEST_CASE("config: mistakes are in the order of files and lines", "[config]") {
  Diagnostics out;
  const auto mark = [](const std::string& file, int line) { return Mark{.file = std::make_shared<const std::string>(file), .line = line, .column = 1}; };
  for (const auto& [file, line] : std::vector<std::pair<std::string, int>>{{"b", 3}, {"a", 9}, {"b", 1}, {"a", 2}, {"b", 2}}) out.add(mark(file, line), "", "x");
  CHECK_THROWS_WITH(out.throw_if_any(), "b:1:1: x\nb:2:1: x\nb:3:1: x\na:2:1: x\na:9:1: x");
}

TEST_CASE("config: merge keys are told apart from mistyped ones", "[config]") {
  CHECK(errors_of("inner: {<<: {scale: 1}}") == "a.yaml:1:9: inner.<<: YAML merge keys are not supported; use 'extends' to build on other files");
}

TEST_CASE("config: malformed values are refused", "[config]") {
  for (const std::string text : {"count: 1.5", "count: ten", "count: '3'", "inner: {scale: nan}", "memory: 3 apples",
                                 "span: 10 miles", "count: [1]", "count: {a: 1}", "maybe: -1", "count: 1, 2", "- 1",
                                 "count: 1\ncount: 2", "a: [", "when: every 0", "when: 0", "count:", "inner:", "a: &x {b: *x}", "count: 1\n---\ncount: 2", "when: at", "when: every 5 every 6"})
    CHECK_FALSE(errors_of(text).empty());
}

TEST_CASE("config: what is printed reads back as the same", "[config]") {
  Whole w = good("{count: 7, span: 12.5%, when: at 10M tokens, list: [{scale: 0.00003}, {}], maybe: 5, memory: 3kB}");
  const Json printed = fields_to_json(w);
  Whole again = good(to_yaml(printed));
  CHECK(fields_to_json(again) == printed);
  CHECK(to_yaml(printed).find("3.0e-05") != std::string::npos);
}

TEST_CASE("config: command-line overrides reach every level and win", "[config]") {
  Diagnostics out;
  const ConfigNode root = load_config({}, {"inner.scale=2", "--list=[{scale: 3}, {scale: 4}]", "list.1.scale=5"}, out);
  out.throw_if_any();
  Whole whole;
  read_fields(whole, root, out);
  out.throw_if_any();
  CHECK(whole.inner.scale == 2);
  CHECK(whole.list[0].scale == 3);
  CHECK(whole.list[1].scale == 5);
}

TEST_CASE("config: an option below a method's name leaves that method chosen", "[config]") {
  const testing::TemporaryFolder folder;
  write_whole(folder / "lion.yaml", "optimizer: {groups: [{match: any, rule: lion, state: int8}]}\n");
  const auto rule_of = [&](const std::vector<std::string>& words) {
    std::vector<std::string> all{"data.source={type: synthetic}"};
    all.insert(all.end(), words.begin(), words.end());
    const RunConfig config = read_run_config({folder / "lion.yaml"}, all);
    Json json = config.optimizer.groups.front().rule.to_json();
    json["state"] = config.optimizer.groups.front().state.to_json();
    return json;
  };
  CHECK(rule_of({"optimizer.groups.0.rule.beta2=0.5"})["type"] == "lion");
  CHECK(rule_of({"optimizer.groups.0.rule.beta2=0.5"})["beta2"] == 0.5);
  CHECK(rule_of({"optimizer.groups.0.rule={beta2: 0.5}"})["type"] == "lion");
  CHECK(rule_of({"optimizer.groups.0.state.min_size=7"})["state"] == Json{{"type", "int8"}, {"min_size", 7}});
  CHECK(rule_of({"optimizer.groups.0.rule=sgd", "optimizer.groups.0.rule.momentum=0.5"})["type"] == "sgd");
  CHECK(rule_of({"optimizer.groups.0.rule={type: galore, inner: lion}", "optimizer.groups.0.rule.inner.beta2=0.5"})["inner"]["type"] == "lion");
  CHECK(rule_of({"optimizer.groups.0.rule.beta2=0.5", "optimizer.groups.0.rule.type=adamw"})["type"] == "adamw");
  CHECK_THROWS_WITH(rule_of({"optimizer.groups.0.rule=loin", "optimizer.groups.0.rule.beta2=0.5"}), Catch::Contains("did you mean 'lion'"));
}

TEST_CASE("config: an override that names nothing is refused", "[config]") {
  for (const std::string text : {"inner.scale", "=3", "list.7.scale=1"}) {
    Diagnostics out;
    (void)load_config({}, {"list=[{scale: 3}]", text}, out);
    CHECK(out.size() == 1);
  }
}

TEST_CASE("config: cadences are due when they say", "[config]") {
  CHECK(due_steps("never").empty());
  CHECK(due_steps("every 300") == std::vector<int64_t>{300, 600, 900});
  CHECK(due_steps("at 50%") == std::vector<int64_t>{500});
  CHECK(due_steps("at 7") == std::vector<int64_t>{7});
  CHECK(due_steps("at 650 tokens") == std::vector<int64_t>{7});
  CHECK(due_steps("every 30k tokens") == std::vector<int64_t>{300, 600, 900});
  CHECK(due_steps("every 250 tokens until 7") == std::vector<int64_t>{3, 5});
  CHECK(due_steps("every 200 until 60%") == std::vector<int64_t>{200, 400, 600});
  CHECK(due_steps("every 300 from 100") == std::vector<int64_t>{100, 400, 700, 1000});
  CHECK(due_steps("every 20 tokens").size() == 1000);
  for (const int64_t total : {601, 1002, 4577, 10001}) {  // not multiples of the periods
    const auto quarter = [&](int64_t k) { return (k * total + 3) / 4; };
    CHECK(due_steps("every 25%", total) == std::vector<int64_t>{quarter(1), quarter(2), quarter(3), total});
    CHECK(due_steps("every 25% until 75%", total) == std::vector<int64_t>{quarter(1), quarter(2), quarter(3)});
    CHECK(due_steps("every 25% from 50% until 75%", total) == std::vector<int64_t>{quarter(2), quarter(3)});
    CHECK(due_steps("every 2% from 17.3% until 65.3%", total).size() == 25);
    CHECK(due_steps("every 7%", total).size() == 14);
    CHECK(due_steps("at 75%", total) == std::vector<int64_t>{quarter(3)});
  }
}

}  // namespace
}  // namespace tersor
