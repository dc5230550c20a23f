// How processes find each other, and what they notice of each other.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/train/together.h"
#include "tests/support/catch.h"
#include "tests/support/warnings.h"
#include "tests/support/world.h"

namespace tersor {
namespace {

TEST_CASE("communicator: what listens on the port and never answers is not waited for without end", "[dist]") {
  const int listening = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in place{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(place);
  REQUIRE(::bind(listening, reinterpret_cast<sockaddr*>(&place), size) == 0);
  REQUIRE(::listen(listening, 8) == 0);
  REQUIRE(::getsockname(listening, reinterpret_cast<sockaddr*>(&place), &size) == 0);
  const Place second{.rank = 1, .size = 2, .local_rank = 1, .local_size = 2, .address = "127.0.0.1", .port = ntohs(place.sin_port)};
  CHECK_THROWS_WITH(connect(second, std::chrono::milliseconds(500)), Catch::Contains("could not reach the others"));
  ::close(listening);
}

TEST_CASE("laggard: a slow process is named, and a slow step is not", "[dist]") {
  testing::Warnings warnings;
  const auto comm = on_paper(0, 4);
  Laggard laggard(*comm);
  const auto step = [&](double third) { laggard.note(at::tensor({100.0, 101.0, third, 99.0}, at::kDouble)); };
  for (int i = 0; i < 4; ++i) step(300);
  step(100);
  for (int i = 0; i < 4; ++i) step(300);
  CHECK(warnings.take().empty());
  step(300);
  CHECK_THAT(warnings.take(), Catch::Contains("process 2 of 4 has taken 3.0 times as long as the others for 5 steps"));
}

}  // namespace
}  // namespace tersor
