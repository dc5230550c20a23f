#include "core/model/norm.h"

namespace tersor {

RmsNorm::RmsNorm(const std::string& name, int64_t width, double eps, const at::TensorOptions& options)
    : name_(name + ".weight"), eps_(eps) {
  gain_ = register_parameter("weight", at::ones({width}, options));
}


}  // namespace tersor
