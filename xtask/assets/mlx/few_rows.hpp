// Products of few rows of A with a matrix that lies in memory: weights in a decode step, and what
// attention looks back at. The limit is how fast the matrix comes from memory, so it is read once, as
// it lies; OpenBLAS's gemm would copy it into another order first.
//
// This file chooses for the processor; transposed.hpp has A B', summed.hpp A B.
#pragma once

#include <cstdlib>
#include <cstring>

#include "summed.hpp"
#include "transposed.hpp"

namespace few_rows {

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
  // (One thread of an EPYC without AVX-512, large pages, all weights of SmolLM2 once, medians of five
  // turns. f32: 40 ms for one row instead of 50 by blocks; 4 rows as fast either way, 12 slower. bf16:
  // one row as fast either way, 36 ms instead of 48 for 4 rows, 55 instead of 69 for 8, 107 instead of
  // 142 for 16.)
  if (m == 1) {
    multiply_in_turn<32, 1, 8>(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  } else if constexpr (std::is_same_v<Number, Bf16>) {
    multiply_in_turn<32, 4, 2>(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  } else {
    multiply_by<32, 3>(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  }
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
  // Whether one row is faster than by OpenBLAS.
  bool one_row;

  // OpenBLAS shares what it multiplies among threads, if it has several; one row by reading B as it
  // lies, as this does.
  bool takes(int m, int k, bool alone) const {
    if (m == 1) return alone && one_row;
    return m <= (alone ? rows_max : rows_max / 3) && m <= k / columns_each;
  }

  // A B, B being as wide as a head.
  Sum* sum;
  int sum_rows; // as far as OpenBLAS takes longer

  bool sums(int m, int n) const { return m <= sum_rows && n <= 512 && n % sum_columns == 0; }
};

inline const Kernel& kernel() {
  static const Kernel chosen = [] {
    // OpenBLAS alone, as a program has it that is not ours.
    const char* none = std::getenv("EXO_BLAS_KERNELS");
    if (none && std::strcmp(none, "none") == 0) {
      return Kernel{multiply_plain<float>, multiply_plain<Bf16>, widen_plain, 1, 0, false, nullptr, 0};
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      return Kernel{multiply_avx512<float>, multiply_avx512<Bf16>, widen_avx512, 3, 48, true,
                    sum_avx512, sum_rows_max};
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      return Kernel{multiply_avx2<float>, multiply_avx2<Bf16>, widen_avx2, 4, 24, true, sum_avx2, 9};
    }
#endif
    return Kernel{multiply_plain<float>, multiply_plain<Bf16>, widen_plain, 14, 8, false, nullptr, 0};
  }();
  return chosen;
}

} // namespace few_rows
