// Memory as the system counts it, beside what the ledger counts.
#pragma once

#include <cstdint>

namespace tersor {

// What can be had without swapping, by the machine and by the control group of this process. 0 where the system does not say.
[[nodiscard]] int64_t available_memory();
// Largest resident size of this process so far; 0 where the system does not say.
[[nodiscard]] int64_t peak_resident_memory();

// Memory that is freed stays with the process. Otherwise the C library gives every large tensor back to the system when it
// goes, and the system fills its pages with zeros when the next one comes, a tenth of a small model's step. At program start.
void keep_freed_memory();

}  // namespace tersor
