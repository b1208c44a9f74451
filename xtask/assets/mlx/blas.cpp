// MLX's Linux wheel brings the reference BLAS along, a triple loop. The three entry points that MLX
// calls are defined again here, on OpenBLAS: this library comes before libmlx.so in the dynamic
// linker's search order (libmlxc.so needs it first; LD_PRELOAD does the same for Python), so MLX's
// own calls land here. Products of one and of few rows, as decode steps have them, are answered
// otherwise: see below and few_rows.hpp.
#include <algorithm>
#include <cstdlib>

#include "few_rows.hpp"

extern "C" {
void scipy_openblas_set_num_threads(int);
int scipy_openblas_get_num_threads();
void scipy_cblas_sgemm(int, int, int, int, int, int, float, const float*, int, const float*, int,
                       float, float*, int);
void scipy_cblas_sgemv(int, int, int, int, float, const float*, int, const float*, int, float,
                       float*, int);
void scipy_cblas_dgemm(int, int, int, int, int, int, double, const double*, int, const double*, int,
                       double, double*, int);
void scipy_cblas_cgemm(int, int, int, int, int, int, const void*, const void*, int, const void*,
                       int, const void*, void*, int);
}

namespace {

constexpr int row_major = 101, no_trans = 111, trans = 112;

bool one_thread = true;

// An MLX stream computes on one thread, and a node's other threads have work of their own, so
// OpenBLAS gets one thread too unless the environment says otherwise. OpenBLAS has read its
// variables by now: a library's constructors run after those of the libraries it needs.
__attribute__((constructor)) void one_thread_by_default() {
  if (!std::getenv("OPENBLAS_NUM_THREADS") && !std::getenv("OMP_NUM_THREADS")) {
    scipy_openblas_set_num_threads(1);
  }
  one_thread = scipy_openblas_get_num_threads() == 1;
}

// y (of `n` elements) = alpha * op(A) x + beta * y, A being rows x columns as stored.
void gemv(int op, int rows, int columns, float alpha, const float* a, int lda, const float* x,
          int incx, float beta, float* y, int incy, int n) {
  if (beta == 0) { // whatever is in y, NaN too, must not count
    if (incy == 1) {
      std::fill_n(y, n, 0.0f);
    } else {
      for (int i = 0; i < n; ++i) y[static_cast<long>(i) * incy] = 0;
    }
    beta = 1;
  }
  scipy_cblas_sgemv(row_major, op, rows, columns, alpha, a, lda, x, incx, beta, y, incy);
}

} // namespace

extern "C" {

// C = alpha * op(A) op(B) + beta * C, op(A) being m x k and op(B) k x n.
//
// A decode step of one sequence is products of one row, which read each weight once: the speed of
// memory is the limit. OpenBLAS's gemm copies the weights into another order first; where the kernels
// of few_rows.hpp do not take one row, its gemv reads them as they lie, three to four times as fast
// (one thread, AVX2: K=576, N=49152 in 4.7 ms instead of 19; K=576, N=1536 in 0.18 ms instead of
// 0.52, from memory).
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                 const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc) {
  const few_rows::Kernel& few = few_rows::kernel();
  const bool transposed = order == row_major && trans_a == no_trans && trans_b == trans && k > 0;
  if (transposed && alpha != 0 && m > 0 && n > 1 && few.takes(m, k, one_thread)) {
    few.multiply(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return;
  }
  if (order == row_major && k > 0 && m == 1 && n > 0) {
    // C' = op(B)' A': B is n x k as stored when it is transposed, and that is what gemv wants.
    const int incx = trans_a == no_trans ? 1 : lda;
    if (trans_b == no_trans) {
      gemv(trans, k, n, alpha, b, ldb, a, incx, beta, c, 1, n);
    } else {
      gemv(no_trans, n, k, alpha, b, ldb, a, incx, beta, c, 1, n);
    }
    return;
  }
  if (order == row_major && k > 0 && n == 1 && m > 0) {
    const int incx = trans_b == no_trans ? ldb : 1;
    if (trans_a == no_trans) {
      gemv(no_trans, m, k, alpha, a, lda, b, incx, beta, c, ldc, m);
    } else {
      gemv(trans, k, m, alpha, a, lda, b, incx, beta, c, ldc, m);
    }
    return;
  }
  if (order == row_major && trans_a == no_trans && trans_b == no_trans && k > 0 && m > 1 &&
      few.sums(m, n)) {
    few.sum(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return;
  }
  scipy_cblas_sgemm(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void cblas_dgemm(int order, int trans_a, int trans_b, int m, int n, int k, double alpha,
                 const double* a, int lda, const double* b, int ldb, double beta, double* c,
                 int ldc) {
  scipy_cblas_dgemm(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void cblas_cgemm(int order, int trans_a, int trans_b, int m, int n, int k, const void* alpha,
                 const void* a, int lda, const void* b, int ldb, const void* beta, void* c,
                 int ldc) {
  scipy_cblas_cgemm(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}
