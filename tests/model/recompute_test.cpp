// Recomputation changes neither losses nor gradients, whenever weights are updated.
#include "core/memory/ledger.h"
#include "core/model/recompute.h"

#include "tests/support/catch.h"
#include "tests/support/tiny_run.h"

namespace tersor {
namespace {

TEST_CASE("recompute: a run is the same, bit for bit", "[model]") {
  for (const std::string more : {"optimizer.update=after_backward", "optimizer.update=during_backward", "parameterization.method=int8"}) {
    const auto sums = [&](const std::string& mode, bool frozen) {
      const testing::TemporaryFolder folder;
      std::vector<std::string> overrides{"train.recompute=" + mode, more, "evaluation.every=never"};
      if (frozen) overrides.emplace_back("timeline=[{do: {type: freeze, match: {role: embedding}}, when: at 2}]");
      const RunConfig config = testing::tiny_config(folder.path(), overrides);
      REQUIRE(testing::train(config) == kExitDone);
      return testing::checkpoint_sums(config.folder() / "checkpoints" / "step-00000006");
    };
    for (const bool frozen : {false, true}) {
      const std::string plain = sums("none", frozen);
      for (const std::string mode : {"attention", "mlp", "block"}) CHECK(sums(mode, frozen) == plain);
    }
  }
}

TEST_CASE("recompute: a part without anything to learn asks for nothing", "[model]") {
  const testing::TemporaryFolder folder;
  for (const std::string mode : {"none", "attention", "mlp", "block"}) {
    const std::string frozen = "timeline=[{do: {type: freeze, match: {name: ['model.embed_tokens.weight', 'model.layers.0.*']}}, when: at 2}]";
    CHECK(testing::train(testing::tiny_config(folder / mode, {"train.recompute=" + mode, frozen})) == kExitDone);
  }
}

TEST_CASE("recompute: only the input is kept, and the part runs again for its gradients", "[model]") {
  const at::Tensor w = at::ones({8, 8}).requires_grad_(true);
  const at::Tensor x = at::rand({256, 8}).requires_grad_(true);
  int runs = 0;
  const auto part = [&](const at::Tensor& in) {
    ++runs;
    return in.mm(w).sin().square();
  };
  const int64_t before = memory_now().total;
  at::Tensor y = recompute(part, x);
  CHECK(memory_now().total - before < static_cast<int64_t>(2 * y.nbytes()));  // only y, of four tensors of its size
  CHECK(runs == 1);
  y.sum().backward();
  CHECK(runs == 2);
  const at::Tensor gx = x.grad().clone();
  const at::Tensor gw = w.grad().clone();
  x.mutable_grad() = at::Tensor();
  w.mutable_grad() = at::Tensor();
  part(x).sum().backward();
  CHECK(at::equal(gx, x.grad()));
  CHECK(at::equal(gw, w.grad()));
  const at::NoGradGuard no_grad;
  CHECK_FALSE(recompute(part, x).requires_grad());
}

}  // namespace
}  // namespace tersor
