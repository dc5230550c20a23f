// Every shipped configuration works, and every option refuses nonsense.
#include <fstream>

#include "tests/support/catch.h"
#include "tests/support/methods.h"
#include "tests/support/source_dir.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

using testing::shipped;

TEST_CASE("configs: every run trains three steps of a tiny version of itself", "[conformance]") {
  for (const fs::path& file : shipped("run")) {
    INFO(file.string());
    const testing::TemporaryFolder folder;
    const RunConfig config = read_run_config(
        {file}, {"run.out_dir=" + folder.path().string(), "data.source={type: synthetic}", "data.validation=~",
                 "data.sequence_length=16", "model.vocab_size=64", "model.hidden_size=32", "model.intermediate_size=48",
                 "model.num_hidden_layers=2", "model.num_attention_heads=4", "train.steps=3", "train.global_batch_size=4",
                 "train.micro_batch_size=2", "evaluation.tokens=64"});
    CHECK(testing::train(config) == kExitDone);
  }
}

TEST_CASE("configs: every method trains a tiny model, and what it saves goes on bit for bit", "[conformance]") {
  for (const fs::path& file : shipped("method")) {
    INFO(file.string());
    const testing::TemporaryFolder folder;
    const auto config = [&](const std::string& run, const std::string& steps) {
      const RunConfig tiny = testing::tiny_config(folder.path(), {"run.name=" + run, "train.steps=" + steps, "run.resume=auto"});
      return testing::method_config(folder, tiny, file, {"optimizer.clip_norm=1"});
    };
    REQUIRE(testing::train(config("whole", "6")) == kExitDone);
    RunConfig again = config("resumed", "6");
    fs::create_directories(again.folder() / "checkpoints");
    fs::copy(folder / "whole" / "checkpoints" / "step-00000003", again.folder() / "checkpoints" / "step-00000003");
    REQUIRE(testing::train(again) == kExitDone);
    CHECK(testing::checkpoint_sums(folder / "whole" / "checkpoints" / "step-00000006") ==
          testing::checkpoint_sums(folder / "resumed" / "checkpoints" / "step-00000006"));
  }
}

TEST_CASE("configs: every model has the size in its name", "[conformance]") {
  for (const fs::path& file : shipped("model")) {
    const RunConfig config = read_run_config({file}, {"data.source=synthetic"});
    const ModelConfig& m = config.model;
    const double h = static_cast<double>(m.hidden_size);
    const double block = 4 * h * h + 3 * h * static_cast<double>(m.intermediate_size) + 2 * h;
    const double millions = (2 * h * static_cast<double>(m.vocab_size) + static_cast<double>(m.num_hidden_layers) * block + h) / 1e6;
    const std::string name = file.stem().string();
    const double said = std::stod(name.substr(name.find('_') + 1)) * (name.ends_with('b') ? 1000 : 1);
    INFO(name << " has " << millions << " M");
    CHECK(millions > 0.88 * said);
    CHECK(millions < 1.35 * said);
  }
}

// Collects the limits of all options, and all options that are not sections, by full name.
class Collector final : public FieldVisitor {
 public:
  Collector(std::string prefix, std::vector<std::pair<std::string, Constraint>>& limits, std::vector<std::string>& plain)
      : prefix_(std::move(prefix)), limits_(limits), plain_(plain) {}

 protected:
  void visit(const Option& option) override {
    const std::string path = prefix_ + option.name;
    for (const Constraint& c : option.constraints) limits_.emplace_back(path, c);
    if (option.type_name() == "section") {
      Collector inner(path + ".", limits_, plain_);
      option.children(inner);
    } else {
      plain_.push_back(path);
    }
  }

 private:
  std::string prefix_;
  std::vector<std::pair<std::string, Constraint>>& limits_;
  std::vector<std::string>& plain_;
};

std::string error_of(const std::string& override_text) {
  try {
    (void)read_run_config({}, {"data.source=synthetic", override_text});
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

TEST_CASE("options: every one refuses what it cannot be, by name", "[conformance]") {
  RunConfig config;
  std::vector<std::pair<std::string, Constraint>> limits;
  std::vector<std::string> plain;
  Collector collector("", limits, plain);
  config.fields(collector);
  CHECK(limits.size() > 20);
  for (const auto& [path, constraint] : limits) {
    INFO(path << "=" << constraint.outside);
    CHECK(error_of(fmt::format("{}={}", path, constraint.outside)).find(path + ": ") != std::string::npos);
  }
  for (const std::string& path : plain) {
    INFO(path);
    CHECK(error_of(path + "={no: {such: thing}}").find(path) != std::string::npos);
  }
}

TEST_CASE("options: those of every method refuse what they cannot be", "[conformance]") {
  const std::map<std::string, std::string> places{{"device", "run.device={}"},
                                                  {"update rule", "optimizer.groups=[{{match: any, rule: {}}}]"},
                                                  {"state format", "optimizer.groups=[{{match: any, state: {}}}]"},
                                                  {"token source", "data.source={}"},
                                                  {"parameterization", "parameterization.method={}"},
                                                  {"action", "timeline=[{{when: every 2, do: {}}}]"},
                                                  {"growth", "timeline=[{{when: every 2, do: {{type: grow, growth: {}}}}}]"}};
  for (const auto& [axis, registry] : all_registries()) {
    INFO(axis);
    REQUIRE(places.contains(axis));
    for (const MethodInfo& method : registry->methods()) {
      const auto message = [&](const std::string& option, const std::string& value) {
        const std::string map = fmt::format("{{type: {}, {}: {}}}", method.name, option, value);
        return error_of(fmt::format(fmt::runtime(places.at(axis)), map));
      };
      CHECK(message("no_such_option", "1").find("unknown option of '" + method.name + "'") != std::string::npos);
      method.for_each_option([&](const Option& option) {
        INFO(method.name << "." << option.name);
        CHECK(message(option.name, "{no: {such: thing}}").find(option.name) != std::string::npos);
        for (const Constraint& c : option.constraints)
          CHECK(message(option.name, fmt::format("{}", c.outside)).find(c.text) != std::string::npos);
      });
    }
  }
}

TEST_CASE("options: the resolved configuration is itself a configuration", "[conformance]") {
  RunConfig config = read_run_config({fs::path(testing::source_dir()) / "configs/run/quickstart.yaml"}, {});
  const testing::TemporaryFolder folder;
  const Json resolved = fields_to_json(config);
  write_whole(folder / "config.yaml", to_yaml(resolved));
  RunConfig again = read_run_config({folder / "config.yaml"}, {});
  CHECK(fields_to_json(again) == resolved);
}

TEST_CASE("options: mistakes across sections are found before anything is allocated", "[conformance]") {
  CHECK(error_of("train.micro_batch_size=5").find("train.micro_batch_size: must divide global_batch_size") != std::string::npos);
  CHECK(error_of("data.sequence_length=5000").find("max_position_embeddings") != std::string::npos);
  CHECK(error_of("model.num_attention_heads=7").find("not a multiple of 7 heads") != std::string::npos);
  CHECK(error_of("run.name=a/b").find("cannot be the name of a folder") != std::string::npos);
  CHECK(error_of("optimiser.lr=1").find("did you mean 'optimizer'?") != std::string::npos);
}

}  // namespace
}  // namespace tersor
