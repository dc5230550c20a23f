#include "optim/state_format.h"
#include "optim/update_rule.h"

namespace tersor {

UpdateRuleRegistry& update_rules() {
  static UpdateRuleRegistry registry("update rule", "how a gradient becomes a step");
  return registry;
}

StateFormatRegistry& state_formats() {
  static StateFormatRegistry registry("state format", "how optimizer state is stored between steps");
  return registry;
}

}  // namespace tersor
