// Vectors of as many bytes as the processor has, and numbers on their way into them.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace vectors {

// The upper half of an f32.
struct Bf16 {
  std::uint16_t bits;
};

template <int bytes>
struct Vectors {
  typedef float Type __attribute__((vector_size(bytes), aligned(4), may_alias));
  typedef std::uint32_t Words __attribute__((vector_size(bytes)));
  typedef std::uint16_t Halves __attribute__((vector_size(bytes / 2), aligned(2), may_alias));
};

inline float widened(float number) { return number; }

inline float widened(Bf16 number) {
  const std::uint32_t bits = static_cast<std::uint32_t>(number.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

template <int bytes>
inline __attribute__((always_inline)) void load(const float* from,
                                                typename Vectors<bytes>::Type& into) {
  into = *reinterpret_cast<const typename Vectors<bytes>::Type*>(from);
}

template <int bytes>
inline __attribute__((always_inline)) void load(const Bf16* from,
                                                typename Vectors<bytes>::Type& into) {
  using V = Vectors<bytes>;
  const auto halves = *reinterpret_cast<const typename V::Halves*>(from);
  into = (typename V::Type)(__builtin_convertvector(halves, typename V::Words) << 16);
}

// A vector's halves, added, until four numbers are left.
template <int bytes>
inline __attribute__((always_inline)) void quarter(const typename Vectors<bytes>::Type& of,
                                                   typename Vectors<16>::Type& into) {
  if constexpr (bytes == 16) {
    into = of;
  } else {
    typename Vectors<bytes / 2>::Type low, high;
    std::memcpy(&low, &of, bytes / 2);
    std::memcpy(&high, reinterpret_cast<const char*>(&of) + bytes / 2, bytes / 2);
    quarter<bytes / 2>(low + high, into);
  }
}

// The sum of each of four vectors. One number after the other would take as long as a product of a
// few hundred columns.
template <int bytes>
inline __attribute__((always_inline)) void totals(const typename Vectors<bytes>::Type* of,
                                                  float* into) {
  typename Vectors<16>::Type four[4];
#pragma GCC unroll 8
  for (int j = 0; j < 4; ++j) quarter<bytes>(of[j], four[j]);
#if defined(__x86_64__)
  __m128 a = (__m128)four[0], b = (__m128)four[1], c = (__m128)four[2], d = (__m128)four[3];
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(into, _mm_add_ps(_mm_add_ps(a, b), _mm_add_ps(c, d)));
#else
  for (int j = 0; j < 4; ++j) {
    into[j] = (four[j][0] + four[j][1]) + (four[j][2] + four[j][3]);
  }
#endif
}

template <int bytes>
inline __attribute__((always_inline)) void widen_by(long count, const Bf16* from, float* to) {
  using Vector = typename Vectors<bytes>::Type;
  constexpr int lanes = bytes / sizeof(float);
  long i = 0;
  for (; i + lanes <= count; i += lanes) load<bytes>(from + i, *reinterpret_cast<Vector*>(to + i));
  for (; i < count; ++i) to[i] = widened(from[i]);
}

// Says a number of rows, `most` or fewer, as a constant.
template <int most, typename Each>
inline __attribute__((always_inline)) void as_constant(int rows, const Each& each) {
  if constexpr (most > 0) {
    if (rows == most) {
      each(std::integral_constant<int, most>{});
    } else {
      as_constant<most - 1>(rows, each);
    }
  }
}

// Goes through `m` rows of A, `rows` at most at a time, as many as the processor has registers for,
// and all times about as many: a last one alone would read B for itself. `each` gets the first row, a
// constant that says how many, and one that says whether they are the first of all.
template <int rows, typename Each>
inline __attribute__((always_inline)) void tiles(int m, const Each& each) {
  const int times = (m + rows - 1) / rows;
  for (int i = 0, left = times; left > 0; --left) {
    const int own = (m - i + left - 1) / left;
    as_constant<rows>(own, [&](auto of) __attribute__((always_inline)) {
      if (i == 0) {
        each(i, of, std::true_type{});
      } else {
        each(i, of, std::false_type{});
      }
    });
    i += own;
  }
}

} // namespace vectors
