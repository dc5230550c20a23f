// Meta-device versions of some LibTorch operators. LibTorch has these only in Python, but a plan runs training steps on
// tensors of the meta device from C++. They allocate what the CPU's operators allocate.
#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

namespace tersor {
namespace {

at::Tensor index_select(const at::Tensor& self, int64_t dim, const at::Tensor& index) {
  std::vector<int64_t> sizes = self.sizes().vec();
  if (!sizes.empty()) sizes[static_cast<size_t>(at::maybe_wrap_dim(dim, self.dim()))] = index.numel();
  return at::empty(sizes, self.options());
}

at::Tensor embedding_dense_backward(const at::Tensor& grad, const at::Tensor&, c10::SymInt num_weights, c10::SymInt, bool) {
  return at::empty({num_weights.expect_int(), grad.size(-1)}, grad.options());
}

at::Tensor dot(const at::Tensor& self, const at::Tensor&) { return at::empty({}, self.options()); }
at::Tensor flip(const at::Tensor& self, at::IntArrayRef) { return at::empty(self.sizes(), self.options()); }
at::Tensor roll(const at::Tensor& self, c10::SymIntArrayRef, at::IntArrayRef) { return at::empty(self.sizes(), self.options()); }

at::Tensor where(const at::Tensor& condition, const at::Tensor& self, const at::Tensor& other) {
  const auto sizes = at::infer_size(condition.sizes(), at::infer_size(self.sizes(), other.sizes()));
  return at::empty(sizes, self.options().dtype(at::result_type(self, other)));
}

// What the CPU's kernel holds while it works: for each thread, `tiles` tiles of scores and `rows` more numbers per query, and, for
// a half-precision type, the tiles once more in that type.
at::Tensor attention_scratch(const at::Tensor& q, int64_t tiles, int64_t rows) {
  const int64_t length = q.size(2);
  const int64_t queries = std::min<int64_t>(length, length >= 768 ? 256 : length >= 192 ? 64 : 32);
  const int64_t keys = std::min<int64_t>(length, 512);
  const auto exact = q.scalar_type() == at::kDouble ? sizeof(double) : sizeof(float);
  const int64_t in_half = q.element_size() == 2 ? tiles * queries * keys * 2 : 0;
  const int64_t bytes = queries * (tiles * keys + rows) * static_cast<int64_t>(exact) + in_half;
  return at::empty({at::get_num_threads() * bytes}, q.options().dtype(at::kByte));
}

// Queries, keys and values are (B, heads, L, width); the CPU's kernel stores its results as (B, L, heads, width).
std::tuple<at::Tensor, at::Tensor> attention(const at::Tensor& q, const at::Tensor&, const at::Tensor&, double, bool,
                                             const std::optional<at::Tensor>&, std::optional<double>) {
  const bool exact = q.scalar_type() == at::kDouble;
  const std::tuple result{at::empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.options()).transpose(1, 2),
                          at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(exact ? at::kDouble : at::kFloat)).transpose(1, 2)};
  const at::Tensor scratch = attention_scratch(q, 1, 2 + q.size(3));
  return result;
}
std::tuple<at::Tensor, at::Tensor, at::Tensor> attention_backward(const at::Tensor&, const at::Tensor& q, const at::Tensor& k,
                                                                  const at::Tensor& v, const at::Tensor&, const at::Tensor&, double, bool,
                                                                  const std::optional<at::Tensor>&, std::optional<double>) {
  const auto stored = [](const at::Tensor& x) { return at::empty(x.transpose(1, 2).sizes(), x.options()).transpose(1, 2); };
  const std::tuple result{stored(q), stored(k), stored(v)};
  const at::Tensor scratch = attention_scratch(q, 2, 0);
  return result;
}

// An elementwise operator that writes into its last argument, which takes the broadcast sizes of the others.
void elementwise_out(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
  const at::Tensor out = arguments.back().toTensor();
  std::vector<int64_t> sizes;
  for (const c10::IValue& argument : arguments.slice(0, arguments.size() - 1))
    if (argument.isTensor()) sizes = at::infer_size(sizes, argument.toTensor().sizes());
  out.resize_(sizes);
  torch::jit::drop(*stack, op.schema().arguments().size());
  torch::jit::push(*stack, out);
}

TORCH_LIBRARY_IMPL(aten, Meta, m) {
  m.impl("_scaled_dot_product_flash_attention_for_cpu", attention);
  m.impl("_scaled_dot_product_flash_attention_for_cpu_backward", attention_backward);
  m.impl("dot", dot);
  m.impl("embedding_dense_backward", embedding_dense_backward);
  m.impl("flip", flip);
  m.impl("index_select", index_select);
  m.impl("roll", roll);
  m.impl("where.self", where);
  for (const char* name : {"abs.out", "where.self_out"}) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&elementwise_out>());
}

}  // namespace
}  // namespace tersor
