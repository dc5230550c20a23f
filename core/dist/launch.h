// Which process of how many this is, and where they meet: as the launcher says in its environment variables.
//
//   torchrun          RANK WORLD_SIZE MASTER_ADDR MASTER_PORT, and LOCAL_RANK LOCAL_WORLD_SIZE where there are; so do
//                     scripts/launch and whoever sets them by hand
//   Open MPI          OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_LOCAL_RANK OMPI_COMM_WORLD_LOCAL_SIZE
//   Slurm, in srun    SLURM_PROCID SLURM_STEP_NUM_TASKS SLURM_LOCALID SLURM_STEP_NODELIST SLURM_JOB_ID
//
// Under the last two MASTER_ADDR and MASTER_PORT may say where to meet; otherwise it is this machine (Open MPI) or the first
// node (Slurm), and a port that follows from the job. With none of them there is one process.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace tersor {

struct Place {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  // among those on this machine
  int local_size = 1;
  std::string address;  // of rank 0's machine
  int port = 0;
};

using Environment = std::function<std::optional<std::string>(const std::string& variable)>;
[[nodiscard]] std::optional<std::string> process_environment(const std::string& variable);

// UserError, naming the variable, where what is set is not whole or contradicts itself.
[[nodiscard]] Place find_place(const Environment& environment = process_environment);

}  // namespace tersor
