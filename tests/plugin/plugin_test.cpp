// A rule in a plugin, as a user would add it: installed headers, a library of its own, a line in YAML.
#include <cstdlib>

#include "tests/support/catch.h"
#include "tests/support/source_dir.h"
#include "tests/support/suites.h"
#include "tests/support/tiny_run.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

int shell(const std::string& command, const fs::path& log) {
  const int status = std::system(fmt::format("({}) >>'{}' 2>&1", command, log.string()).c_str());
  return WEXITSTATUS(status);
}

TEST_CASE("plugin: a rule from outside is built, described, trained with, and resumed", "[plugin][slow]") {
  const testing::TemporaryFolder folder;
  const fs::path log = folder / "log";
  const std::string build_folder = fs::path(TERSOR_PROGRAM).parent_path().string();
  const std::string prefix = (folder / "installed").string();
  const std::string plugin_folder = (folder / "plugin").string();
  INFO(log.string());
  REQUIRE(shell(fmt::format("cmake --install '{}' --prefix '{}'", build_folder, prefix), log) == 0);
  REQUIRE(shell(fmt::format("cmake -S '{}/tests/plugin' -B '{}' -DCMAKE_PREFIX_PATH='{}' && cmake --build '{}'", testing::source_dir(),
                            plugin_folder, prefix, plugin_folder), log) == 0);

  const RunConfig config = testing::tiny_config(folder / "out");
  RunConfig copy = config;
  Json json = fields_to_json(copy);
  json["plugins"] = Json::array({"plugin/libsignum.so"});  // relative to the YAML file
  json["optimizer"]["groups"] = Json::array({{{"match", "any"}, {"rule", {{"type", "signum"}, {"beta", 0.8}}}}});
  write_whole(folder / "mine.yaml", to_yaml(json));
  const std::string program = prefix + "/bin/tersor";
  CHECK(shell(fmt::format("'{}' describe signum --plugin '{}/libsignum.so'", program, plugin_folder), log) == kExitDone);
  CHECK(shell(fmt::format("'{}' train '{}'", program, (folder / "mine.yaml").string()), log) == kExitDone);
  CHECK(shell(fmt::format("'{}' train '{}' run.resume=auto train.steps=9", program, (folder / "mine.yaml").string()), log) == kExitDone);
  CHECK(shell(fmt::format("'{}' eval '{}'", program, config.folder().string()), log) == kExitDone);
  CHECK(testing::records(config.folder(), "step").size() == 9);
  CHECK_THAT(read_text(log), Catch::Contains("β, decay of the momentum") && !Catch::Contains("libsignum.so' itself"));

  const std::string suite = testing::write_suite(folder, "seeds: [1]\nmethods: [{name: a}]\n").string();
  const std::string bench = fmt::format("'{}' bench '{}' 'set.plugins=[{}/libsignum.so]'", program, suite, plugin_folder);
  CHECK(shell(bench, log) == kExitDone);
  CHECK(shell(fmt::format("printf x >> '{}/libsignum.so'", plugin_folder), log) == 0);  // as if rebuilt
  CHECK(shell(bench, log) == kExitRejected);
  CHECK_THAT(read_text(log), Catch::Contains("with another build of a plugin"));
  CHECK(shell(fmt::format("'{}' train '{}' run.resume=auto train.steps=10", program, (folder / "mine.yaml").string()), log) == kExitDone);
  CHECK_THAT(read_text(log), Catch::Contains("libsignum.so' itself"));
  CHECK(shell(fmt::format("cp '{}/libsignum.so' '{}/moved.so'", plugin_folder, plugin_folder), log) == 0);
  CHECK(shell(fmt::format("'{}' train '{}' run.resume=auto train.steps=11 'plugins=[{}/moved.so]'", program, (folder / "mine.yaml").string(), plugin_folder), log) == kExitDone);
  CHECK_THAT(read_text(log), !Catch::Contains("two methods"));
  CHECK(shell(fmt::format("mkdir '{}/away' && mv '{}/moved.so' '{}/away'", plugin_folder, plugin_folder, plugin_folder), log) == 0);
  const auto of_eval = [&](const std::string& words) {
    const auto output = folder / "eval.txt";
    fs::remove(output);
    CHECK(shell(fmt::format("'{}' eval '{}' {}", program, config.folder().string(), words), output) == kExitDone);
    return read_text(output);
  };
  CHECK_THAT(of_eval(""), Catch::Contains("moved.so' does not exist; continuing without it"));
  CHECK_THAT(of_eval(fmt::format("--plugin '{}/away/moved.so'", plugin_folder)), !Catch::Contains("continuing without it"));
  CHECK(shell(fmt::format("'{}' train '{}' 'plugins=[{}/nothing.so]'", program, (folder / "mine.yaml").string(), plugin_folder), log) ==
        kExitRejected);
  CHECK(shell(fmt::format("'{}' train '{}' 'plugins=[{}]'", program, (folder / "mine.yaml").string(), log.string()), log) == kExitRejected);
}

TEST_CASE("plugin: options whose config.yaml could not be read again are refused as it is loaded", "[plugin][slow]") {
  const testing::TemporaryFolder folder;
  const fs::path log = folder / "log";
  const std::string build_folder = fs::path(TERSOR_PROGRAM).parent_path().string();
  INFO(log.string());
  fs::create_directories(folder / "source");
  write_whole(folder / "source" / "CMakeLists.txt", "cmake_minimum_required(VERSION 3.24)\nproject(wrong LANGUAGES CXX)\nfind_package(tersor REQUIRED)\n"
                                                    "foreach(fault 1 2 3)\n  add_library(wrong${fault} MODULE wrong.cpp)\n"
                                                    "  target_compile_definitions(wrong${fault} PRIVATE FAULT=${fault})\n"
                                                    "  target_link_libraries(wrong${fault} PRIVATE tersor::plugin)\nendforeach()\n");
  write_whole(folder / "source" / "wrong.cpp", R"(
#include "core/config/plugin.h"
#include "core/growth/growth.h"
struct Mine final : tersor::GrowthSchedule {
  struct Config {
    tersor::Json::number_integer_t factor = FAULT == 1 ? -1 : 1;
    void fields(tersor::FieldVisitor& v) {
      v("factor", factor, tersor::at_least(0), "how often");
      if (FAULT == 2) v("factor", factor, "again");
      if (FAULT == 3) v("type", factor, "the name of the method has this place");
    }
  };
  explicit Mine(const Config&) {}
  std::vector<std::int64_t> sources(std::int64_t depth) const override { return std::vector<std::int64_t>(depth, 0); }
};
const bool registered = tersor::growths().add<Mine>("mine", "nobody");
TERSOR_PLUGIN
)");
  REQUIRE(shell(fmt::format("cmake --install '{}' --prefix '{}/installed' && cmake -S '{}/source' -B '{}/build' -DCMAKE_PREFIX_PATH='{}/installed' && cmake --build '{}/build'",
                            build_folder, folder.path().string(), folder.path().string(), folder.path().string(), folder.path().string(), folder.path().string()), log) == 0);
  for (const auto& [fault, told] : {std::pair{1, "growth 'mine': the default of option 'factor' cannot be read back"}, {2, "two options are called 'factor'"},
                                    {3, "an option cannot be called 'type'"}}) {
    write_whole(log, "");
    CHECK(shell(fmt::format("'{}' describe mine --plugin '{}/build/libwrong{}.so'", TERSOR_PROGRAM, folder.path().string(), fault), log) == kExitRejected);
    CHECK_THAT(read_text(log), Catch::Contains(told));
  }
}

}  // namespace
}  // namespace tersor
