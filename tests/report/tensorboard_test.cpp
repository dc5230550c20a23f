// Event files as TensorBoard reads them: records of a length, its checksum, data, and the data's checksum.
#include "core/report/tensorboard.h"

#include <sys/resource.h>

#include <csignal>
#include <cstring>

#include "core/base/files.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

uint32_t masked(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <class T>
T number_at(std::string_view bytes, size_t place) {
  T value{};
  std::memcpy(&value, bytes.substr(place, sizeof(T)).data(), sizeof(T));
  return value;
}

// All records of the only file in the folder.
std::vector<std::string> records_of(const fs::path& folder) {
  const std::string bytes = read_text(fs::directory_iterator(folder)->path());
  std::vector<std::string> all;
  for (size_t place = 0; place < bytes.size();) {
    REQUIRE(bytes.size() - place >= 16);
    const auto length = number_at<uint64_t>(bytes, place);
    REQUIRE(bytes.size() - place - 16 >= length);
    CHECK(number_at<uint32_t>(bytes, place + 8) == masked(std::string_view(bytes).substr(place, 8)));
    all.push_back(bytes.substr(place + 12, length));
    CHECK(number_at<uint32_t>(bytes, place + 12 + length) == masked(all.back()));
    place += 16 + length;
  }
  return all;
}

TEST_CASE("tensorboard: checksums are those of the standard's example", "[report]") { CHECK(crc32c("123456789") == 0xe3069283u); }

TEST_CASE("tensorboard: a record a value, and a mark where a run goes on", "[report]") {
  const testing::TemporaryFolder folder;
  {
    TensorboardWriter events(folder / "tb");
    events.scalar("train/loss", 10, 3.25, 1.7e9);
    events.text("event/merge", 11, "merged", 1.7e9);
  }
  const std::vector<std::string> all = records_of(folder / "tb");
  REQUIRE(all.size() == 3);
  CHECK_THAT(all[0], Catch::Contains("brain.Event:2"));
  CHECK_THAT(all[1], Catch::Contains("train/loss"));
  CHECK_THAT(all[2], Catch::Contains("merged"));
  { const TensorboardWriter resumed(folder / "again", 12); }
  CHECK(records_of(folder / "again").size() == 2);
}

TEST_CASE("tensorboard: a full disk costs what came meanwhile, and no more", "[report]") {
  const testing::TemporaryFolder folder;
  TensorboardWriter events(folder / "tb");
  events.scalar("before", 1, 1, 1.7e9);
  events.flush();
  rlimit whole{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &whole) == 0);
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit full{.rlim_cur = fs::file_size(fs::directory_iterator(folder / "tb")->path()) + 7, .rlim_max = whole.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &full) == 0);
  for (int64_t step = 2; step < 5; ++step) {
    events.scalar("meanwhile", step, 1, 1.7e9);
    events.flush();
  }
  REQUIRE(setrlimit(RLIMIT_FSIZE, &whole) == 0);
  std::signal(SIGXFSZ, before);
  events.scalar("after", 5, 1, 1.7e9);
  events.flush();
  const std::vector<std::string> all = records_of(folder / "tb");
  REQUIRE(all.size() == 3);
  CHECK_THAT(all[1], Catch::Contains("before"));
  CHECK_THAT(all[2], Catch::Contains("after"));
}

}  // namespace
}  // namespace tersor
