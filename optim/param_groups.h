// Which rule trains which parameter: the first group that matches wins, and every parameter must match one.
//
//   groups:
//     - {match: {role: [embedding, head]}, rule: adamw, state: bf16}
//     - {match: {name: "*.mlp.*"}, rule: sgd}
//     - {match: any, rule: adamw}
#pragma once

#include "core/base/param.h"
#include "optim/state_format.h"
#include "optim/update_rule.h"

namespace tersor {

// "any", or a map with `role` and `name`, each one value or a list; `name` is a pattern with * and ?.
class ParamMatch {
 public:
  [[nodiscard]] bool matches(const Param& param) const;

  void read(const ConfigNode& node, Diagnostics& out);
  [[nodiscard]] Json to_json() const;
  [[nodiscard]] Json schema() const;
  [[nodiscard]] std::string type_name() const { return "any | {role, name}"; }
  // For messages: where the match was written.
  [[nodiscard]] const Mark& mark() const { return mark_; }

 private:
  std::vector<std::string> roles_;  // empty: all
  std::vector<std::string> names_;  // empty: all
  Mark mark_;
};

struct GroupConfig {
  ParamMatch match;
  Choice<update_rules> rule{"adamw"};
  Choice<state_formats> state{"fp32"};
  Choice<state_formats> projector{"fp32"};
  bool offload = false;
  double lr_scale = 1;
  std::optional<double> weight_decay;
  void fields(FieldVisitor& v) {
    v("match", match, "which parameters: any, or role and name patterns");
    v("rule", rule, "how their gradients become steps");
    v("state", state, "how the rule's moments are stored between steps");
    v("projector", projector, "how the bases of projected rules are stored between steps");
    v("offload", offload, "keep moments in host memory and copy them to the GPU for each update, while it computes; no effect on a CPU");
    v("lr_scale", lr_scale, at_least(0), "factor on the learning rate");
    v("weight_decay", weight_decay, at_least(0), "decoupled weight decay; absent: the optimizer's");
  }
};

// A group's rule and formats, built.
struct GroupMethods {
  std::unique_ptr<UpdateRule> rule;
  std::unique_ptr<StateFormat> state;
  std::unique_ptr<StateFormat> projector;
};

// Returns the group of each parameter. Throws a UserError that reports parameters that no group matches or that their rule refuses,
// and slots that their format refuses.
[[nodiscard]] std::vector<size_t> assign_groups(const std::vector<Param>& params, const std::vector<GroupConfig>& groups,
                                                const std::vector<GroupMethods>& methods);

// Throws a UserError if assign_groups does for one of the sets of parameters that a model will have one after the other, or if a
// group matches nothing in any of them. The parameters need not be allocated.
void check_groups(const std::vector<std::vector<Param>>& stages, const std::vector<GroupConfig>& groups);
[[nodiscard]] std::vector<GroupMethods> build_methods(const std::vector<GroupConfig>& groups);

}  // namespace tersor
