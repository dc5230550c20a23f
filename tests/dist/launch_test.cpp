// Which process this is, from the variables that launchers set.
#include "core/dist/launch.h"

#include <map>

#include "core/base/error.h"
#include "tests/support/catch.h"

namespace tersor {
namespace {

Place place(const std::map<std::string, std::string>& variables) {
  return find_place([&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

std::string refusal(const std::map<std::string, std::string>& variables) {
  try {
    (void)place(variables);
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

TEST_CASE("launch: one process where nothing is set", "[dist]") {
  CHECK(place({}).size == 1);
  CHECK(place({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}).size == 1);  // in a batch script, outside of srun
}

TEST_CASE("launch: torchrun", "[dist]") {
  const Place p = place({{"RANK", "5"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "4"}, {"MASTER_ADDR", "node0"}, {"MASTER_PORT", "1234"}});
  CHECK(p.rank == 5);
  CHECK(p.size == 8);
  CHECK(p.local_rank == 1);
  CHECK(p.local_size == 4);
  CHECK(p.address == "node0");
  CHECK(p.port == 1234);
  CHECK(place({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).size == 1);
}

TEST_CASE("launch: Open MPI and srun", "[dist]") {
  const std::map<std::string, std::string> mpi{{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                               {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  CHECK(place(mpi).address == "127.0.0.1");
  CHECK(place(mpi).rank == 1);
  std::map<std::string, std::string> apart = mpi;
  apart["OMPI_COMM_WORLD_LOCAL_SIZE"] = "1";
  apart["OMPI_COMM_WORLD_LOCAL_RANK"] = "0";
  CHECK(refusal(apart).find("-x MASTER_ADDR") != std::string::npos);

  std::map<std::string, std::string> slurm{{"SLURM_PROCID", "3"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_LOCALID", "1"}, {"SLURM_STEP_NUM_NODES", "2"},
                                           {"SLURM_STEP_NODELIST", "gpu[07-08,12]"}, {"SLURM_JOB_ID", "70042"}};
  CHECK(place(slurm).rank == 3);
  CHECK(place(slurm).local_size == 2);
  CHECK(place(slurm).address == "gpu07");
  CHECK(place(slurm).port == 29542);
  slurm["SLURM_STEP_NODELIST"] = "alpha,beta[1-2]";
  CHECK(place(slurm).address == "alpha");
  slurm["SLURM_STEP_NODELIST"] = "solo";
  CHECK(place(slurm).address == "solo");
}

TEST_CASE("launch: what is half set or contradicts itself is refused by name", "[dist]") {
  CHECK(refusal({{"RANK", "0"}}).find("has not set WORLD_SIZE") != std::string::npos);
  CHECK(refusal({{"WORLD_SIZE", "2"}}).find("has not set RANK") != std::string::npos);
  CHECK(refusal({{"RANK", "0"}, {"WORLD_SIZE", "2"}}).find("has not set MASTER_ADDR") != std::string::npos);
  CHECK(refusal({{"RANK", "2"}, {"WORLD_SIZE", "2"}}).find("RANK=2; expected a whole number between 0 and 1") != std::string::npos);
  CHECK(refusal({{"RANK", "0"}, {"WORLD_SIZE", "two"}}).find("WORLD_SIZE=two") != std::string::npos);
  CHECK(refusal({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "99999"}}).find("MASTER_PORT=99999") != std::string::npos);
}

}  // namespace
}  // namespace tersor
