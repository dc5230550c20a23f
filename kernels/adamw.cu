#include "kernels/adamw_math.cuh"

namespace tersor::kernels::gpu {
namespace {

constexpr int kEach = 4;  // numbers per thread at a time

template <int N>
__global__ void __launch_bounds__(kThreadsByPack) direction(const float* grad, float* m, float* v, float* n, int64_t size, AdamNumbers numbers) {
  const AdamNumbers a = corrected(numbers);
  for_each_pack<N>(size, [&](int64_t i) {
    float g[N];
    float first[N];
    float second[N];
    load_pack(grad + i, g);
    load_pack(m + i, first);
    load_pack(v + i, second);
    for (int j = 0; j < N; ++j) g[j] = adam_direction_of(g[j], first[j], second[j], a);
    store_pack(n + i, g);
    store_pack(m + i, first);
    store_pack(v + i, second);
  });
}

template <class W, class G, int N>
__global__ void __launch_bounds__(kThreadsByPack) step(W* w, const G* grad, float* m, float* v, int64_t size, AdamNumbers numbers, Rounding rounding) {
  const AdamNumbers a = corrected(numbers);
  for_each_pack<N>(size, [&](int64_t i) {
    float weight[N];
    float g[N];
    float first[N];
    float second[N];
    load_pack(w + i, weight);
    load_pack(grad + i, g);
    load_pack(m + i, first);
    load_pack(v + i, second);
    for (int j = 0; j < N; ++j) weight[j] = adamw_weight(weight[j], g[j], first[j], second[j], a);
    store_rounded(w + i, weight, rounding, i);
    store_pack(m + i, first);
    store_pack(v + i, second);
  });
}

__global__ void count_and_correct(float* t, double beta1, double beta2, double epsilon, bool epsilon_corrected, float* corrections) {
  *t += 1;
  const double root2 = sqrt(1 - pow(beta2, static_cast<double>(*t)));
  corrections[0] = static_cast<float>(root2 / (1 - pow(beta1, static_cast<double>(*t))));
  corrections[1] = static_cast<float>(epsilon_corrected ? root2 * epsilon : epsilon);
}

}  // namespace

void adam_corrections(float* t, double beta1, double beta2, double epsilon, bool epsilon_corrected, float* corrections, Stream stream) {
  launch(count_and_correct, {.blocks = 1, .threads = 1}, stream, t, beta1, beta2, epsilon, epsilon_corrected, corrections);
}

void adam_direction(const float* grad, float* m, float* v, float* n, int64_t size, const AdamNumbers& a, Stream stream) {
  const bool packs = in_packs<float>(size, n, grad, m, v);
  launch(packs ? direction<kEach> : direction<1>, by_pack(size, packs ? kEach : 1), stream, grad, m, v, n, size, a);
}

void adamw_step(const Weights& w, float* m, float* v, int64_t size, const AdamNumbers& a, Stream stream) {
  with_types(w, [&](auto weight, auto gradient) {
    using W = decltype(weight);
    using G = decltype(gradient);
    const bool packs = in_packs<float>(size, w.w, w.grad, m, v);
    launch(packs ? step<W, G, kEach> : step<W, G, 1>, by_pack(size, packs ? kEach : 1), stream, static_cast<W*>(w.w), static_cast<const G*>(w.grad), m, v, size, a,
           w.rounding);
  });
}

}  // namespace tersor::kernels::gpu
