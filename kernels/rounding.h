// The parts of stochastic rounding, the same on the CPU and on a GPU, for loops that do more than round: see stochastic_round.h.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "core/base/rng.h"

namespace tersor::kernels {

inline constexpr int64_t kRoundingDraws = 4;  // of 16 bits per 64-bit number, the lowest first

constexpr uint16_t rounded_up_or_down(float x, uint32_t draw) {
  constexpr uint32_t kInfinity = 0x7f800000;
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t rounded = bits + (magnitude < kInfinity ? draw : 0U);
  // A NaN whose payload sits in the low half must not become infinity.
  return static_cast<uint16_t>((rounded | (magnitude > kInfinity ? 0x00400000U : 0U)) >> 16);
}

// The 16-bit draws that stochastic_round uses for a tensor with `first` = 0, in stretches of up to kMost numbers.
class RoundingDraws {
 public:
  static constexpr int64_t kMost = 1024;

  explicit RoundingDraws(const RandomStream& random) : key_(random.key()) {}
  // The draws for `size` numbers from number `first` on.
  const uint16_t* from(int64_t first, int64_t size);

 private:
  uint64_t key_;
  std::array<uint16_t, kMost + kRoundingDraws> draws_;
};

// out[i]: x[i] rounded up or down, in host memory.
void round_by(const float* x, const uint16_t* draws, int64_t size, uint16_t* out);

}  // namespace tersor::kernels
