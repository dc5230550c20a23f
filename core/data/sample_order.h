// Maps sample n of a run to a window. A pure function, so that seeking costs nothing and the order depends neither on the number of
// processes nor on where a run was resumed.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "core/config/fields.h"

namespace tersor {

enum class Order { kShuffled, kSequential };
template <>
struct EnumNames<Order> {
  static constexpr std::array values{std::pair{Order::kShuffled, std::string_view("shuffled")},
                                     std::pair{Order::kSequential, std::string_view("sequential")}};
};

class SampleOrder {
 public:
  SampleOrder(Order order, uint64_t seed, int64_t num_windows);

  // Every window occurs once per epoch; shuffled epochs differ.
  [[nodiscard]] int64_t window(int64_t sample) const;

 private:
  [[nodiscard]] uint64_t permute(uint64_t index, uint64_t epoch) const;

  Order order_;
  uint64_t seed_;
  uint64_t size_;
  int half_bits_;  // of the Feistel network, whose domain is the next power of four
};

}  // namespace tersor
