#include "core/base/rng.h"
#include "core/cli/commands.h"
#include "core/cli/config_words.h"
#include "core/train/loaded_run.h"
#include "core/data/tokenizer.h"

namespace tersor {
namespace {

struct GenerateArguments {
  std::filesystem::path run;
  std::string prompt;
  int64_t tokens = 100;
  double temperature = 0.8;
  int64_t top_k = 50;
  uint64_t seed = 1;
};

// Draws one token from the last position's logits (vocab).
int64_t sample(const at::Tensor& logits, const GenerateArguments& a, const RandomStream& random, int64_t index) {
  if (a.temperature == 0) return logits.argmax().item<int64_t>();
  const auto [values, tokens] = logits.topk(a.top_k > 0 ? std::min(a.top_k, logits.size(0)) : logits.size(0));
  const at::Tensor cumulative = at::softmax(values / a.temperature, 0).cumsum(0);
  const double draw = random.uniform(static_cast<uint64_t>(index)) * cumulative[-1].item<double>();
  const int64_t chosen = std::min(cumulative.le(draw).sum().item<int64_t>(), tokens.size(0) - 1);
  return tokens[chosen].item<int64_t>();
}

void generate(const GenerateArguments& a) {
  const at::NoGradGuard no_grad;
  const LoadedRun run = load_run(a.run, best_device());
  const Tokenizer tokenizer(run.tokenizer());
  std::vector<int32_t> tokens = tokenizer.encode(a.prompt);
  if (tokens.empty()) tokens.push_back(std::max(0, tokenizer.eos_id()));  // in the training data every document follows one
  const std::string given = tokenizer.decode(tokens);
  const RandomStream random = random_stream(a.seed, "generate");
  const auto context = static_cast<size_t>(run.config.data.sequence_length);  // longer contexts were never trained
  for (int64_t i = 0; i < a.tokens; ++i) {
    const size_t from = tokens.size() > context ? tokens.size() - context : 0;
    const std::vector<int64_t> window(tokens.begin() + static_cast<int64_t>(from), tokens.end());
    const at::Tensor hidden = run.model->hidden(at::tensor(window, at::kLong).unsqueeze(0));
    const at::Tensor logits = run.model->head_logits(hidden.select(1, -1)).to(at::kFloat).squeeze(0);
    const int64_t next = sample(logits, a, random, i);
    if (next == tokenizer.eos_id()) break;
    tokens.push_back(static_cast<int32_t>(next));
  }
  const std::string text = tokenizer.decode(tokens);
  fmt::print("{}{}\n", a.prompt, text.substr(std::min(given.size(), text.size())));  // the first piece of a text is decoded without its blank
}

}  // namespace

void add_generate_command(CLI::App& app) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand("generate", "continue a text with a trained model");
  command->add_option("run", arguments->run, "folder of a run, of a checkpoint, or of Hugging Face's format")->required();
  command->add_option("--prompt", arguments->prompt, "text to continue")->capture_default_str();
  command->add_option("--tokens", arguments->tokens, "tokens to add, at most")->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))->capture_default_str();
  command->add_option("--temperature", arguments->temperature, "0: the likeliest token each time")->check(at_least_zero())->capture_default_str();
  command->add_option("--top-k", arguments->top_k, "choose among the k likeliest tokens; 0: among all")->check(at_least_zero())->capture_default_str();
  command->add_option("--seed", arguments->seed, "seed of the draws")->capture_default_str();
  add_plugin_option(command);
  command->callback([arguments] { generate(*arguments); });
}

}  // namespace tersor
