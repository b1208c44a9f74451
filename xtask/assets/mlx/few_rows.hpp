// Products of few rows of A with a matrix that lies in memory: weights in a decode step of several
// sequences, and what attention looks back at. The limit is how fast the matrix comes from memory, so
// it is read once, as it lies; OpenBLAS's gemm would copy it into another order first.
//
// A B', B being n x k (weights, keys): a block of B's rows is in the first-level cache while all rows
// of A are multiplied with it, and the next ones are on their way. B may be of bf16, which is half as
// much to read: each of its numbers becomes the f32 of the same value on the way to a register.
// (K=576, N=3072, one thread of a Xeon, AVX-512, B not in the cache: 0.54 ms for 4 rows instead of
// 1.32, 0.74 for 8 instead of 1.40; one row takes 0.51. Thirteen layers of SmolLM2: 9.2 ms for 6 rows
// instead of 28, 16 for 12 instead of 29, 33 for 32 instead of 42.)
//
// A B, B being k x n (values): strips of some of B's rows are added up, each times a number of A.
// (T=2000 tokens, 64 wide, B not in the cache: 42 µs for 9 rows instead of 92, 76 for 36 instead of
// 130.)
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace few_rows {

// The upper half of an f32.
struct Bf16 {
  std::uint16_t bits;
};

// Rows of B in a block.
constexpr int block_rows = 4;

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
  typename Vectors<16>::Type four[block_rows];
#pragma GCC unroll 8
  for (int j = 0; j < block_rows; ++j) quarter<bytes>(of[j], four[j]);
#if defined(__x86_64__)
  __m128 a = (__m128)four[0], b = (__m128)four[1], c = (__m128)four[2], d = (__m128)four[3];
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(into, _mm_add_ps(_mm_add_ps(a, b), _mm_add_ps(c, d)));
#else
  for (int j = 0; j < block_rows; ++j) {
    into[j] = (four[j][0] + four[j][1]) + (four[j][2] + four[j][3]);
  }
#endif
}

// `rows` rows of A with a block of B. `fetch` says to bring a later block nearer.
template <int bytes, int rows, bool fetch, typename Number>
inline __attribute__((always_inline)) void block(int k, float alpha, const float* a, long lda,
                                                 const Number* b, long ldb, float beta, float* c,
                                                 long ldc) {
  using Vector = typename Vectors<bytes>::Type;
  constexpr int lanes = bytes / sizeof(float);
  Vector sums[rows][block_rows] = {};
  int l = 0;
  for (; l + lanes <= k; l += lanes) {
    Vector of_b[block_rows];
#pragma GCC unroll 8
    for (int j = 0; j < block_rows; ++j) {
      load<bytes>(b + j * ldb + l, of_b[j]);
      // Into the second-level cache: more can be on the way there.
      if (fetch) __builtin_prefetch(b + (j + 2 * block_rows) * ldb + l, 0, 2);
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      Vector of_a;
      load<bytes>(a + i * lda + l, of_a);
#pragma GCC unroll 8
      for (int j = 0; j < block_rows; ++j) sums[i][j] += of_a * of_b[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
    float total_of[block_rows];
    totals<bytes>(sums[i], total_of);
#pragma GCC unroll 8
    for (int j = 0; j < block_rows; ++j) {
      float total = total_of[j];
      for (int rest = l; rest < k; ++rest) total += a[i * lda + rest] * widened(b[j * ldb + rest]);
      float& out = c[i * ldc + j];
      out = alpha * total + (beta == 0 ? 0 : beta * out); // a NaN that was there must not count
    }
  }
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

// C (m x n) = alpha A B' + beta C.
template <int bytes, int rows, typename Number>
inline __attribute__((always_inline)) void multiply_by(int m, int n, int k, float alpha,
                                                       const float* a, long lda, const Number* b,
                                                       long ldb, float beta, float* c, long ldc) {
  for (int j = 0; j + block_rows <= n; j += block_rows, b += block_rows * ldb, c += block_rows) {
    tiles<rows>(m, [&](int i, auto own, auto first) __attribute__((always_inline)) {
      block<bytes, own, first>(k, alpha, a + i * lda, lda, b, ldb, beta, c + i * ldc, ldc);
    });
  }
  for (int j = 0; j < n % block_rows; ++j) {
    for (int i = 0; i < m; ++i) {
      float total = 0;
      for (int l = 0; l < k; ++l) total += a[i * lda + l] * widened(b[j * ldb + l]);
      float& out = c[i * ldc + j];
      out = alpha * total + (beta == 0 ? 0 : beta * out);
    }
  }
}

// Rows of B that are added at a time: they stay in the first-level cache while all rows of A are.
constexpr int added_rows = 64;
// Rows of A at most.
constexpr int sum_rows_max = 48;
// What the width of B is a multiple of.
constexpr int sum_columns = 16;

// Adds `count` rows of a strip of B, of so many vectors, each times a number of a row of A, to the
// sums of `rows` rows.
template <int bytes, int vectors, int rows, bool fetch>
inline __attribute__((always_inline)) void add_rows(int count, const float* a, long lda,
                                                    const float* b, long ldb, float* sums) {
  using Vector = typename Vectors<bytes>::Type;
  constexpr int lanes = bytes / sizeof(float);
  Vector of[rows][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) load<bytes>(sums + (i * vectors + v) * lanes, of[i][v]);
  }
  for (int l = 0; l < count; ++l, b += ldb) {
    Vector of_b[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      load<bytes>(b + v * lanes, of_b[v]);
      if (fetch) __builtin_prefetch(b + added_rows * ldb + v * lanes, 0, 2);
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) of[i][v] += a[i * lda + l] * of_b[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      *reinterpret_cast<Vector*>(sums + (i * vectors + v) * lanes) = of[i][v];
    }
  }
}

// A strip of C (m x n) = alpha A B + beta C.
template <int bytes, int vectors, int rows>
inline __attribute__((always_inline)) void sum_strip(int m, int k, float alpha, const float* a,
                                                     long lda, const float* b, long ldb, float beta,
                                                     float* c, long ldc) {
  constexpr int width = vectors * bytes / sizeof(float);
  float sums[sum_rows_max * width];
  std::memset(sums, 0, sizeof(float) * m * width);
  for (int l = 0; l < k; l += added_rows, b += added_rows * ldb) {
    const int count = k - l < added_rows ? k - l : added_rows;
    tiles<rows>(m, [&](int i, auto own, auto first) __attribute__((always_inline)) {
      add_rows<bytes, vectors, own, first>(count, a + i * lda + l, lda, b, ldb, sums + i * width);
    });
  }
  for (int i = 0; i < m; ++i) {
    for (int column = 0; column < width; ++column) {
      float& out = c[i * ldc + column];
      out = alpha * sums[i * width + column] + (beta == 0 ? 0 : beta * out);
    }
  }
}

// C (m x n) = alpha A B + beta C.
template <int bytes, int rows>
inline __attribute__((always_inline)) void sum_by(int m, int n, int k, float alpha, const float* a,
                                                  long lda, const float* b, long ldb, float beta,
                                                  float* c, long ldc) {
  constexpr int lanes = bytes / sizeof(float);
  static_assert(sum_columns % lanes == 0);
  int j = 0;
  for (; j + 4 * lanes <= n; j += 4 * lanes) {
    sum_strip<bytes, 4, rows>(m, k, alpha, a, lda, b + j, ldb, beta, c + j, ldc);
  }
  for (; j < n; j += lanes) {
    sum_strip<bytes, 1, rows>(m, k, alpha, a, lda, b + j, ldb, beta, c + j, ldc);
  }
}

template <int bytes>
inline __attribute__((always_inline)) void widen_by(long count, const Bf16* from, float* to) {
  using Vector = typename Vectors<bytes>::Type;
  constexpr int lanes = bytes / sizeof(float);
  long i = 0;
  for (; i + lanes <= count; i += lanes) load<bytes>(from + i, *reinterpret_cast<Vector*>(to + i));
  for (; i < count; ++i) to[i] = widened(from[i]);
}

template <typename Number>
using Multiply = void(int, int, int, float, const float*, long, const Number*, long, float, float*,
                      long);
using Widen = void(long, const Bf16*, float*);
using Sum = void(int, int, int, float, const float*, long, const float*, long, float, float*, long);

#if defined(__x86_64__)
template <typename Number>
__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))) void multiply_avx512(
    int m, int n, int k, float alpha, const float* a, long lda, const Number* b, long ldb,
    float beta, float* c, long ldc) {
  multiply_by<64, 6>(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

template <typename Number>
__attribute__((target("avx2,fma"))) void multiply_avx2(int m, int n, int k, float alpha,
                                                       const float* a, long lda, const Number* b,
                                                       long ldb, float beta, float* c, long ldc) {
  multiply_by<32, 3>(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))) inline void sum_avx512(
    int m, int n, int k, float alpha, const float* a, long lda, const float* b, long ldb, float beta,
    float* c, long ldc) {
  sum_by<64, 6>(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

__attribute__((target("avx2,fma"))) inline void sum_avx2(int m, int n, int k, float alpha,
                                                         const float* a, long lda, const float* b,
                                                         long ldb, float beta, float* c, long ldc) {
  sum_by<32, 2>(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))) inline void widen_avx512(
    long count, const Bf16* from, float* to) {
  widen_by<64>(count, from, to);
}

__attribute__((target("avx2,fma"))) inline void widen_avx2(long count, const Bf16* from,
                                                           float* to) {
  widen_by<32>(count, from, to);
}
#endif

template <typename Number>
void multiply_plain(int m, int n, int k, float alpha, const float* a, long lda, const Number* b,
                    long ldb, float beta, float* c, long ldc) {
  multiply_by<16, 2>(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

inline void widen_plain(long count, const Bf16* from, float* to) {
  widen_by<16>(count, from, to);
}

struct Kernel {
  Multiply<float>* multiply;
  Multiply<Bf16>* multiply_bf16;
  Widen* widen;
  // With more rows OpenBLAS's copy pays, and the sooner the shorter they are: as many as a row has
  // columns for each, and no more than this.
  int columns_each, rows_max;

  // OpenBLAS shares what it multiplies among threads, if it has several.
  bool takes(int m, int k, bool alone) const {
    return m <= (alone ? rows_max : rows_max / 3) && m <= k / columns_each;
  }

  // A B, B being as wide as a head.
  Sum* sum;
  int sum_rows; // as far as OpenBLAS takes longer

  bool sums(int m, int n) const { return m <= sum_rows && n <= 512 && n % sum_columns == 0; }
};

inline const Kernel& kernel() {
  static const Kernel chosen = [] {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      return Kernel{multiply_avx512<float>, multiply_avx512<Bf16>, widen_avx512, 3, 48, sum_avx512,
                    sum_rows_max};
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      return Kernel{multiply_avx2<float>, multiply_avx2<Bf16>, widen_avx2, 4, 24, sum_avx2, 9};
    }
#endif
    return Kernel{multiply_plain<float>, multiply_plain<Bf16>, widen_plain, 14, 8, nullptr, 0};
  }();
  return chosen;
}

} // namespace few_rows
