#include "core/dist/launch.h"

#include <charconv>
#include <cstdlib>
#include <limits>

#include "core/base/error.h"

namespace tersor {
namespace {

constexpr int kPort = 29500;  // torchrun's default
constexpr int kMany = 1 << 20;

class Reader {
 public:
  Reader(const Environment& environment, std::string launcher) : environment_(environment), launcher_(std::move(launcher)) {}

  [[nodiscard]] bool has(const std::string& variable) const { return environment_(variable).has_value(); }
  [[nodiscard]] std::string text(const std::string& variable) const {
    const auto found = environment_(variable);
    if (!found || found->empty())
      throw user_error("{} has not set {}: start all processes the same way, with torchrun, srun, mpirun or scripts/launch, or unset its "
                       "variables to train in one process", launcher_, variable);
    return *found;
  }
  [[nodiscard]] int number(const std::string& variable, int low, int high) const {
    const std::string word = text(variable);
    int value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size() || value < low || value > high)
      throw user_error("{} has set {}={}; expected a whole number between {} and {}", launcher_, variable, word, low, high);
    return value;
  }
  [[nodiscard]] int number_or(const std::string& variable, int low, int high, int otherwise) const {
    return has(variable) ? number(variable, low, high) : otherwise;
  }

 private:
  const Environment& environment_;
  std::string launcher_;
};

Place from_torchrun(const Environment& environment) {
  const Reader read(environment, "the launcher");
  Place place{.size = read.number("WORLD_SIZE", 1, kMany)};
  place.rank = read.number("RANK", 0, place.size - 1);
  place.local_size = read.number_or("LOCAL_WORLD_SIZE", 1, place.size, 1);
  place.local_rank = read.number_or("LOCAL_RANK", 0, place.size - 1, 0);
  if (place.size == 1) return place;
  place.address = read.text("MASTER_ADDR");
  place.port = read.number("MASTER_PORT", 1, 65535);
  return place;
}

Place from_open_mpi(const Environment& environment) {
  const Reader read(environment, "Open MPI");
  Place place{.size = read.number("OMPI_COMM_WORLD_SIZE", 1, kMany)};
  place.rank = read.number("OMPI_COMM_WORLD_RANK", 0, place.size - 1);
  place.local_size = read.number("OMPI_COMM_WORLD_LOCAL_SIZE", 1, place.size);
  place.local_rank = read.number("OMPI_COMM_WORLD_LOCAL_RANK", 0, place.local_size - 1);
  if (place.local_size < place.size && !read.has("MASTER_ADDR"))
    throw user_error("mpirun has started processes on several machines: say where they meet with mpirun -x MASTER_ADDR=<rank 0's machine>");
  place.address = read.has("MASTER_ADDR") ? read.text("MASTER_ADDR") : "127.0.0.1";
  place.port = read.number_or("MASTER_PORT", 1, 65535, kPort);
  return place;
}

// "gpu07" of "gpu[07-12,20],other" or "gpu07,gpu08".
std::string first_host(const std::string& nodes) {
  const size_t open = nodes.find('[');
  const size_t comma = nodes.find(',');
  if (open == std::string::npos || comma < open) return nodes.substr(0, comma);
  const size_t end = nodes.find_first_of(",-]", open);
  return nodes.substr(0, open) + nodes.substr(open + 1, end - open - 1);
}

Place from_slurm(const Environment& environment) {
  const Reader read(environment, "srun");
  Place place{.size = read.number("SLURM_STEP_NUM_TASKS", 1, kMany)};
  place.rank = read.number("SLURM_PROCID", 0, place.size - 1);
  place.local_rank = read.number_or("SLURM_LOCALID", 0, place.size - 1, 0);
  const int nodes = read.number_or("SLURM_STEP_NUM_NODES", 1, place.size, 1);
  place.local_size = (place.size + nodes - 1) / nodes;
  if (place.size == 1) return place;
  place.address = read.has("MASTER_ADDR") ? read.text("MASTER_ADDR") : first_host(read.text("SLURM_STEP_NODELIST"));
  const int job = read.number_or("SLURM_JOB_ID", 0, std::numeric_limits<int>::max(), 0);
  place.port = read.number_or("MASTER_PORT", 1, 65535, kPort + job % 1000);
  return place;
}

}  // namespace

std::optional<std::string> process_environment(const std::string& variable) {
  const char* value = std::getenv(variable.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

Place find_place(const Environment& environment) {
  const auto set = [&](const char* variable) { return environment(variable).has_value(); };
  if (set("RANK") || set("WORLD_SIZE")) return from_torchrun(environment);
  if (set("OMPI_COMM_WORLD_RANK") || set("OMPI_COMM_WORLD_SIZE")) return from_open_mpi(environment);
  if (set("SLURM_PROCID") && set("SLURM_STEP_NUM_TASKS")) return from_slurm(environment);
  return {};
}

}  // namespace tersor
