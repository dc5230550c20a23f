// Catch2 in either of the versions that Debian 12 (2.13) and newer systems (3) ship.
#pragma once

#ifdef TERSOR_CATCH2_V2
#include <catch2/catch.hpp>
#else
#include <catch2/catch_all.hpp>
#endif

#ifndef TERSOR_CATCH2_V2
using Catch::Approx;
namespace Catch {
inline auto Contains(const std::string& text) { return Matchers::ContainsSubstring(text); }
}  // namespace Catch
#endif
