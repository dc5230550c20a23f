// Rotary frequencies against Transformers' (5.24, ROPE_INIT_FUNCTIONS of a LlamaConfig with heads 16 wide, θ = 10000), in fp32.
#include "core/model/rotary.h"

#include "tests/support/catch.h"

namespace tersor {
namespace {

void compare(const RopeScaling& scaling, const std::vector<double>& expected) {
  ModelConfig config;
  config.head_dim = 16;
  config.rope_scaling = scaling;
  const at::Tensor actual = rotary_frequencies(config, at::TensorOptions(at::kFloat)).to(at::kDouble);
  const at::Tensor golden = at::tensor(expected, at::kDouble);
  REQUIRE(actual.sizes() == golden.sizes());
  CHECK(((actual - golden) / golden).abs().max().item<double>() < 1e-6);  // eight roundings of fp32, and nine digits
  const RotaryTables tables = rotary_tables(7, config, at::TensorOptions(at::kDouble));
  CHECK(((tables.sin[6].slice(0, 0, 8) - (6 * golden).sin()) / golden).abs().max().item<double>() < 1e-5);
  CHECK((tables.cos[6].slice(0, 8, 16) - (6 * golden).cos()).abs().max().item<double>() < 1e-5);
}

TEST_CASE("rotary: linear scaling divides all frequencies, as in Transformers", "[model][golden]") {
  compare({.type = RopeType::kLinear, .factor = 4},
          {0.25, 0.079056941, 0.0250000004, 0.00790569466, 0.00249999994, 0.000790569466, 0.000250000012, 7.90569466e-05});
}

TEST_CASE("rotary: llama3 keeps high frequencies, divides low ones, and goes over from one to the other, as in Transformers", "[model][golden]") {
  compare({.type = RopeType::kLlama3, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original_max_position_embeddings = 64},
          {1.0, 0.244384587, 0.0130422562, 0.00395284733, 0.00124999997, 0.000395284733, 0.000125000006, 3.95284733e-05});
}

TEST_CASE("rotary: a band without room between low and high is refused", "[model][config]") {
  Diagnostics diagnostics;
  ModelConfig config;
  read_fields(config, parse_config("rope_scaling: {type: llama3, factor: 8, low_freq_factor: 4}", "test", diagnostics), diagnostics);
  CHECK_THAT(diagnostics.text(), Catch::Contains("must be more than low_freq_factor 4"));
}

}  // namespace
}  // namespace tersor
