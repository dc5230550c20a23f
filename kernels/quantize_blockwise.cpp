#include "kernels/quantize_blockwise.h"

#include <ATen/Parallel.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/base/error.h"

namespace tersor::kernels {
namespace {

constexpr int kDecades = 7;
constexpr int64_t kGrainBlocks = 64;

// Middles of `count` equal parts of [0.1, 1], times 10^(decade − 6).
void add_decade(std::vector<double>& values, int decade, int count) {
  for (int i = 0; i < count; ++i) {
    const double fraction = 0.1 + 0.9 * (i + 0.5) / count;
    values.push_back(fraction * std::pow(10.0, decade - (kDecades - 1)));
  }
}

struct Rows {
  int64_t columns;
  int64_t blocks;  // in a row
  int64_t rows;
};

Rows rows_of(at::IntArrayRef shape) {
  const int64_t columns = shape.empty() ? 1 : shape.back();
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return {columns, (columns + kQuantizationBlock - 1) / kQuantizationBlock, rows};
}

}  // namespace

DynamicMap::DynamicMap(bool with_sign) {
  std::vector<double> values{0.0, 1.0};
  for (int decade = 0; decade < kDecades; ++decade) {
    const int count = 1 << (with_sign ? decade : decade + 1);
    const size_t before = values.size();
    add_decade(values, decade, count);
    if (!with_sign) continue;
    const size_t end = values.size();
    for (size_t i = before; i < end; ++i) values.push_back(-values[i]);
  }
  TERSOR_CHECK(values.size() == values_.size(), "a map of {} numbers", values.size());
  std::sort(values.begin(), values.end());
  for (size_t i = 0; i < values.size(); ++i) values_[i] = static_cast<float>(values[i]);
  for (size_t i = 0; i + 1 < values_.size(); ++i) boundaries_[i] = (values_[i] + values_[i + 1]) / 2;
  boundaries_.back() = std::numeric_limits<float>::infinity();
  for (uint32_t upper = 0; upper < lowest_.size(); ++upper) {
    const bool negative = (upper & 0x8000u) != 0;
    // The smallest number of a negative pattern is the one with the largest magnitude.
    float smallest = std::bit_cast<float>((upper << 16) | (negative ? 0xffffu : 0u));
    if (std::isnan(smallest)) smallest = 0;
    const auto entry = std::lower_bound(boundaries_.begin(), boundaries_.end(), smallest);
    lowest_[upper] = static_cast<uint8_t>(entry - boundaries_.begin());
  }
}

uint8_t DynamicMap::encode(float x) const {
  uint32_t code = lowest_[std::bit_cast<uint32_t>(x) >> 16];
  while (x > boundaries_[code]) ++code;  // entries lie further apart than such patterns, so once at the most
  if (x < 0 && values_[code] >= 0 && code > 0 && values_[0] < 0) --code;
  return static_cast<uint8_t>(code);
}

const DynamicMap& dynamic_map(bool with_sign) {
  static const DynamicMap with(true);
  static const DynamicMap without(false);
  return with_sign ? with : without;
}

std::vector<int64_t> block_scales_shape(at::IntArrayRef shape) {
  const Rows r = rows_of(shape);
  return {r.rows, r.blocks};
}

void for_each_block(at::IntArrayRef shape, const std::function<void(int64_t, int64_t, int64_t)>& each) {
  const Rows r = rows_of(shape);
  at::parallel_for(0, r.rows * r.blocks, kGrainBlocks, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t inside = block % r.blocks * kQuantizationBlock;
      each(block, block / r.blocks * r.columns + inside, std::min(kQuantizationBlock, r.columns - inside));
    }
  });
}

void decode_block(const uint8_t* codes, float scale, const DynamicMap& map, int64_t size, float* out) {
  const float* values = map.values().data();
  for (int64_t i = 0; i < size; ++i) out[i] = values[codes[i]] * scale;
}

float encode_block(const float* x, const DynamicMap& map, int64_t size, uint8_t* codes) {
  float scale = 0;
  for (int64_t i = 0; i < size; ++i) scale = std::max(scale, std::abs(x[i]));
  if (!(scale > 0)) {
    std::fill_n(codes, size, map.encode(0));
    return 0;
  }
  for (int64_t i = 0; i < size; ++i) codes[i] = map.encode(x[i] / scale);
  return scale;
}

void quantize_blockwise(const at::Tensor& x, const DynamicMap& map, at::Tensor& codes, at::Tensor& scales) {
  TERSOR_CHECK(x.scalar_type() == at::kFloat && codes.scalar_type() == at::kByte && scales.scalar_type() == at::kFloat &&
                   x.is_contiguous() && codes.is_contiguous() && scales.is_contiguous() && x.sizes() == codes.sizes() &&
                   scales.sizes() == at::IntArrayRef(block_scales_shape(x.sizes())) && x.is_cpu(),
               "fp32 to uint8 codes of the same shape, on the CPU");
  const float* in = x.const_data_ptr<float>();
  auto* out = codes.data_ptr<uint8_t>();
  float* scale = scales.data_ptr<float>();
  for_each_block(x.sizes(), [=, &map](int64_t block, int64_t first, int64_t size) {
    scale[block] = encode_block(in + first, map, size, out + first);
  });
}

at::Tensor dequantize_blockwise(const at::Tensor& codes, const at::Tensor& scales, const DynamicMap& map) {
  TERSOR_CHECK(codes.is_cpu() && codes.is_contiguous() && scales.is_contiguous(), "contiguous codes on the CPU");
  at::Tensor x = at::empty(codes.sizes(), codes.options().dtype(at::kFloat));
  const auto* in = codes.const_data_ptr<uint8_t>();
  const float* scale = scales.const_data_ptr<float>();
  float* out = x.data_ptr<float>();
  for_each_block(codes.sizes(), [=, &map](int64_t block, int64_t first, int64_t size) {
    decode_block(in + first, scale[block], map, size, out + first);
  });
  return x;
}

}  // namespace tersor::kernels
