// This process's rank, the number of processes, and where they meet, from the launcher's environment variables.
//
//   torchrun          RANK WORLD_SIZE MASTER_ADDR MASTER_PORT, and LOCAL_RANK LOCAL_WORLD_SIZE if set; also with
//                     scripts/launch, or set by hand
//   Open MPI          OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_LOCAL_RANK OMPI_COMM_WORLD_LOCAL_SIZE
//   Slurm, in srun    SLURM_PROCID SLURM_STEP_NUM_TASKS SLURM_STEP_NUM_NODES SLURM_LOCALID SLURM_STEP_NODELIST SLURM_JOB_ID
//
// Under the last two, MASTER_ADDR and MASTER_PORT may say where to meet. The defaults are this machine and port 29500 (Open MPI),
// or the first node and a port that follows from the job id (Slurm). With no launcher there is one process.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace tersor {

struct Place {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  // among the processes on this machine
  int local_size = 1;
  std::string address;  // of rank 0's machine
  int port = 0;
};

using Environment = std::function<std::optional<std::string>(const std::string& variable)>;
[[nodiscard]] std::optional<std::string> process_environment(const std::string& variable);

// Throws UserError, naming the variable, if the settings are incomplete or contradict each other.
[[nodiscard]] Place find_place(const Environment& environment = process_environment);

}  // namespace tersor
