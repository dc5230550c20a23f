// State formats from plugins: rules check which one they get, and each is held to its contract.
#include "kernels/adamw.h"
#include "optim/fused_step.h"
#include "optim/state_format.h"
#include "optim/update_rule.h"
#include "tests/support/catch.h"

namespace tersor {
namespace {

TEST_CASE("adamw: state of a format that it does not know is never taken for fp32's", "[optim]") {
  const auto rule = update_rules().find("adamw")->build();
  const std::vector<at::Tensor> m{at::zeros({4, 4})}, v{at::zeros({4, 4})}, t{at::zeros({})};
  const auto fused = [&](const char* of_m, const char* of_v) {
    FusedStep step{.weight = at::ones({4, 4}), .grad = at::ones({4, 4}), .lr = 0.1};
    step.slots = {{"m", of_m, SlotKind::kSigned, m}, {"v", of_v, SlotKind::kNonNegative, v}, {"t", "fp32", SlotKind::kExact, t}};
    return rule->fused(step);
  };
  CHECK(fused("fp32", "fp32"));
  CHECK(fused("int8", "int8"));  // so few numbers that int8 keeps them in fp32
  CHECK_FALSE(fused("mine", "mine"));
  CHECK_FALSE(fused("fp32", "mine"));
}

// Breaks its promise of fp32 in the slot's shape.
struct Wrong final : StateFormat {
  std::vector<at::Tensor> allocated_;
  at::Tensor decoded_;
  bool throws = false;
  std::vector<at::Tensor> allocate(at::IntArrayRef, SlotKind, const at::TensorOptions&) const override { return allocated_; }
  void encode(const at::Tensor&, SlotKind, const RandomStream&, std::span<const at::Tensor>) const override {}
  at::Tensor decode(std::span<const at::Tensor>, SlotKind, at::IntArrayRef) const override {
    if (throws) throw std::out_of_range("over the edge");
    return decoded_;
  }
  int64_t bytes(at::IntArrayRef, SlotKind) const override { return 24; }
};

TEST_CASE("state formats: one that breaks its promises is told by its name and the slot's", "[optim]") {
  const SlotSpec slot{"m", {2, 3}, SlotKind::kSigned};
  const at::TensorOptions options(at::kFloat);
  Wrong format;
  CHECK_THROWS_WITH(allocated("mine", format, slot, options), Catch::Contains("state format 'mine', slot 'm': allocate takes 0 bytes in 0 tensors, but bytes() says 24"));
  format.allocated_ = {at::Tensor()};
  CHECK_THROWS_WITH(allocated("mine", format, slot, options), Catch::Contains("not on the device"));
  format.allocated_ = {at::zeros({2, 3})};
  CHECK(allocated("mine", format, slot, options).size() == 1);
  CHECK_THROWS_WITH(decoded("mine", format, slot, format.allocated_, slot.shape), Catch::Contains("decode returned nothing"));
  format.decoded_ = at::zeros({6});
  CHECK_THROWS_WITH(decoded("mine", format, slot, format.allocated_, slot.shape), Catch::Contains("of shape [6], not fp32 of shape [2, 3]"));
  format.decoded_ = at::zeros({2, 3}, at::kDouble);
  CHECK_THROWS_WITH(decoded("mine", format, slot, format.allocated_, slot.shape), Catch::Contains("decode returned Double"));
  format.throws = true;
  CHECK_THROWS_WITH(decoded("mine", format, slot, format.allocated_, slot.shape), Catch::Contains("slot 'm': over the edge"));
}

}  // namespace
}  // namespace tersor
