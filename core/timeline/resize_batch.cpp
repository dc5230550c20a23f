// Changes the batch size or sequence length from here on. Windows keep their length in the data: a shorter sequence_length cuts
// each into pieces that do not attend to each other, so no token is lost or read twice.
#include "core/timeline/timeline.h"

namespace tersor {
namespace {

class ResizeBatch final : public Action {
 public:
  struct Config {
    std::optional<int64_t> global_batch_size;
    std::optional<int64_t> micro_batch_size;
    std::optional<int64_t> sequence_length;
    void fields(FieldVisitor& v) {
      v("global_batch_size", global_batch_size, at_least(1), "windows per update; unchanged when absent");
      v("micro_batch_size", micro_batch_size, at_least(1), "windows per forward and backward pass; unchanged when absent");
      v("sequence_length", sequence_length, at_least(1), "tokens that attend to each other, a divisor of data.sequence_length; unchanged when absent");
    }
    void check(const ConfigNode& node, Diagnostics& out) const {
      if (!global_batch_size && !micro_batch_size && !sequence_length)
        out.add(node, "resize_batch changes nothing: give global_batch_size, micro_batch_size or sequence_length");
    }
  };
  explicit ResizeBatch(const Config& config) : c_(config) {}

  [[nodiscard]] bool touches_weights() const override { return false; }
  std::string run(RunContext& context) const override {
    LiveSettings& s = context.settings;
    apply(s);
    return fmt::format("{} windows a step in micro-batches of {}, cut into pieces of {} tokens", s.global_batch_size, s.micro_batch_size, s.sequence_length);
  }

  void change_settings(LiveSettings& s, int64_t) const override { apply(s); }

 private:
  void apply(LiveSettings& s) const {
    s.global_batch_size = c_.global_batch_size.value_or(s.global_batch_size);
    s.micro_batch_size = c_.micro_batch_size.value_or(s.micro_batch_size);
    s.sequence_length = c_.sequence_length.value_or(s.sequence_length);
  }

  Config c_;
};

const bool registered = actions().add<ResizeBatch>("resize_batch", "changes the batch size or the sequence length");

}  // namespace
}  // namespace tersor
