// Stochastic rounding for loops on the CPU that do more than round: see stochastic_round.h.
#pragma once

#include <array>
#include <cstdint>

#include "core/base/rng.h"

namespace tersor::kernels {

// 16-bit draws for stretches of up to kMost numbers, as stochastic_round has them for a tensor that begins at number 0.
class RoundingDraws {
 public:
  static constexpr int64_t kMost = 1024;

  explicit RoundingDraws(const RandomStream& random) : key_(random.key()) {}
  // Those of the numbers from `first` on.
  const uint16_t* from(int64_t first);

 private:
  static constexpr int64_t kDraws = 4;  // that one 64-bit number gives

  uint64_t key_;
  std::array<uint16_t, kMost + kDraws> draws_;
};

// out[i]: x[i] rounded up or down.
void round_by(const float* x, const uint16_t* draws, int64_t size, uint16_t* out);

}  // namespace tersor::kernels
