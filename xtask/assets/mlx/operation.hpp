// What the operations that are added to MLX's CPU device have in common.
#pragma once

#include <exception>
#include <utility>
#include <vector>

#include "mlx/backend/cpu/encoder.h"
#include "mlx/c/error.h"
#include "mlx/c/private/mlx.h"
#include "mlx/primitives.h"

namespace operation {

using mlx::core::array;

// Has `work(inputs, out)` fill `out`, in its turn on the stream's thread, if there is anything in it.
template <typename Work>
void dispatch(mlx::core::Stream stream, const std::vector<array>& inputs, array& out, Work work) {
  out.set_data(mlx::core::allocator::malloc(out.nbytes()));
  auto& encoder = mlx::core::cpu::get_command_encoder(stream);
  std::vector<array> weak;
  for (const array& input : inputs) {
    encoder.set_input_array(input);
    weak.push_back(array::unsafe_weak_copy(input));
  }
  encoder.set_output_array(out);
  encoder.dispatch([weak = std::move(weak), out = array::unsafe_weak_copy(out),
                    work = std::move(work)]() mutable {
    if (out.size() > 0) work(weak, out);
  });
}

// The numbers of f32, row by row, however they lie.
inline void copy_rows(const array& from, float* to) {
  std::vector<long> at(from.ndim(), 0);
  const int last = from.ndim() - 1;
  const long width = from.shape(last), step = from.strides(last);
  for (const float* end = to + from.size(); to != end;) {
    const float* row = from.data<float>();
    for (int axis = 0; axis < last; ++axis) row += at[axis] * from.strides(axis);
    for (long i = 0; i < width; ++i) *to++ = row[i * step];
    for (int axis = last - 1; axis >= 0 && ++at[axis] == from.shape(axis); --axis) at[axis] = 0;
  }
}

// As mlx-c's functions: 0, or 1 after the error handler was told.
template <typename Make>
int told(mlx_array* out, const Make& make) {
  try {
    mlx_array_set_(*out, make());
  } catch (std::exception& error) {
    mlx_error(error.what());
    return 1;
  }
  return 0;
}

} // namespace operation
