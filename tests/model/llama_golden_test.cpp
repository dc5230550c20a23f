// The model against Hugging Face's LlamaForCausalLM: tests/golden/llama_*.txt, made by scripts/make_goldens.py, hold the
// results of that; weights and tokens are rebuilt here from the same formulas.
#include <torch/csrc/autograd/autograd.h>

#include <fstream>
#include <sstream>

#include "core/model/llama.h"
#include "tests/support/catch.h"
#include "tests/support/source_dir.h"

namespace tersor {
namespace {

constexpr int64_t kRows = 2;
constexpr int64_t kLength = 11;
constexpr int64_t kTargets = kRows * (kLength - 1) - 2;  // two are ignored

struct GoldenGradient {
  double norm = 0;
  std::vector<std::pair<int64_t, double>> entries;  // the largest comes first
};

// What Transformers computed in one precision.
struct Reference {
  double loss = 0;
  std::map<std::pair<int64_t, int64_t>, std::vector<double>> logits;  // by row and position
  std::map<std::string, GoldenGradient> gradients;
};

struct Golden {
  ModelConfig config;
  std::map<std::string, Reference> references;  // float32, float64
};

void read_reference(const std::string& kind, std::istringstream& line, Reference& reference) {
  if (kind == "loss") {
    line >> reference.loss;
  } else if (kind == "logits") {
    int64_t row = 0, position = 0;
    line >> row >> position;
    for (double value = 0; line >> value;) reference.logits[{row, position}].push_back(value);
  } else {
    std::string name;
    line >> name;
    GoldenGradient& gradient = reference.gradients[name];
    line >> gradient.norm;
    int64_t place = 0;
    for (double value = 0; line >> place >> value;) gradient.entries.emplace_back(place, value);
  }
}

Golden read_golden(const std::string& name) {
  std::ifstream file(testing::source_dir() + "/tests/golden/llama_" + name + ".txt");
  REQUIRE(file);
  Golden golden;
  Diagnostics diagnostics;
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string kind, precision;
    line >> kind;
    if (kind == "#") continue;
    if (kind == "model") {
      read_fields(golden.config, parse_config(text.substr(kind.size()), name, diagnostics), diagnostics);
      continue;
    }
    line >> precision;
    read_reference(kind, line, golden.references[precision]);
  }
  diagnostics.throw_if_any();
  return golden;
}

std::vector<int64_t> pattern(int64_t tensor_index, int64_t count) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < count; ++i) values.push_back((31 * i * i + 17 * i + 101 * tensor_index) % 1009 - 504);
  return values;
}

void fill(std::vector<Param> params) {
  std::sort(params.begin(), params.end(), [](const Param& a, const Param& b) { return a.name < b.name; });
  for (size_t k = 0; k < params.size(); ++k) {
    const at::Tensor value = params[k].value.detach();
    const at::Tensor p = at::tensor(pattern(static_cast<int64_t>(k), value.numel())).to(at::kDouble).view(value.sizes());
    value.copy_(params[k].name.find("norm") != std::string::npos ? 1 + p / 2048 : p / 2048);
  }
}

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

void check_logits(const Reference& reference, const at::Tensor& logits, double tolerance) {
  REQUIRE_FALSE(reference.logits.empty());
  for (const auto& [place, values] : reference.logits) {
    INFO("logits of row " << place.first << ", position " << place.second);
    const at::Tensor expected = at::tensor(values, at::kDouble);
    const at::Tensor actual = logits[place.first][place.second].to(at::kDouble);
    REQUIRE(actual.sizes() == expected.sizes());
    CHECK(largest(actual - expected) <= tolerance * largest(expected));
  }
}

void check_gradients(const Reference& reference, const std::vector<Param>& params, double tolerance) {
  REQUIRE(reference.gradients.size() == params.size());
  for (const Param& param : params) {
    INFO(param.name);
    const GoldenGradient& golden = reference.gradients.at(param.name);
    const at::Tensor gradient = param.value.grad().to(at::kDouble).reshape({-1});
    CHECK(std::abs(gradient.norm().item<double>() - golden.norm) <= tolerance * golden.norm);
    REQUIRE(golden.entries.size() == 3);
    const double scale = std::abs(golden.entries.front().second);
    for (const auto& [place, value] : golden.entries)
      CHECK(std::abs(gradient[place].item<double>() - value) <= tolerance * scale);
  }
}

// Compares with the reference of each precision named.
void compare(const std::string& name, at::ScalarType type, const std::vector<std::string>& precisions, double tolerance) {
  const Golden golden = read_golden(name);
  Llama model(golden.config, ParameterizationConfig{}, at::TensorOptions(type), 0);
  fill(model.params());
  const at::Tensor tokens =
      (at::tensor(pattern(7, kRows * kLength)) + 504).remainder(golden.config.vocab_size).view({kRows, kLength});
  at::Tensor targets = tokens.slice(1, 1).clone();  // the target of position t is token t + 1
  targets[0][2] = targets[1][kLength - 2] = -100;
  const at::Tensor loss = model.loss(tokens.slice(1, 0, -1).contiguous(), targets, 1.0 / kTargets, 4);
  loss.backward();
  for (const std::string& precision : precisions) {
    INFO(name << " against Transformers in " << precision);
    const Reference& reference = golden.references.at(precision);
    CHECK(std::abs(loss.item<double>() - reference.loss) <= tolerance * reference.loss);
    check_logits(reference, model.logits(tokens).detach(), tolerance);
    check_gradients(reference, model.params(), tolerance);
  }
}

const std::vector<std::string> kModels{"mha_untied", "gqa_tied", "biases", "odd_sizes"};

TEST_CASE("llama: logits, loss and gradients are Transformers' in double", "[model][golden]") {
  for (const std::string& name : kModels) DYNAMIC_SECTION(name) { compare(name, at::kDouble, {"float64"}, 1e-10); }
}

TEST_CASE("llama: logits, loss and gradients are Transformers' in fp32", "[model][golden]") {
  for (const std::string& name : kModels) DYNAMIC_SECTION(name) { compare(name, at::kFloat, {"float32", "float64"}, 1e-5); }
}

}  // namespace
}  // namespace tersor
