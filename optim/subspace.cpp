#include "optim/subspace.h"

#include "kernels/fill_normal.h"

namespace tersor {
namespace {

// Singular vectors are defined up to sign: makes the entry of largest magnitude in each row positive.
at::Tensor fix_signs(const at::Tensor& rows) {
  const at::Tensor place = rows.abs().argmax(1, true);  // (r, 1)
  return rows * at::where(rows.gather(1, place) < 0, -1.0, 1.0).to(rows.scalar_type());
}

// Eigenvectors of the Gram matrix in double. Squaring costs half of the 16 digits, but fp32 gradients have only 7; unlike an
// SVD this cannot fail to converge, and the eigenproblem is only as large as the short side.
at::Tensor exact_vectors(const at::Tensor& matrix, int64_t r) {
  const at::Tensor wide = matrix.to(at::kDouble);
  const auto [values, vectors] = at::linalg_eigh(wide.mm(wide.t()));  // ascending
  return vectors.t().flip(0).slice(0, 0, r).to(at::kFloat);
}

at::Tensor orthonormal_columns(const at::Tensor& y) { return std::get<0>(at::linalg_qr(y)); }

// Subspace iteration from `basis` (rows, k). Between the two products of the last iteration, a Rayleigh–Ritz step rotates the
// basis to its leading r vectors: the second product leaves them nearly orthogonal and in order, and the last QR orthonormalizes.
at::Tensor iterate(const at::Tensor& matrix, at::Tensor basis, int64_t iterations, int64_t r) {
  for (int64_t i = 1; i < iterations; ++i) basis = orthonormal_columns(matrix.mm(matrix.t().mm(basis)));
  const at::Tensor half = matrix.t().mm(basis);  // (columns, k)
  const at::Tensor exact = half.to(at::kDouble);
  const auto [values, vectors] = at::linalg_eigh(exact.t().mm(exact));  // ascending
  return orthonormal_columns(matrix.mm(half.mm(vectors.flip(1).slice(1, 0, r).to(at::kFloat)))).t();
}

constexpr int64_t kOversampling = 8;
constexpr int64_t kPowerIterations = 2;

}  // namespace

at::Tensor left_basis(const at::Tensor& matrix, int64_t r, Decomposition how, const at::Tensor& previous, const RandomStream& random) {
  const int64_t rows = matrix.size(0);
  const int64_t columns = matrix.size(1);
  const auto draw = [&](int64_t height, int64_t width) {
    const at::Tensor x = at::empty({height, width}, matrix.options());
    kernels::fill_normal(x, 1, random);
    return x;
  };
  if (how == Decomposition::kRandom) return fix_signs(orthonormal_columns(draw(rows, r)).t().contiguous());
  const int64_t k = std::min({r + kOversampling, rows, columns});
  // If nearly all vectors are wanted, or there are fewer columns than vectors, shortcuts save nothing.
  if (how == Decomposition::kSvd || r > columns || 2 * k > rows) return fix_signs(exact_vectors(matrix, r));
  if (how == Decomposition::kSubspace && previous.defined())
    return fix_signs(iterate(matrix, previous.t(), 1, r).contiguous());
  return fix_signs(iterate(matrix, orthonormal_columns(matrix.mm(draw(columns, k))), kPowerIterations, r).contiguous());
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  const bool rounded = a.scalar_type() == at::kBFloat16 || b.scalar_type() == at::kBFloat16;
  return rounded ? a.to(at::kBFloat16).mm(b.to(at::kBFloat16)).to(at::kFloat) : a.mm(b);
}

Direction InnerRule::direction(const at::Tensor& projected, const Slots& slots, const StepInfo& step) const {
  Slots own = slots.scope("inner");
  Direction inside = rule_->direction(projected, own, step);
  // The inner rule may have a subspace of its own.
  if (inside.left.defined()) inside.value = inside.left.t().mm(inside.value);
  if (inside.right.defined()) inside.value = inside.value.mm(inside.right);
  inside.left = inside.right = at::Tensor();
  if (inside.gain.defined()) inside.gain = inside.gain.to(projected.scalar_type());
  if (!inside.rest.defined()) return inside;
  // Its direction has two parts, which become one here.
  const auto part = [&](const at::Tensor& value, const at::Tensor& gain) { return gain.defined() ? value * gain.to(value.scalar_type()) : value; };
  return {part(inside.value, inside.gain) + part(inside.rest, inside.rest_gain)};
}

Subspace::Sides Subspace::sides(at::IntArrayRef sizes) const {
  const bool tall = sizes[0] >= sizes[1];
  switch (c_.side) {
    case Side::kStd: return {.left = !tall, .right = tall};
    case Side::kReverse: return {.left = tall, .right = !tall};
    case Side::kLeft: return {.left = true};
    case Side::kRight: return {.right = true};
    case Side::kFull: return {.left = true, .right = true};
  }
  return {};
}

std::vector<int64_t> Subspace::projected_shape(at::IntArrayRef sizes) const {
  const Sides s = sides(sizes);
  return {s.left ? std::min(c_.rank, sizes[0]) : sizes[0], s.right ? std::min(c_.rank, sizes[1]) : sizes[1]};
}

std::vector<SlotSpec> Subspace::slots(const ParamShape& shape) const {
  const Sides s = sides(shape.sizes);
  std::vector<SlotSpec> specs = inner_.slots(projected_shape(shape.sizes));
  if (s.left) specs.push_back({"left", {std::min(c_.rank, shape.sizes[0]), shape.sizes[0]}, SlotKind::kProjector});
  if (s.right) specs.push_back({"right", {std::min(c_.rank, shape.sizes[1]), shape.sizes[1]}, SlotKind::kProjector});
  specs.push_back({"refreshes", {}, SlotKind::kHost});
  if (!c_.lazy) return specs;
  specs.push_back({"period", {}, SlotKind::kHost});  // in units of `refresh`, less one
  specs.push_back({"similarity", {c_.lazy->window}, SlotKind::kHost});
  specs.push_back({"leading", {shape.sizes[s.left ? 0 : 1]}, SlotKind::kExact});
  return specs;
}

bool Subspace::due(const StepInfo& step, const Slots& host) const {
  if (*host["refreshes"].const_data_ptr<float>() == 0) return true;
  const double stretch = c_.lazy ? 1 + *host["period"].const_data_ptr<float>() : 1;
  const double period = static_cast<double>(c_.refresh.period_steps(step.progress)) * stretch;
  const auto offset = c_.stagger ? static_cast<int64_t>(step.place * period) : 0;
  return c_.refresh.due(step.progress.shifted(offset - 1), stretch);  // counted in completed steps
}

void Subspace::refresh_when_due(const at::Tensor& grad, const Slots& slots, const StepInfo& step) const {
  if (!due(step, slots)) return;
  float& refreshes = *slots["refreshes"].data_ptr<float>();
  const bool first = refreshes == 0;
  Slots old_bases;
  const auto update = [&](const char* name, const at::Tensor& matrix) {
    const at::Tensor& basis = slots[name];
    const at::Tensor old = first ? at::Tensor() : basis.clone();
    basis.copy_(left_basis(matrix, basis.size(0), c_.decomposition, old, step.random(name)));
    if (!first) old_bases.add(name, old);
  };
  if (slots.contains("left")) update("left", grad);
  if (slots.contains("right")) update("right", grad.t());
  if (c_.lazy) update_period(slots);
  if (!first) carry_moments(old_bases, slots, grad.sizes());
  refreshes += 1;
}

// The algorithm of the authors' code: the cosine enters a queue; once the queue is full, every refresh at which its mean is
// high multiplies the period by `factor`.
void Subspace::update_period(const Slots& slots) const {
  const float refreshes = *slots["refreshes"].const_data_ptr<float>();
  const at::Tensor leading = slots[slots.contains("left") ? "left" : "right"].select(0, 0);
  const auto similarity = slots["similarity"].view({-1});
  if (refreshes > 0) {
    at::Tensor cosine = at::dot(slots["leading"], leading);
    if (c_.lazy->absolute) cosine = cosine.abs();
    similarity.copy_(similarity.roll(-1));
    if (!cosine.is_meta()) similarity[-1] = cosine.to(at::kCPU);
  }
  slots["leading"].copy_(leading);
  if (refreshes < static_cast<float>(c_.lazy->window)) return;
  const at::Tensor mean = similarity.mean();
  float& period = *slots["period"].data_ptr<float>();
  if (*mean.const_data_ptr<float>() >= static_cast<float>(c_.lazy->similarity))
    period = (1 + period) * static_cast<float>(c_.lazy->factor) - 1;
}

void Subspace::carry_moments(const Slots& old_bases, const Slots& slots, at::IntArrayRef sizes) const {
  if (c_.moments == Carry::kKeep) return;
  for (const SlotSpec& spec : inner_.slots(projected_shape(sizes))) {
    const at::Tensor& value = slots[spec.name];
    if (c_.moments == Carry::kReset) {
      value.zero_();
      continue;
    }
    if (value.dim() != 2 || spec.kind == SlotKind::kHost || spec.kind == SlotKind::kProjector) continue;
    // In the new basis a first moment has coordinates C·m; second moments of independent coordinates add up with C's entries squared.
    const bool squares = spec.kind == SlotKind::kNonNegative;
    const auto turn = [&](const char* name) {
      const at::Tensor cosines = slots[name].mm(old_bases[name].t());  // (r, r)
      return squares ? cosines.square() : cosines;
    };
    if (old_bases.contains("left") && value.size(0) == slots["left"].size(0)) value.copy_(turn("left").mm(value));
    if (old_bases.contains("right") && value.size(1) == slots["right"].size(0)) value.copy_(value.mm(turn("right").t()));
  }
}

at::Tensor Subspace::down(const at::Tensor& grad, const Slots& slots) const {
  at::Tensor projected = grad;
  if (slots.contains("left")) projected = product(slots["left"], projected);
  if (slots.contains("right")) projected = product(projected, slots["right"].t());
  return projected;
}

Direction Subspace::inside(const at::Tensor& projected, const Slots& slots, const StepInfo& step) const {
  Direction inside = inner_.direction(projected, slots, step);
  if (slots.contains("left")) inside.left = slots["left"];
  if (slots.contains("right")) inside.right = slots["right"];
  return inside;
}

at::Tensor Subspace::left_out(const at::Tensor& grad, const at::Tensor& projected, const Slots& slots, double share) const {
  if (!slots.contains("left")) return at::addmm(grad, projected, slots["right"], 1, -share);
  return at::addmm(grad, slots["left"].t(), slots.contains("right") ? projected.mm(slots["right"]) : projected, 1, -share);
}

}  // namespace tersor
