#include "core/model/model_config.h"

namespace tersor {

void RopeScaling::check(const ConfigNode& node, Diagnostics& out) const {
  if (type == RopeType::kLlama3 && high_freq_factor <= low_freq_factor)
    out.add(node.nearest({"high_freq_factor"}), fmt::format("must be more than low_freq_factor {}, not {}", low_freq_factor, high_freq_factor));
}

void ModelConfig::check(const ConfigNode& node, Diagnostics& out) const {
  const auto complain = [&](std::string_view key, const std::string& message) { out.add(node.nearest({key}), message); };
  if (!head_dim && hidden_size % num_attention_heads != 0)
    complain("num_attention_heads", fmt::format("hidden_size {} is not a multiple of {} heads; change one or set head_dim",
                                                hidden_size, num_attention_heads));
  else if (head_width() % 2 != 0)
    complain(head_dim ? "head_dim" : "num_attention_heads",
             fmt::format("heads are {} wide, but rotary embeddings rotate pairs: the width must be even", head_width()));
  if (num_attention_heads % kv_heads() != 0)
    complain("num_key_value_heads", fmt::format("{} query heads cannot be shared by {} key and value heads",
                                                num_attention_heads, kv_heads()));
}

}  // namespace tersor
