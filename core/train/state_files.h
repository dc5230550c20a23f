// The optimizer's state in the files of a checkpoint, optim-00000.safetensors and on. Each process writes what it owns, and reads what it
// owns from whichever files hold it. Tensors are called "parameter/slot". If a process owns only some rows of a matrix, its file's
// metadata says which: rows = {"model.embed_tokens.weight": [0, 4096], …}.
#pragma once

#include <filesystem>

#include "core/interop/safetensors.h"
#include "optim/optimizer.h"

namespace tersor {

[[nodiscard]] std::string state_file(int rank);
[[nodiscard]] bool is_state_file(std::string_view name);
[[nodiscard]] NamedTensors own_state(const Optimizer& optimizer);
[[nodiscard]] std::map<std::string, std::string> metadata_of_state(const Optimizer& optimizer);
// Fills the optimizer's state. Throws UserError naming what is missing, left over or of another shape.
void load_optimizer(const std::filesystem::path& checkpoint, Optimizer& optimizer);

}  // namespace tersor
