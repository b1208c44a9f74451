// Included ahead of every mlx-c source file: what those files expect and Linux may lack.
#pragma once

// std::format came with GCC 13; mlx-c uses nothing but "{}".
#if __has_include(<format>)
#include <format>
#else
#include <sstream>
#include <string>
#include <string_view>
namespace std {
template <typename... Args>
string format(string_view pattern, const Args&... args) {
  ostringstream text;
  [[maybe_unused]] auto one = [&](const auto& arg) {
    const auto hole = pattern.find("{}");
    if (hole == string_view::npos) return;
    text << pattern.substr(0, hole) << arg;
    pattern.remove_prefix(hole + 2);
  };
  (one(args), ...);
  text << pattern;
  return text.str();
}
} // namespace std
#endif

// mlx-c's half.h declares the 16-bit accessors for ARM alone. mlx-rs calls them everywhere, so
// half.h is skipped (by its own guard) and MLX's own types stand in.
#define MLX_HALF_H
#define HAS_FLOAT16
#define HAS_BFLOAT16
#include "mlx/types/half_types.h"
using float16_t = mlx::core::float16_t;
using bfloat16_t = mlx::core::bfloat16_t;
