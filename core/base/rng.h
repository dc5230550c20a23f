// Counter-based randomness. Every random number of a run is a pure function of (seed, purpose, name, step) and
// of its index in that stream, so there is no generator state to save, and neither the number of processes nor
// the order of calls changes a draw.
//
//   const RandomStream init = random_stream(seed, "init", "model.layers.0.mlp.up_proj.weight");
//   double u = init.uniform(7);           // the stream's draw number 7, always the same
//
// Bits come from splitmix64's finalizer (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
// generators") over key + index · golden gamma.
#pragma once

#include <cstdint>
#include <string_view>

namespace tersor {

class RandomStream {
 public:
  explicit constexpr RandomStream(uint64_t key) : key_(key) {}

  // 64 independent bits: draw number `index`.
  [[nodiscard]] constexpr uint64_t bits(uint64_t index) const {
    return mix(key_ + (index + 1) * kGoldenGamma);
  }
  // In [0, 1), 53 bits.
  [[nodiscard]] constexpr double uniform(uint64_t index) const {
    return static_cast<double>(bits(index) >> 11) * 0x1.0p-53;
  }
  // In [0, bound); the bias is below bound / 2^64.
  [[nodiscard]] constexpr uint64_t below(uint64_t index, uint64_t bound) const {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(bits(index)) * bound) >> 64);
  }
  // An independent stream for part `index` of this one.
  [[nodiscard]] constexpr RandomStream child(uint64_t index) const {
    return RandomStream(mix(bits(index) ^ kChildSalt));
  }
  [[nodiscard]] constexpr uint64_t key() const { return key_; }

  static constexpr uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }

 private:
  static constexpr uint64_t kGoldenGamma = 0x9e3779b97f4a7c15ULL;
  static constexpr uint64_t kChildSalt = 0xd1b54a32d192ed03ULL;
  uint64_t key_;
};

[[nodiscard]] RandomStream random_stream(uint64_t seed, std::string_view purpose,
                                         std::string_view name = {}, uint64_t step = 0);

}  // namespace tersor
