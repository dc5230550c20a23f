// Precompiled for every target that uses LibTorch. Only what nearly every file needs: this decides how long a
// file takes to compile.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>
