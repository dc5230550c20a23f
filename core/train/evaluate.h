// The validation loss over a fixed set of windows: the same ones each time, on any number of processes.
#pragma once

#include "core/train/observer.h"

namespace tersor {

// Windows spread evenly over `source`, enough for `tokens`, in batches of `rows`. The mean is over tokens, not over batches.
[[nodiscard]] EvalReport evaluate(Llama& model, const TokenSource& source, int64_t tokens, int64_t rows,
                                  int64_t sequence_length, int64_t loss_chunk);

}  // namespace tersor
