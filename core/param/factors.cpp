#include "core/param/factors.h"

namespace tersor {

Factors truncated_factors(const at::Tensor& w, int64_t r) {
  const auto [u, s, vh] = at::linalg_svd(w.to(at::kDouble), false);
  const at::Tensor root = s.narrow(0, 0, r).sqrt();
  return {u.narrow(1, 0, r) * root, root.unsqueeze(1) * vh.narrow(0, 0, r)};
}

bool balance(const at::Tensor& b, const at::Tensor& a) {
  const at::NoGradGuard no_grad;
  const auto [qb, rb] = at::linalg_qr(b.to(at::kDouble));
  const auto [qa, ra] = at::linalg_qr(a.to(at::kDouble).t());
  const auto [u, s, vh] = at::linalg_svd(rb.mm(ra.t()), false);
  if (s[0].item<double>() == 0) return false;
  const at::Tensor root = s.sqrt();
  b.copy_(qb.mm(u * root));
  a.copy_((root.unsqueeze(1) * vh).mm(qa.t()));
  return true;
}

}  // namespace tersor
