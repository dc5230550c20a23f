#include <ATen/record_function.h>

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/weights.h"

namespace tersor {
namespace {

using testing::make_weight;
using testing::normal_double;
using testing::part_of;
using testing::weight_shape;

TEST_CASE("lora: begins as the dense weight, and both factors learn at once", "[param]") {
  const auto weight = make_weight("{type: lora, rank: 4}", weight_shape(12, 9));
  CHECK(at::equal(weight->materialize(), make_weight("dense", weight_shape(12, 9))->materialize()));
  const at::Tensor a = weight->params()[0].value;
  CHECK(a.abs().max().item<double>() <= 1.0 / 3);
  CHECK(a.abs().max().item<double>() > 0.9 / 3);
  CHECK(std::abs(a.mean().item<double>()) < 0.1);
  // A at zero, as in ReLoRA's code, would leave B's gradient at zero too.
  weight->forward(normal_double({5, 9}, "x")).sum().backward();
  CHECK(weight->params()[1].value.grad().count_nonzero().item<int64_t>() > 0);
}

TEST_CASE("lora: a merge leaves W as it is and begins anew, the same way for the same randomness", "[param]") {
  const auto weight = make_weight("{type: lora, rank: 4}", weight_shape(12, 9));
  const auto again = make_weight("{type: lora, rank: 4}", weight_shape(12, 9));
  at::Tensor a = weight->params()[0].value.detach();
  for (uint64_t merges = 0; merges < 3; ++merges) {
    for (const auto& w : {weight.get(), again.get()}) testing::disturb(*w);
    const at::Tensor before = weight->materialize();
    const at::Tensor base = part_of(*weight, "w.base").clone();
    const at::Tensor old = a.clone();
    for (const auto& w : {weight.get(), again.get()}) dynamic_cast<Mergeable&>(*w).merge(random_stream(1, "merge", "w", merges));
    CHECK(at::allclose(weight->materialize(), before, 1e-10, 1e-12));
    CHECK((part_of(*weight, "w.base") - base).abs().min().item<double>() > 0);
    CHECK(weight->params()[1].value.count_nonzero().item<int64_t>() == 0);
    CHECK((a - old).abs().min().item<double>() > 0);
    CHECK(a.abs().max().item<double>() <= 1.0 / 3);
    CHECK(at::equal(a, again->params()[0].value));
  }
}

TEST_CASE("lora: merges smaller than the spacing of the base are taken on average", "[param]") {
  const auto drift = [](const std::string& method, at::ScalarType type, double start) {
    const auto weight = make_weight(method, weight_shape(32, 256, type));
    weight->assign(at::full({32, 256}, start, type));
    const at::Tensor before = weight->materialize().to(at::kDouble);
    for (uint64_t step = 0; step < 50; ++step) {
      weight->params()[0].value.detach().fill_(1);
      weight->params()[1].value.detach().fill_(0.001);
      dynamic_cast<Mergeable&>(*weight).merge(random_stream(1, "merge", "w", step));
    }
    return (weight->materialize().to(at::kDouble) - before).mean().item<double>();
  };
  // bf16 near 1 is spaced by 0.0078; 0.001 is 0.00100 in bf16. The mean is over 8192 entries.
  CHECK(drift("{type: lora, rank: 1, alpha: 1}", at::kBFloat16, 1.25) == Approx(0.05).margin(0.003));
  CHECK(drift("{type: lora, rank: 1, alpha: 1, base: int8}", at::kFloat, 1.25) == Approx(0.05).margin(0.003));
}

TEST_CASE("lora: refactorizing keeps W and balances the factors", "[param]") {
  const auto weight = make_weight("{type: lora, rank: 4}", weight_shape(12, 9));
  auto& factors = dynamic_cast<Refactorizable&>(*weight);
  const at::Tensor a = weight->params()[0].value.detach();
  const at::Tensor b = weight->params()[1].value.detach();
  const at::Tensor first = a.clone();
  CHECK_FALSE(factors.refactorize());  // B is zero
  CHECK(at::equal(a, first));
  testing::disturb(*weight);
  const at::Tensor before = weight->materialize();
  REQUIRE(factors.refactorize());
  CHECK(at::allclose(weight->materialize(), before, 1e-10, 1e-12));
  CHECK(at::allclose(b.t().mm(b), a.mm(a.t()), 1e-10, 1e-12));
}

// Counts fresh tensors of one size among the results of all ops.
class FreshTensors {
 public:
  FreshTensors(int64_t numel, const at::Tensor& known) {
    numel_ = numel;
    known_ = known.defined() ? known.storage().data() : nullptr;
    count_ = 0;
    handle_ = at::addGlobalCallback(at::RecordFunctionCallback(nullptr, &FreshTensors::look)
                                        .needsOutputs(true)
                                        .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  }
  ~FreshTensors() { at::removeCallback(handle_); }
  int64_t count() const { return count_; }

 private:
  static void look(const at::RecordFunction& op, at::ObserverContext*) {
    for (const c10::IValue& value : op.outputs()) {
      if (!value.isTensor() || !value.toTensor().defined()) continue;
      const at::Tensor& tensor = value.toTensor();
      if (tensor.numel() == numel_ && tensor.storage().data() != known_) ++count_;
    }
  }
  inline static std::atomic<int64_t> numel_ = 0;
  inline static std::atomic<const void*> known_ = nullptr;
  inline static std::atomic<int64_t> count_ = 0;
  at::CallbackHandle handle_;
};

TEST_CASE("lora, switch_lora, svd: the backward pass makes no gradient of the frozen weight", "[param]") {
  const auto fresh = [](const std::string& method, const std::string& base) {
    const auto weight = make_weight(method, weight_shape(13, 11));
    testing::disturb(*weight);
    const at::Tensor y = weight->forward(normal_double({5, 11}, "x").requires_grad_(true)).square().sum();
    const FreshTensors watch(13 * 11, part_of(*weight, base));
    y.backward();
    return watch.count();
  };
  CHECK(fresh("dense", "w.weight") > 0);
  CHECK(fresh("{type: lora, rank: 3}", "w.base") == 0);
  CHECK(fresh("{type: switch_lora, rank: 3}", "w.base") == 0);
  CHECK(fresh("{type: svd, rank: 3}", "w.base") == 0);
}

TEST_CASE("lora: a packed base passes on what its unpacked weight would", "[param]") {
  for (const char* method : {"{type: lora, rank: 3, base: int8}", "{type: lora, rank: 3, base: int4}",
                             "{type: svd, rank: 3, base: int4}"}) {
    INFO(method);
    const auto weight = make_weight(method, weight_shape(13, 300));
    testing::disturb(*weight);
    const at::Tensor x = normal_double({2, 5, 300}, "x").requires_grad_(true);
    const at::Tensor dense_x = x.detach().clone().requires_grad_(true);
    const at::Tensor w = weight->materialize();
    const at::Tensor mix = normal_double({2, 5, 13}, "mix");
    (weight->forward(x) * mix).sum().backward();
    (at::linear(dense_x, w) * mix).sum().backward();
    CHECK(at::allclose(x.grad(), dense_x.grad(), 1e-10, 1e-12));
    // Spacing of the codes: the range of 256 normal numbers, about 6 standard deviations of 0.5, in 255 or 15 steps.
    const at::Tensor given = normal_double({13, 300}, "w") * 0.5;
    weight->assign(given);
    const double spacing = std::string(method).find("int8") == std::string::npos ? 4.0 / 15 : 4.0 / 255;
    CHECK((weight->materialize() - given).abs().max().item<double>() < spacing);
  }
}

TEST_CASE("lora: training takes the frozen weight once and (out + in)·r numbers four times", "[param]") {
  CHECK(testing::mebibytes("{type: lora, rank: 512}", 2048, 2048) == Approx(24).margin(1e-4));
  CHECK(testing::mebibytes("{type: lora, rank: 512}", 5461, 2048) == Approx(50.66).margin(0.01));
  CHECK(testing::mebibytes("{type: lora, rank: 1024}", 11008, 4096) == Approx(204).margin(1e-4));
  // One byte or half a byte per number, and 5 bytes per 256 numbers.
  CHECK(testing::mebibytes("{type: lora, rank: 512, base: int8}", 2048, 2048) == Approx(16 + 4 * (1 + 5.0 / 256)).margin(1e-4));
  CHECK(testing::mebibytes("{type: lora, rank: 512, base: int4}", 2048, 2048) == Approx(16 + 4 * (0.5 + 5.0 / 256)).margin(1e-4));
  CHECK(make_weight("{type: lora, rank: 4}", weight_shape(12, 9))->num_active() == 12 * 9 + 4 * (12 + 9));
}

}  // namespace
}  // namespace tersor
