#include <set>

#include "kernels/adamw.h"
#include "kernels/quantize_affine.h"
#include "kernels/quantize_blockwise.h"
#include "tests/support/catch.h"
#include "tests/support/single_param.h"

namespace tersor {
namespace {

using testing::normal;

TEST_CASE("dynamic map: 256 entries, with zero and one, as bitsandbytes lays them", "[kernels][golden]") {
  for (const bool with_sign : {true, false}) {
    const auto& values = kernels::dynamic_map(with_sign).values();
    CHECK(std::is_sorted(values.begin(), values.end()));
    CHECK(std::set<float>(values.begin(), values.end()).size() == 256);
    CHECK(std::count(values.begin(), values.end(), 0.0f) == 1);
    CHECK(values.back() == 1.0f);
    CHECK(values.front() == (with_sign ? Approx(-0.99297).epsilon(1e-4) : Approx(0)));
  }
  // The midpoints of parts of [0.1, 1], cut into 64 and into 128.
  CHECK(kernels::dynamic_map(true).values()[254] == Approx(1 - 0.9 / 128));
  CHECK(kernels::dynamic_map(false).values()[254] == Approx(1 - 0.9 / 256));
  CHECK(kernels::dynamic_map(true).values()[128] == Approx(0.55e-6));
}

TEST_CASE("dynamic map: the nearest entry is found for every number", "[kernels]") {
  for (const bool with_sign : {true, false}) {
    const kernels::DynamicMap& map = kernels::dynamic_map(with_sign);
    const RandomStream random = random_stream(3, "map");
    int wrong = 0;
    for (uint64_t i = 0; i < 50000; ++i) {
      const double magnitude = std::pow(10.0, -8 * random.uniform(2 * i));
      const auto x = static_cast<float>(with_sign && random.uniform(2 * i + 1) < 0.5 ? -magnitude : magnitude);
      const uint8_t code = map.encode(x);
      float nearest = 10;
      for (const float value : map.values()) nearest = std::min(nearest, std::abs(value - x));
      const bool kept_sign = x < 0 && std::abs(x) < 1e-6f;  // a negative number does not become zero
      if (std::abs(map.decode(code) - x) > nearest * 1.0001f && !kept_sign) ++wrong;
      if (x < 0 && map.decode(code) >= 0) ++wrong;
    }
    CHECK(wrong == 0);
  }
}

// The encoder's definition, by a search: the number of midpoints below x; never the code of zero for a negative x.
uint8_t searched(const std::vector<float>& midpoints, float x, bool with_sign) {
  const auto code = std::lower_bound(midpoints.begin(), midpoints.end(), x) - midpoints.begin();
  return static_cast<uint8_t>(with_sign && x < 0 ? std::min<std::ptrdiff_t>(code, 126) : code);
}

TEST_CASE("dynamic map: tables give the code that a search gives, bit for bit", "[kernels]") {
  for (const bool with_sign : {true, false}) {
    const kernels::DynamicMap& map = kernels::dynamic_map(with_sign);
    std::vector<float> midpoints;
    for (size_t i = 0; i + 1 < 256; ++i) midpoints.push_back((map.values()[i] + map.values()[i + 1]) / 2);
    int64_t wrong = 0;
    const auto compare = [&](float x) { wrong += map.encode(x) != searched(midpoints, x, with_sign) ? 1 : 0; };
    for (const std::vector<float>& points : {midpoints, std::vector<float>(map.values().begin(), map.values().end())})
      for (const float point : points)
        for (const float x : {std::nextafter(point, -1.0f), point, std::nextafter(point, 1.0f)}) compare(x);
    // Every 211th of all numbers from 0 to 1 (211 does not divide their range), and the numbers on both sides of each key's edge.
    constexpr uint32_t kOne = 0x3f800000;
    for (uint32_t bits = 0; bits <= kOne; bits += 211) compare(std::bit_cast<float>(bits)), compare(-std::bit_cast<float>(bits));
    for (uint32_t edge = 0x10000; edge <= kOne; edge += 0x10000)
      for (const uint32_t bits : {edge - 1, edge}) compare(std::bit_cast<float>(bits)), compare(-std::bit_cast<float>(bits));
    CHECK(wrong == 0);
  }
}

TEST_CASE("quantize_blockwise: blocks end with their row, whatever its length", "[kernels]") {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{1, 1}, {5, 160}, {3, 700}, {7}, {2, 256}, {}}) {
    const at::Tensor x = normal(shape, "x");
    at::Tensor codes = at::empty(shape, at::kByte);
    at::Tensor scales = at::empty(kernels::block_scales_shape(shape), at::kFloat);
    kernels::quantize_blockwise(x, kernels::dynamic_map(true), codes, scales);
    const at::Tensor back = kernels::dequantize_blockwise(codes, scales, kernels::dynamic_map(true));
    CHECK((back - x).abs().max().item<double>() < 0.008 * x.abs().max().item<double>());
    if (shape.size() != 2 || shape[0] < 2) continue;
    // A row on its own gets the same codes as among others: splitting rows over processes changes nothing.
    const at::Tensor row = x.slice(0, 1, 2).contiguous();
    at::Tensor row_codes = at::empty_like(row, at::kByte);
    at::Tensor row_scales = at::empty(kernels::block_scales_shape(row.sizes()), at::kFloat);
    kernels::quantize_blockwise(row, kernels::dynamic_map(true), row_codes, row_scales);
    CHECK(at::equal(row_codes, codes.slice(0, 1, 2)));
    CHECK(at::equal(row_scales, scales.slice(0, 1, 2)));
  }
  at::Tensor codes = at::empty({2, 3}, at::kByte);
  at::Tensor scales = at::empty({2, 1}, at::kFloat);
  kernels::quantize_blockwise(at::zeros({2, 3}), kernels::dynamic_map(true), codes, scales);
  CHECK(kernels::dequantize_blockwise(codes, scales, kernels::dynamic_map(true)).abs().max().item<float>() == 0);
}

TEST_CASE("quantize_affine: the error is at most half a step, and packing keeps odd lengths", "[kernels]") {
  for (const int bits : {4, 8}) {
    for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{1, 1}, {5, 161}, {3, 700}, {2, 256}}) {
      for (const double shift : {0.0, 5.0, -5.0}) {  // also blocks of one sign
        const at::Tensor x = normal(shape, "x") + shift;
        const auto q = kernels::AffineQuantized::zeros(shape, bits, at::TensorOptions());
        int64_t held = 0;
        for (const at::Tensor& part : q.parts()) held += static_cast<int64_t>(part.nbytes());
        CHECK(held == kernels::AffineQuantized::bytes(shape, bits));
        kernels::quantize_affine(x, q, std::nullopt);
        const double step = q.scales.max().item<double>();
        CHECK((kernels::dequantize_affine(q) - x).abs().max().item<double>() < 0.501 * step);
        CHECK(at::equal(kernels::dequantize_affine(q, at::kBFloat16), kernels::dequantize_affine(q).to(at::kBFloat16)));
      }
    }
  }
}

TEST_CASE("quantize_affine: stochastic rounding is right on average", "[kernels]") {
  const at::Tensor x = at::linspace(-1, 1, 301).view({1, 301}).contiguous();
  const auto q = kernels::AffineQuantized::zeros(x.sizes(), 4, at::TensorOptions());
  at::Tensor sum = at::zeros_like(x);
  constexpr int kDraws = 400;
  for (int i = 0; i < kDraws; ++i) {
    kernels::quantize_affine(x, q, random_stream(1, "round", {}, static_cast<uint64_t>(i)));
    sum += kernels::dequantize_affine(q);
  }
  // A step is 2/15; the error of a mean of 400 draws is at most a fortieth of it, and five of those are allowed.
  CHECK((sum / kDraws - x).abs().max().item<double>() < 5 * 2.0 / 15 / 40);
}

}  // namespace
}  // namespace tersor
