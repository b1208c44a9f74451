// A B' with few rows of A, B being n x k (weights, keys): a block of B's rows is in the first-level
// cache while all rows of A are multiplied with it, and the next ones are on their way. B may be of
// bf16, which is half as much to read: each of its numbers becomes the f32 of the same value on the
// way to a register.
//
// (K=576, N=3072, one thread of a Xeon, AVX-512, B not in the cache: 0.54 ms for 4 rows instead of
// 1.32, 0.74 for 8 instead of 1.40; one row takes 0.51. Thirteen layers of SmolLM2: 9.2 ms for 6 rows
// instead of 28, 16 for 12 instead of 29, 33 for 32 instead of 42.)
#pragma once

#include "vectors.hpp"

namespace few_rows {

using namespace vectors;

// Rows of B in a block.
constexpr int block_rows = 4;
static_assert(block_rows == 4, "totals takes four sums at once");

// Bytes of a row of B up to which a later block is fetched. The processor fetches by itself within a
// page of 4 KiB, which is enough where one row of A leaves it nothing else to do; and a block that is
// too far away is gone again before it is wanted. (One row, f32, one thread of a Xeon, AVX-512:
// K=576 18.1 GB/s instead of 16.7 without and 15.3 by OpenBLAS's gemv; K=14336 15.2 instead of 19.4
// and 15.9. Four rows: K=4096 15.3 instead of 14.1, K=14336 10.4 instead of 14.9.)
constexpr long fetched_for_one = 4 << 10, fetched = 32 << 10;

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

// C (m x n) = alpha A B' + beta C.
template <int bytes, int rows, typename Number>
inline __attribute__((always_inline)) void multiply_by(int m, int n, int k, float alpha,
                                                       const float* a, long lda, const Number* b,
                                                       long ldb, float beta, float* c, long ldc) {
  const auto blocks = [&](auto fetch) __attribute__((always_inline)) {
    for (int j = 0; j + block_rows <= n; j += block_rows, b += block_rows * ldb, c += block_rows) {
      tiles<rows>(m, [&](int i, auto own, auto first) __attribute__((always_inline)) {
        block<bytes, own, fetch && first>(k, alpha, a + i * lda, lda, b, ldb, beta, c + i * ldc,
                                          ldc);
      });
    }
  };
  if (static_cast<long>(sizeof(Number)) * k <= (m == 1 ? fetched_for_one : fetched)) {
    blocks(std::true_type{});
  } else {
    blocks(std::false_type{});
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

// Adds to `sums` the products of `rows` rows of A with `count` vectors of B, from column `l` on.
template <int bytes, int rows, int times, int count, typename Number>
inline __attribute__((always_inline)) void step(int l, const float* a, long lda, const Number* b,
                                                typename Vectors<bytes>::Type (&sums)[rows][times]) {
  using Vector = typename Vectors<bytes>::Type;
  constexpr int lanes = bytes / sizeof(float);
  Vector of_b[count];
#pragma GCC unroll 8
  for (int t = 0; t < count; ++t) load<bytes>(b + l + t * lanes, of_b[t]);
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 8
    for (int t = 0; t < count; ++t) {
      Vector of_a;
      load<bytes>(a + i * lda + l + t * lanes, of_a);
      sums[i][t] += of_a * of_b[t];
    }
  }
}

// `rows` rows of A with one of B, `times` vectors of it at once.
template <int bytes, int rows, int times, typename Number>
inline __attribute__((always_inline)) void row(int k, float alpha, const float* a, long lda,
                                               const Number* b, float beta, float* c, long ldc) {
  using Vector = typename Vectors<bytes>::Type;
  constexpr int lanes = bytes / sizeof(float);
  Vector sums[rows][times] = {};
  int l = 0;
  for (; l + times * lanes <= k; l += times * lanes) {
    step<bytes, rows, times, times>(l, a, lda, b, sums);
  }
  for (; l + lanes <= k; l += lanes) step<bytes, rows, times, 1>(l, a, lda, b, sums);
  static_assert(rows <= 4, "totals takes four sums at once");
  Vector whole[4] = {};
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 8
    for (int t = 0; t < times; ++t) whole[i] += sums[i][t];
  }
  float total_of[4];
  totals<bytes>(whole, total_of);
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
    float total = total_of[i];
    for (int rest = l; rest < k; ++rest) total += a[i * lda + rest] * widened(b[rest]);
    float& out = c[i * ldc];
    out = alpha * total + (beta == 0 ? 0 : beta * out);
  }
}

// As multiply_by, B being read as one stream, row after row: what a processor fetches by itself.
template <int bytes, int rows, int times, typename Number>
inline __attribute__((always_inline)) void multiply_in_turn(int m, int n, int k, float alpha,
                                                            const float* a, long lda,
                                                            const Number* b, long ldb, float beta,
                                                            float* c, long ldc) {
  for (int j = 0; j < n; ++j, b += ldb, ++c) {
    tiles<rows>(m, [&](int i, auto own, auto) __attribute__((always_inline)) {
      row<bytes, own, times>(k, alpha, a + i * lda, lda, b, beta, c + i * ldc, ldc);
    });
  }
}

} // namespace few_rows
