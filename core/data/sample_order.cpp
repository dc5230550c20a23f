#include "core/data/sample_order.h"

#include <bit>

#include "core/base/rng.h"

namespace tersor {

SampleOrder::SampleOrder(Order order, uint64_t seed, int64_t num_windows)
    : order_(order), seed_(seed), size_(static_cast<uint64_t>(num_windows)),
      half_bits_((std::bit_width(size_ - 1) + 1) / 2) {
  TERSOR_CHECK(num_windows > 0, "{} windows", num_windows);
}

int64_t SampleOrder::window(int64_t sample) const {
  const auto number = static_cast<uint64_t>(sample);
  const uint64_t index = number % size_;
  if (order_ == Order::kSequential || size_ < 2) return static_cast<int64_t>(index);
  uint64_t place = index;
  do place = permute(place, number / size_);
  while (place >= size_);  // cycle walking: the network permutes a domain at most four times as large
  return static_cast<int64_t>(place);
}

// A balanced Feistel network (Luby and Rackoff 1988): a permutation whatever the round function.
uint64_t SampleOrder::permute(uint64_t index, uint64_t epoch) const {
  constexpr uint64_t kRounds = 4;
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  const RandomStream random = random_stream(seed_, "order", {}, epoch);
  uint64_t left = index >> half_bits_;
  uint64_t right = index & mask;
  for (uint64_t round = 0; round < kRounds; ++round) {
    const uint64_t next = left ^ (random.child(round).bits(right) & mask);
    left = right;
    right = next;
  }
  return (left << half_bits_) | right;
}

}  // namespace tersor
