// The version of the program, which plugins must be built for. CMakeLists.txt reads it from here.
#pragma once

namespace tersor {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace tersor
