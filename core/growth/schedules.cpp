// The maps of depth growth, for a model of depth l = 3 with blocks 0 1 2:
//
//   stack         0 1 2 0 1 2 …     the whole model g times over: G_stack of Du et al. 2024, arXiv:2405.15319
//   interpolate   0 0 … 1 1 … 2 2 … each block g times in place; with the copies' outputs zeroed, their G_zero
//   middle        0 1 1 2           the middle one of l/b groups of b blocks repeated (here b = 1), the lower one if their number
//                                   is even: MIDAS of Saunshi et al. 2024, arXiv:2409.19044
//   append_last   0 1 2 2           the last k blocks repeated at the end (here k = 1): gradual stacking, Gong et al. 2019
#include "core/growth/growth.h"

namespace tersor {
namespace {

struct Factor {
  int64_t factor = 4;
  void fields(FieldVisitor& v) { v("factor", factor, between(2, 64), "g, by which the depth is multiplied"); }
};

class Stack final : public GrowthSchedule {
 public:
  using Config = Factor;
  explicit Stack(const Config& config) : g_(config.factor) {}
  std::vector<int64_t> sources(int64_t depth) const override {
    std::vector<int64_t> all;
    for (int64_t i = 0; i < g_ * depth; ++i) all.push_back(i % depth);
    return all;
  }

 private:
  int64_t g_;
};

class Interpolate final : public GrowthSchedule {
 public:
  using Config = Factor;
  explicit Interpolate(const Config& config) : g_(config.factor) {}
  std::vector<int64_t> sources(int64_t depth) const override {
    std::vector<int64_t> all;
    for (int64_t i = 0; i < g_ * depth; ++i) all.push_back(i / g_);
    return all;
  }

 private:
  int64_t g_;
};

// 0 … end − 1, then `begin` … depth − 1: blocks from `begin` to end − 1 occur twice.
std::vector<int64_t> repeat_range(int64_t depth, int64_t begin, int64_t end) {
  std::vector<int64_t> all;
  for (int64_t i = 0; i < end; ++i) all.push_back(i);
  for (int64_t i = begin; i < depth; ++i) all.push_back(i);
  return all;
}

class Middle final : public GrowthSchedule {
 public:
  struct Config {
    int64_t blocks = 1;
    void fields(FieldVisitor& v) { v("blocks", blocks, at_least(1), "b, blocks per group; must divide the depth"); }
  };
  explicit Middle(const Config& config) : b_(config.blocks) {}
  std::vector<int64_t> sources(int64_t depth) const override {
    if (depth % b_ != 0)
      throw user_error("growth: middle cannot cut {} blocks into groups of {}; choose a divisor for 'blocks'", depth, b_);
    const int64_t begin = (depth / b_ - 1) / 2 * b_;
    return repeat_range(depth, begin, begin + b_);
  }

 private:
  int64_t b_;
};

class AppendLast final : public GrowthSchedule {
 public:
  struct Config {
    int64_t blocks = 1;
    void fields(FieldVisitor& v) { v("blocks", blocks, at_least(1), "k, blocks to append; at most the depth"); }
  };
  explicit AppendLast(const Config& config) : k_(config.blocks) {}
  std::vector<int64_t> sources(int64_t depth) const override {
    if (k_ > depth) throw user_error("growth: append_last cannot copy the last {} of {} blocks; lower 'blocks'", k_, depth);
    return repeat_range(depth, depth - k_, depth);
  }

 private:
  int64_t k_;
};

const bool registered = growths().add<Stack>("stack", "G_stack, Du et al. 2024, arXiv:2405.15319") &&
                        growths().add<Interpolate>("interpolate", "each block repeated in place, Du et al. 2024, arXiv:2405.15319") &&
                        growths().add<Middle>("middle", "MIDAS, Saunshi et al. 2024, arXiv:2409.19044") &&
                        growths().add<AppendLast>("append_last", "gradual stacking, Gong et al. 2019");

}  // namespace
}  // namespace tersor
