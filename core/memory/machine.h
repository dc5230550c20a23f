// Memory as the system counts it, as opposed to the ledger.
#pragma once

#include <cstdint>

namespace tersor {

// Memory available without swapping, to the machine and to this process's control group; 0 if the system does not say.
[[nodiscard]] int64_t available_memory();
// Largest resident size of this process so far; 0 if the system does not say.
[[nodiscard]] int64_t peak_resident_memory();

// Keeps freed memory in the process. Otherwise the C library returns every large tensor to the system when it is freed, and the
// system zeroes the pages of the next one, which takes a tenth of a small model's step. Call at program start.
void keep_freed_memory();

}  // namespace tersor
