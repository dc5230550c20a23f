// Stands in for CUDA's header of this name when a kernel is compiled for the CPU: products of 16 × 16 bf16 tiles with sums in fp32.
// A lane holds eight elements of a tile; do not rely on which ones, because on a GPU they are others.
#pragma once

#include "tests/support/simt/cuda_bf16.h"
#include "tests/support/simt/cuda_runtime.h"

namespace nvcuda::wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int m, int n, int k, class T, class Layout = void>
struct fragment {
  static_assert(m == 16 && n == 16 && k == 16);
  static constexpr int num_elements = 8;
  T x[num_elements];
};

namespace detail {
inline constexpr unsigned kAll = 0xffffffffU;
// Element `e` of this lane: 8 in a row, two lanes per row.
inline int row_of(int) { return static_cast<int>(simt::here().lane) / 2; }
inline int column_of(int e) { return static_cast<int>(simt::here().lane) % 2 * 8 + e; }
}  // namespace detail

template <class Use, class T, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& to, const T* from, unsigned stride, const SimtPlace& where = SimtPlace::current()) {
  (void)simt::meet(detail::kAll, 0, false, where);
  for (int e = 0; e < 8; ++e) {
    const auto i = static_cast<size_t>(detail::row_of(e));
    const auto j = static_cast<size_t>(detail::column_of(e));
    to.x[e] = std::is_same_v<Layout, row_major> ? from[i * stride + j] : from[j * stride + i];
  }
}
template <class T>
void load_matrix_sync(fragment<accumulator, 16, 16, 16, T>& to, const T* from, unsigned stride, layout_t layout,
                      const SimtPlace& where = SimtPlace::current()) {
  (void)simt::meet(detail::kAll, 0, false, where);
  for (int e = 0; e < 8; ++e) {
    const auto i = static_cast<size_t>(detail::row_of(e));
    const auto j = static_cast<size_t>(detail::column_of(e));
    to.x[e] = layout == mem_row_major ? from[i * stride + j] : from[j * stride + i];
  }
}
template <class T>
void store_matrix_sync(T* to, const fragment<accumulator, 16, 16, 16, T>& from, unsigned stride, layout_t layout,
                       const SimtPlace& where = SimtPlace::current()) {
  (void)simt::meet(detail::kAll, 0, false, where);
  for (int e = 0; e < 8; ++e) {
    const auto i = static_cast<size_t>(detail::row_of(e));
    const auto j = static_cast<size_t>(detail::column_of(e));
    to[layout == mem_row_major ? i * stride + j : j * stride + i] = from.x[e];
  }
}
template <class Fragment, class T>
void fill_fragment(Fragment& to, T value, const SimtPlace& where = SimtPlace::current()) {
  (void)simt::meet(detail::kAll, 0, false, where);
  for (auto& x : to.x) x = value;
}

// d = a·b + c. Every lane reads what the others hold, so none continues before all have read.
template <class LayoutA, class LayoutB>
void mma_sync(fragment<accumulator, 16, 16, 16, float>& d, const fragment<matrix_a, 16, 16, 16, __nv_bfloat16, LayoutA>& a,
              const fragment<matrix_b, 16, 16, 16, __nv_bfloat16, LayoutB>& b, const fragment<accumulator, 16, 16, 16, float>& c,
              const SimtPlace& where = SimtPlace::current()) {
  const auto left = simt::meet(detail::kAll, reinterpret_cast<uint64_t>(&a), false, where);
  const auto right = simt::meet(detail::kAll, reinterpret_cast<uint64_t>(&b), false, where);
  const auto element = [](uint64_t lane, int e) { return __bfloat162float(reinterpret_cast<const fragment<matrix_a, 16, 16, 16, __nv_bfloat16, LayoutA>*>(lane)->x[e]); };
  float sums[8];
  for (int e = 0; e < 8; ++e) {
    sums[e] = c.x[e];
    const auto i = static_cast<size_t>(detail::row_of(e));
    const auto j = static_cast<size_t>(detail::column_of(e));
    for (size_t k = 0; k < 16; ++k) sums[e] += element(left[i * 2 + k / 8], static_cast<int>(k % 8)) * element(right[k * 2 + j / 8], static_cast<int>(j % 8));
  }
  (void)simt::meet(detail::kAll, 0, false, where);
  for (int e = 0; e < 8; ++e) d.x[e] = sums[e];
}

}  // namespace nvcuda::wmma
