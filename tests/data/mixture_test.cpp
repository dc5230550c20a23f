// Several sources: shares, order, and what a position is.
#include "core/data/mixture.h"
#include "tests/support/resume.h"

namespace tersor {
namespace {

std::vector<SourceShare> two_sources() {
  const auto synthetic = [](int64_t windows) {
    Diagnostics out;
    Choice<token_sources> source;
    source.read(parse_config(fmt::format("{{type: synthetic, windows: {}}}", windows), "test", out), out);
    out.throw_if_any();
    return source;
  };
  return {{.name = "a", .source = synthetic(700)}, {.name = "b", .source = synthetic(5000)}};
}

enum class Fault { kNone, kToken, kTargets, kThrows, kEmpty };

}  // namespace

template <>
struct EnumNames<Fault> {
  static constexpr std::array values{std::pair{Fault::kNone, std::string_view("none")}, std::pair{Fault::kToken, std::string_view("token")},
                                     std::pair{Fault::kTargets, std::string_view("targets")}, std::pair{Fault::kThrows, std::string_view("throws")},
                                     std::pair{Fault::kEmpty, std::string_view("empty")}};
};

namespace {

// A source as a user might write it, with a mistake.
class Faulty final : public TokenSource {
 public:
  struct Config {
    Fault fault = Fault::kNone;
    void fields(FieldVisitor& v) { v("fault", fault, "what is wrong with it"); }
  };
  Faulty(const Config& config, const SourceInfo& info) : fault_(config.fault), info_(info) {}
  int64_t size() const override { return fault_ == Fault::kEmpty ? 0 : 10; }
  void read(int64_t window, std::span<int64_t> tokens) const override {
    if (fault_ == Fault::kThrows) throw std::out_of_range("over the edge");
    std::fill(tokens.begin(), tokens.end(), window);
    if (fault_ == Fault::kToken) tokens[3] = info_.vocab_size;
  }
  int64_t num_targets(int64_t) const override { return info_.sequence_length - (fault_ == Fault::kTargets ? 1 : 0); }

 private:
  Fault fault_;
  SourceInfo info_;
};
const bool registered = token_sources().add<Faulty>("faulty_of_a_test", "no source");

const SourceInfo info{.sequence_length = 20, .vocab_size = 50, .split = "train", .seed = 5};

TEST_CASE("mixture: sources are drawn from by weight, and each in its own order", "[data]") {
  const Mixture mixture(two_sources(), info, Order::kShuffled);
  std::vector<int64_t> drawn{0, 0};
  (void)mixture.read(0, 3000, {1, 3}, drawn);
  CHECK(drawn[0] + drawn[1] == 3000);
  CHECK(std::abs(drawn[0] - 750) < 90);  // four standard deviations
  (void)mixture.read(3000, 500, {0, 2}, drawn);
  CHECK(drawn[1] == 3500 - drawn[0]);

  // In the first pass over a source no window occurs twice.
  std::vector<int64_t> none{0, 0};
  const Batch all = mixture.read(0, 700, {1, 0}, none);
  std::set<std::vector<int64_t>> windows;
  for (int64_t i = 0; i < 700; ++i) {
    const int64_t* row = all.inputs[i].const_data_ptr<int64_t>();
    windows.emplace(row, row + 20);
  }
  CHECK(windows.size() == 700);
}

TEST_CASE("mixture: a source that breaks its promises is told by name", "[data]") {
  const auto read = [](const std::string& fault) {
    Diagnostics out;
    Choice<token_sources> source;
    source.read(parse_config("{type: faulty_of_a_test, fault: " + fault + "}", "test", out), out);
    out.throw_if_any();
    const Mixture mixture({{.name = "mine", .source = source}}, info, Order::kSequential);
    std::vector<int64_t> drawn{0};
    return mixture.read(0, 2, {1}, drawn);
  };
  CHECK(read("none").inputs.size(0) == 2);
  CHECK_THROWS_WITH(read("token"), Catch::Contains("source 'mine', window 0: token 50 is not in the vocabulary, 0 to 49"));
  CHECK_THROWS_WITH(read("targets"), Catch::Contains("window 0: 20 targets are not padding, but num_targets returns 19"));
  CHECK_THROWS_WITH(read("throws"), Catch::Contains("source 'mine', window 0: over the edge"));
  CHECK_THROWS_WITH(read("empty"), Catch::Contains("source 'mine' (faulty_of_a_test) has 0 train windows"));
}

TEST_CASE("mixture: portions of a step are the step", "[data]") {
  const Mixture mixture(two_sources(), info, Order::kShuffled);
  std::vector<int64_t> whole{3, 4};
  std::vector<int64_t> parts{3, 4};
  const Batch all = mixture.read(7, 12, {1, 1}, whole);
  const Batch first = mixture.read(7, 5, {1, 1}, parts);
  const Batch rest = mixture.read(12, 7, {1, 1}, parts);
  CHECK(at::equal(all.inputs, at::cat({first.inputs, rest.inputs})));
  CHECK(whole == parts);
}

TEST_CASE("mixture: a run with changing weights goes on from any step", "[data][resume]") {
  const std::vector<std::string> sources{
      "data.source=~", "data.sources=[{name: plain, weight: 3, source: synthetic}, {name: short, source: {type: synthetic, windows: 40}}]",
      "timeline=[{do: {type: set_mixture, weights: [0, 1]}, when: at 3}]"};
  const auto events = testing::check_resumes_from_every_step(sources);
  CHECK(events == std::vector<std::string>{"3 set_mixture: sources are drawn from in the ratio 0 : 1"});

  const testing::TemporaryFolder folder;
  const RunConfig config = testing::tiny_config(folder.path(), sources);
  REQUIRE(testing::train(config) == kExitDone);
  const auto steps = testing::records(config.folder(), "step");
  CHECK(steps.at(3)["data/windows/plain"] == steps.at(6)["data/windows/plain"]);
  CHECK(steps.at(6)["data/windows/short"] == 24 + steps.at(3)["data/windows/short"].get<int64_t>());
  const Json eval = testing::records(config.folder(), "eval").at(6);
  const double mean = 0.75 * eval["val/loss/plain"].get<double>() + 0.25 * eval["val/loss/short"].get<double>();
  CHECK(eval["val/loss"].get<double>() == Approx(mean));

  // Weights set by an action hold until the configuration gives others, even if other options of the sources change.
  const auto plain_windows = [&](const std::string& steps_in_all, const std::string& given) {
    std::vector<std::string> again = sources;
    again.insert(again.end(), {"train.steps=" + steps_in_all, "run.resume=auto", given});
    REQUIRE(testing::train(testing::tiny_config(folder.path(), again)) == kExitDone);
    return testing::records(config.folder(), "step").rbegin()->second["data/windows/plain"].get<int64_t>();
  };
  const auto before = steps.at(6)["data/windows/plain"].get<int64_t>();
  CHECK(plain_windows("8", "data.sources.1.source.windows=50") == before);
  CHECK(plain_windows("10", "data.sources.0.weight=4") > before);
}

TEST_CASE("mixture: wrong sources are refused", "[data]") {
  const testing::TemporaryFolder folder;
  const auto refused = [&](std::vector<std::string> overrides, const std::string& why) {
    CHECK_THROWS_WITH(Trainer(testing::tiny_config(folder.path(), std::move(overrides))), Catch::Contains(why));
  };
  refused({"data.source=~"}, "needs `source`, or `sources`");
  refused({"data.sources=[{name: a, source: synthetic}]"}, "but not both");
  refused({"data.source=~", "data.sources=[{name: a, source: synthetic}, {name: a, source: synthetic}]"}, "names must differ");
  refused({"timeline=[{do: {type: set_mixture, weights: [1, 1]}, when: at 3}]"}, "has 2 weights, but data has 1 sources");
}

}  // namespace
}  // namespace tersor
