#include "core/param/parameterization.h"

#include "kernels/fill_normal.h"

namespace tersor {

ParameterizationRegistry& parameterizations() {
  static ParameterizationRegistry registry("parameterization", "how a weight matrix is stored, trained and applied");
  return registry;
}

int64_t Parameterization::num_active() {
  int64_t total = 0;
  for (const Param& param : params()) total += param.value.numel();
  return total;
}

at::Tensor initial_weight(const WeightShape& shape, at::ScalarType type) {
  at::Tensor w = at::empty({shape.out, shape.in}, shape.options.dtype(type));
  kernels::fill_normal(w, shape.init_std, random_stream(shape.seed, "init", shape.name + ".weight"));
  return w;
}

std::vector<PackedPart> tensors_of(Parameterization& weight) {
  std::vector<PackedPart> all;
  for (const Param& param : weight.params())
    for (PackedPart& part : param.resting()) all.push_back(std::move(part));
  for (PackedPart& part : weight.kept()) all.push_back(std::move(part));
  return all;
}

void copy_weight(Parameterization& from, Parameterization& to) {
  const std::vector<PackedPart> source = tensors_of(from);
  to.resize_like([&](const std::string& part) -> std::optional<std::vector<int64_t>> {
    for (const PackedPart& candidate : source)
      if (candidate.name.ends_with("." + part)) return candidate.value.sizes().vec();
    return std::nullopt;
  });
  const std::vector<PackedPart> target = tensors_of(to);
  TERSOR_CHECK(source.size() == target.size(), "{} tensors are copied to {}", source.size(), target.size());
  for (size_t i = 0; i < source.size(); ++i) {
    const at::Tensor value = target[i].value;
    value.copy_(source[i].value);
  }
  to.restored();
}

}  // namespace tersor
