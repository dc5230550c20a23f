// Memory as the system counts it, beside what the ledger counts.
#pragma once

#include <cstdint>

namespace tersor {

// What can be had without swapping, by the machine and by the control group of this process. 0 where the system does not say.
[[nodiscard]] int64_t available_memory();
// Largest resident size of this process so far; 0 where the system does not say.
[[nodiscard]] int64_t peak_resident_memory();

}  // namespace tersor
