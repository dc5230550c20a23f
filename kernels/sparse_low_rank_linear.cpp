#include "kernels/sparse_low_rank_linear.h"

#include <map>

#include "core/base/error.h"
#include "kernels/held_pattern.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"

namespace tersor::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

using Pattern = HeldPattern<SparsePattern>;

at::Tensor composed(const at::Tensor& b, const at::Tensor& a, double scale, const SparsePattern& pattern, const at::Tensor& values) {
  const at::Tensor w = workspace_matrix(pattern.out, pattern.in, values.options());
  compose(b, a, scale, pattern, values, w);
  return w;
}

// Whether cuSPARSELt computes the product; it needs whole tiles.
bool multiplies_by_two_of_four(const at::Tensor& x, const SparsePattern& pattern) {
  constexpr int64_t kTile = 32;
  return pattern.two_of_four && !on_host(x) && x.scalar_type() == at::kBFloat16 && pattern.out % kTile == 0 && pattern.in % kTile == 0 &&
         x.numel() / pattern.in % kTile == 0;
}

// x·Wᵀ
at::Tensor product(const at::Tensor& x, const at::Tensor& w, const SparsePattern& pattern) {
  if (!multiplies_by_two_of_four(x, pattern)) return at::linear(x, w);
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = pattern.out;
  return at::_cslt_sparse_mm(at::_cslt_compress(w), x.reshape({-1, pattern.in}).t(), {}, {}, std::nullopt, true).view(sizes);
}

class SparseLowRankLinear : public torch::autograd::Function<SparseLowRankLinear> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& b, const Variable& a, double scale,
                          const c10::intrusive_ptr<Pattern>& holder, const Variable& values) {
    ctx->save_for_backward({x, b, a, values});
    ctx->saved_data["scale"] = scale;
    holder->save(ctx);
    return product(x, composed(b, a, scale, *holder->pattern, values), *holder->pattern);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &b = saved[1], &a = saved[2], &values = saved[3];
    const double scale = ctx->saved_data["scale"].toDouble();
    const SparsePattern& pattern = Pattern::of(ctx);
    const at::Tensor dy = grads[0].reshape({-1, pattern.out});
    const at::Tensor rows = x.reshape({-1, pattern.in});
    variable_list result(6);  // one per argument; needs_input_grad counts only tensors
    if (ctx->needs_input_grad(0)) result[0] = dy.mm(composed(b, a, scale, pattern, values)).view(x.sizes());
    if (ctx->needs_input_grad(1)) result[1] = dy.t().mm(rows.mm(a.t())).mul_(scale);
    if (ctx->needs_input_grad(2)) result[2] = dy.mm(b).t().mm(rows).mul_(scale);
    if (ctx->needs_input_grad(3)) result[5] = sampled_product(pattern, dy, rows).to(values.scalar_type());
    return result;
  }
};

using Buffers = std::map<std::pair<at::DeviceType, at::ScalarType>, at::Tensor>;

// One set per thread, but one for all threads on a GPU, where one stream orders all work and backward passes run on a thread of their own.
Buffers& buffers_of(at::DeviceType device) {
  static Buffers on_gpu;
  thread_local Buffers of_thread;
  return device == at::kCPU || device == at::kMeta ? of_thread : on_gpu;
}

}  // namespace

at::Tensor workspace_matrix(int64_t rows, int64_t columns, const at::TensorOptions& options) {
  at::Tensor& buffer = buffers_of(options.device().type())[{options.device().type(), c10::typeMetaToScalarType(options.dtype())}];
  if (!buffer.defined() || buffer.numel() < rows * columns) {
    buffer.reset();  // frees the old one first
    buffer = at::empty({rows * columns}, options.requires_grad(false));
  }
  return buffer.narrow(0, 0, rows * columns).view({rows, columns});
}

void free_workspace(at::DeviceType device) {
  std::erase_if(buffers_of(device), [&](const auto& entry) { return entry.first.first == device; });
}

void compose(const at::Tensor& b, const at::Tensor& a, double scale, const SparsePattern& pattern, const at::Tensor& values, at::Tensor w) {
  const at::NoGradGuard no_grad;
  if (!on_host(w)) {
    const bool factors = b.defined() && b.numel() > 0;
    const at::Tensor left = factors ? b.contiguous() : b;
    const at::Tensor right = factors ? a.contiguous() : a;
    gpu::compose({.type = gpu::number_of(w), .at = pattern.on_gpu(), .b = factors ? left.const_data_ptr() : nullptr,
                  .a = factors ? right.const_data_ptr() : nullptr, .rank = factors ? b.size(1) : 0, .scale = static_cast<float>(scale),
                  .values = values.const_data_ptr(), .w = w.data_ptr()}, gpu::stream_of(w));
    return;
  }
  if (b.defined() && b.numel() > 0)
    at::addmm_out(w, w, b, a, 0, scale);  // with a beta of 0, the old w is not read
  else
    w.zero_();
  scatter_add(pattern, values, w);
}

at::Tensor sparse_low_rank_linear(const at::Tensor& x, const at::Tensor& b, const at::Tensor& a, double scale,
                                  const std::shared_ptr<const SparsePattern>& pattern, const at::Tensor& values) {
  TERSOR_CHECK(x.size(-1) == pattern->in && b.defined() == a.defined(), "x (…, {})", pattern->in);
  const at::Tensor none = at::empty({0}, values.options().requires_grad(false));
  return SparseLowRankLinear::apply(x, b.defined() ? b : none, a.defined() ? a : none, scale, c10::make_intrusive<Pattern>(pattern), values);
}

}  // namespace tersor::kernels
