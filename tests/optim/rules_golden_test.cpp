// Every rule against its paper's equations, computed here in double without the code under test.
#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/single_param.h"
#include "tests/support/worst.h"

namespace tersor {
namespace {

using testing::keep_worst;
using testing::normal;
using testing::SingleParam;

constexpr double kLr = 0.01;
constexpr int kSteps = 40;
constexpr int kRank = 4;
constexpr int kPeriod = 15;  // so that 40 steps cross two refreshes

// Gradients with a decaying spectrum, so that leading singular vectors are well separated; the vectors rotate over time.
at::Tensor gradient(at::IntArrayRef shape, int step) {
  const int64_t k = std::min(shape[0], shape[1]);
  const at::Tensor values = at::pow(0.6, at::arange(k, at::kFloat));
  const at::Tensor left = normal({shape[0], k}, "left") + normal({shape[0], k}, fmt::format("left {}", step / 5), 0.2);
  const at::Tensor right = normal({k, shape[1]}, "right") + normal({k, shape[1]}, fmt::format("right {}", step), 0.2);
  return (left * values).mm(right);
}

// Adam as the GaLore family's packages write it: ε added to the uncorrected root, the bias correction outside.
struct ReferenceAdam {
  at::Tensor m, v;
  int t = 0;
  at::Tensor direction(const at::Tensor& g) {
    if (!m.defined()) m = at::zeros_like(g), v = at::zeros_like(g);
    ++t;
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    return m / (v.sqrt() + 1e-6);
  }
  double correction() const { return std::sqrt(1 - std::pow(0.999, t)) / (1 - std::pow(0.9, t)); }
};

// P (r, short): singular vectors from LAPACK's SVD, each with its largest entry positive.
at::Tensor reference_basis(const at::Tensor& g, bool tall) {
  const auto [u, s, vh] = at::linalg_svd(g, false);
  at::Tensor rows = (tall ? vh : u.t()).slice(0, 0, kRank).clone();
  for (int64_t i = 0; i < rows.size(0); ++i) {
    const int64_t place = rows[i].abs().argmax().item<int64_t>();
    if (rows[i][place].item<double>() < 0) rows[i].neg_();
  }
  return rows;
}

struct ReferenceSubspace {
  bool tall;
  at::Tensor basis;
  void refresh(const at::Tensor& g, int step) {
    if (step % kPeriod == 0) basis = reference_basis(g, tall);
  }
  at::Tensor down(const at::Tensor& g) const { return tall ? g.mm(basis.t()) : basis.mm(g); }
  at::Tensor up(const at::Tensor& r) const { return tall ? r.mm(basis) : basis.t().mm(r); }
};

struct ReferenceLimiter {
  double q = 0;
  at::Tensor limit(const at::Tensor& s) {
    const double norm = s.norm().item<double>();
    const double k = q == 0 ? 1 : std::max(norm / (q + 1e-8), 1.01) / 1.01;
    q = norm / k;
    return s / k;
  }
};

using Step = std::function<at::Tensor(const at::Tensor& g, int step)>;  // what is subtracted from the weight, divided by the rate

// The largest distance over the steps, relative to how far the weight has moved.
double distance(at::IntArrayRef shape, const std::string& rule, const Step& reference) {
  const at::Tensor start = normal(shape, "start", 0.1);
  SingleParam ours(start, rule, kLr);
  at::Tensor expected = start.to(at::kDouble);
  double worst = 0;
  for (int step = 0; step < kSteps; ++step) {
    const at::Tensor g = gradient(shape, step);
    ours.step(g);
    expected = expected - kLr * reference(g.to(at::kDouble), step);
    const double moved = (expected - start).norm().item<double>();
    keep_worst(worst, (ours.weight().to(at::kDouble) - expected).norm().item<double>() / moved);
  }
  return worst;
}

const std::vector<std::vector<int64_t>> kShapes{{24, 10}, {10, 24}, {12, 12}};

TEST_CASE("galore: follows Algorithm 2 over two refreshes", "[optim][golden]") {
  for (const auto& shape : kShapes) {
    ReferenceSubspace subspace{.tall = shape[0] >= shape[1]};
    ReferenceAdam adam;
    const double error = distance(shape, fmt::format("{{type: galore, rank: {}, refresh: every {}, scale: 0.5}}", kRank, kPeriod),
                                  [&](const at::Tensor& g, int step) {
                                    subspace.refresh(g, step);
                                    const at::Tensor n = adam.direction(subspace.down(g));
                                    return 0.5 * adam.correction() * subspace.up(n);
                                  });
    CHECK(error < 1e-5);
  }
}

TEST_CASE("fira: follows the authors' form and the paper's", "[optim][golden]") {
  for (const auto& shape : kShapes) {
    for (const std::string form : {"code", "paper"}) {
      ReferenceSubspace subspace{.tall = shape[0] >= shape[1]};
      ReferenceAdam adam;
      ReferenceLimiter limiter;
      const bool paper = form == "paper";
      const std::string rule = fmt::format("{{type: fira, rank: {}, refresh: every {}, scale: 0.25, form: {}}}", kRank, kPeriod, form);
      const double error = distance(shape, rule, [&](const at::Tensor& g, int step) {
        subspace.refresh(g, step);
        const at::Tensor r = subspace.down(g);
        at::Tensor n = adam.direction(r);
        if (paper) n = n * adam.correction();  // of this step
        const int64_t axis = subspace.tall ? 1 : 0;
        const at::Tensor phi = n.norm(2, {axis}, true) / (r.norm(2, {axis}, true) + 1e-8);
        const at::Tensor s = limiter.limit(phi * (g - (paper ? 1 : 0.25) * subspace.up(r)));
        return (paper ? 1 : adam.correction()) * (0.25 * subspace.up(n) + (paper ? 0.25 : 1) * s);
      });
      CHECK(error < 1e-5);
    }
  }
}

TEST_CASE("apollo: follows Algorithm 1 with singular vectors, by channel and by tensor", "[optim][golden]") {
  for (const auto& shape : kShapes) {
    for (const std::string scaling : {"channel", "tensor"}) {
      ReferenceSubspace subspace{.tall = shape[0] >= shape[1]};
      ReferenceAdam adam;
      ReferenceLimiter limiter;
      const std::string rule = fmt::format("{{type: apollo, projection: svd, rank: {}, refresh: every {}, scaling: {}, scale: 9}}", kRank,
                                           kPeriod, scaling);
      const double error = distance(shape, rule, [&](const at::Tensor& g, int step) {
        subspace.refresh(g, step);
        const at::Tensor r = subspace.down(g);
        const at::Tensor n = adam.direction(r);
        const std::vector<int64_t> axes = scaling == "tensor" ? std::vector<int64_t>{0, 1} : std::vector<int64_t>{subspace.tall ? 1 : 0};
        const at::Tensor phi = n.norm(2, axes, true) / (r.norm(2, axes, true) + 1e-8);
        return 3 * adam.correction() * limiter.limit(g * phi);
      });
      CHECK(error < 1e-5);
    }
  }
}

TEST_CASE("apollo: the random projection keeps norms in expectation and is drawn anew when due", "[optim]") {
  // With an inner rule that returns its input, φ is 1 and the step is the gradient itself.
  const at::Tensor start = at::zeros({6, 9});
  SingleParam identity(start, "{type: apollo, rank: 3, limit: false, inner: sgd}", 1);
  const at::Tensor g = normal({6, 9}, "g");
  identity.step(g);
  CHECK(at::allclose(identity.weight(), -g, 1e-5, 1e-6));
  SingleParam kept(start, "{type: apollo, rank: 3, refresh: every 2}", 1);
  const auto drawn_at = [&] { return kept.slots()["drawn_at"].item<float>(); };
  std::vector<float> steps;
  for (int i = 0; i < 5; ++i) kept.step(g), steps.push_back(drawn_at());
  CHECK(steps == std::vector<float>{1, 1, 3, 3, 5});
}

TEST_CASE("frugal: follows Algorithm 1 over two bases, with either rule outside", "[optim][golden]") {
  for (const auto& shape : kShapes) {
    for (const std::string free : {"sign", "sgd"}) {
      ReferenceSubspace subspace{.tall = shape[0] >= shape[1]};
      ReferenceAdam adam;
      const std::string rule = fmt::format("{{type: frugal, decomposition: svd, rank: {}, refresh: every {}, free: {}, free_scale: 0.5, "
                                           "inner: {{type: adamw, epsilon: 0.000001, epsilon_at: uncorrected}}}}", kRank, kPeriod, free);
      const double error = distance(shape, rule, [&](const at::Tensor& g, int step) {
        subspace.refresh(g, step);
        if (step % kPeriod == 0) adam = {};
        const at::Tensor r = subspace.down(g);
        const at::Tensor n = adam.direction(r);
        const at::Tensor inside = n * adam.correction();  // of this step
        const at::Tensor rest = g - subspace.up(r);
        return subspace.up(inside) + 0.5 * (free == "sign" ? rest.sign() : rest);
      });
      CHECK(error < (free == "sign" ? 1e-2 : 1e-5));  // where the rest is practically zero, its sign is arbitrary
    }
  }
}

TEST_CASE("frugal: is the rule inside where nothing is left out, and its random bases change when due", "[optim]") {
  const at::Tensor start = normal({6, 9}, "start");
  for (const std::string side : {"std", "full"}) {
    SingleParam whole(start, fmt::format("{{type: frugal, rank: 9, side: {}}}", side), 0.1);
    SingleParam small(start, fmt::format("{{type: frugal, rank: 2, side: {}, free: sgd, inner: sgd}}", side), 0.1);
    SingleParam sgd(start, "sgd", 0.1);
    const at::Tensor g = normal({6, 9}, "g");
    for (SingleParam* param : {&whole, &small, &sgd}) param->step(g);
    CHECK(at::allclose(small.weight(), sgd.weight(), 1e-4, 1e-5));  // SGD inside and outside is SGD
    const at::Tensor turned = (start - whole.weight()).div(0.1).square();  // Adam's first step is ±1 in the basis
    CHECK(turned.mean().item<double>() == Approx(1).epsilon(1e-3));
  }
  SingleParam param(start, "{type: frugal, rank: 2, refresh: every 2}", 0.1);
  std::vector<at::Tensor> bases;
  for (int i = 0; i < 3; ++i) param.step(normal({6, 9}, "g")), bases.push_back(param.slots()["left"].clone());
  CHECK(at::equal(bases[0], bases[1]));
  CHECK_FALSE(at::allclose(bases[1], bases[2], 0.1, 0.1));
}

TEST_CASE("stable_spam: follows Algorithm 1 over two resets, with spikes and a gradient of zero", "[optim][golden]") {
  const std::vector<int64_t> shape{24, 10};
  const auto spiked = [&](int step) {
    const at::Tensor g = gradient(shape, step);
    if (step % 7 == 3) g[step % 24][step % 10].mul_(100);
    return step == 20 ? at::zeros_like(g) : g;
  };
  const at::Tensor start = normal(shape, "start", 0.1);
  SingleParam ours(start, "{type: stable_spam, gamma2: 0.99, reset: every 15}", kLr);
  at::Tensor expected = start.to(at::kDouble), m = at::zeros(shape, at::kDouble), v = m.clone();
  double a = 0, p = 0, q = 0;
  int t = 0;
  double worst = 0;
  for (int k = 1; k <= kSteps; ++k) {
    ours.step(spiked(k));
    at::Tensor g = spiked(k).to(at::kDouble);
    const double s = 0.5 + 0.5 * (1 + std::cos(3.14159265358979 * k / 1000)) / 2;
    const double x = g.abs().max().item<double>();
    a = 0.999 * a + 0.001 * x;
    const double most = a / (1 - std::pow(0.999, k));
    if (x > 0) g = at::where(g.abs() > most, g * (most / x), g);
    const double n = g.norm().item<double>();
    p = 0.85 * s * p + (1 - 0.85 * s) * n;
    q = 0.99 * q + 0.01 * n * n;
    if (n > 0) g = g / n * (p / (1 - std::pow(0.85 * s, k))) / (std::sqrt(q / (1 - std::pow(0.99, k))) + 1e-8);
    if (k % 15 == 0) m.zero_(), v.zero_(), t = 0;
    ++t;
    m = 0.9 * s * m + (1 - 0.9 * s) * g;
    v = 0.999 * v + 0.001 * g * g;
    expected = expected - kLr * (m / (1 - std::pow(0.9 * s, t))) / ((v / (1 - std::pow(0.999, t))).sqrt() + 1e-8);
    keep_worst(worst, (ours.weight().to(at::kDouble) - expected).norm().item<double>() / (expected - start).norm().item<double>());
  }
  CHECK(worst < 1e-4);
}

TEST_CASE("norm-growth limiter: the norm grows by γ a step, and not from nothing", "[optim][golden]") {
  SingleParam param(at::zeros({2, 2}), "{type: apollo, rank: 1, scaling: tensor, inner: sgd}", 1);
  at::Tensor before = param.weight().clone();
  const auto norm_of_step = [&](double size) {
    param.step(at::full({2, 2}, size / 2));
    const double norm = (param.weight() - before).norm().item<double>();
    before = param.weight().clone();
    return norm;
  };
  CHECK(norm_of_step(1) == Approx(1).epsilon(1e-5));
  for (int k = 1; k <= 5; ++k) CHECK(norm_of_step(100) == Approx(std::pow(1.01, k)).epsilon(1e-4));
  CHECK(norm_of_step(0.5) == Approx(0.5).epsilon(1e-5));
  CHECK(norm_of_step(0) == 0);
  CHECK(norm_of_step(1) == Approx(0.505).epsilon(1e-4));  // the limit comes from the step before the zero gradient
}

TEST_CASE("lion, scale, adam_mini, adafactor: follow their equations", "[optim][golden]") {
  const std::vector<int64_t> shape{24, 10};
  const at::Tensor zero = at::zeros(shape, at::kDouble);
  at::Tensor m = zero.clone();
  CHECK(distance(shape, "lion", [&](const at::Tensor& g, int) {
          const at::Tensor step = (0.9 * m + 0.1 * g).sign();
          m = 0.99 * m + 0.01 * g;
          return step;
        }) < 1e-5);
  m = zero.clone();
  CHECK(distance(shape, "{type: scale, momentum: 0.9}", [&](const at::Tensor& g, int) {
          m = 0.9 * m + 0.1 * g;
          return m / (m * m).mean(1, true).sqrt();
        }) < 1e-5);
  m = zero.clone();
  at::Tensor v = at::zeros({6, 1}, at::kDouble);
  CHECK(distance(shape, "{type: adam_mini, rows_per_block: 4}", [&](const at::Tensor& g, int step) {
          m = 0.9 * m + 0.1 * g;
          v = 0.999 * v + 0.001 * (g * g).view({6, 40}).mean(1, true);
          const at::Tensor root = (v / (1 - std::pow(0.999, step + 1))).sqrt() + 1e-8;
          return (m.view({6, 40}) / root).view(shape) / (1 - std::pow(0.9, step + 1));
        }) < 1e-5);
  at::Tensor row = at::zeros({24}, at::kDouble);
  at::Tensor column = at::zeros({10}, at::kDouble);
  CHECK(distance(shape, "adafactor", [&](const at::Tensor& g, int step) {
          const double fresh = std::pow(step + 1, -0.8);
          row = (1 - fresh) * row + fresh * (g * g).mean(1);
          column = (1 - fresh) * column + fresh * (g * g).mean(0);
          const at::Tensor u = g / (at::outer(row, column) / row.mean()).sqrt();
          return u / std::max(1.0, (u * u).mean().sqrt().item<double>());
        }) < 1e-5);
}

}  // namespace
}  // namespace tersor
