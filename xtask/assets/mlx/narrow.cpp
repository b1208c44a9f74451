// Products of f32 with a matrix that lies in memory in bf16: an operation that MLX does not have. Its
// own product would first make a copy of the matrix in f32, each time. Most checkpoints are in bf16,
// and every bf16 is an f32 of the same value, so nothing but the order of sums differs from a matrix
// that was widened when it was read, at half the memory; and a decode step, whose limit is how fast
// weights come from memory, reads half as much.
#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

#include "few_rows.hpp"
#include "operation.hpp"

extern "C" void cblas_sgemm(int, int, int, int, int, int, float, const float*, int, const float*,
                            int, float, float*, int);

// Named: these are compiled together with the sources of mlx-c.
namespace narrow {
namespace {

using few_rows::Bf16;
using namespace mlx::core;

constexpr int row_major = 101, no_trans = 111, trans = 112;
// Numbers of the matrix that are widened at a time for products of many rows: they stay in the
// third-level cache until they are multiplied. BLAS copies all of A for each product, so many small
// ones cost more than what is won by staying nearer. (M=512, one thread of an EPYC, AVX2: with 128 Ki
// numbers 8.9 ms for K=576, N=960 and 13.9 for K=1536, N=576; with 1 Mi 7.5 and 11.9, as in f32.)
constexpr int widened_at_once = 1 << 20;

// C (m x n) = A (m x k) B' + beta C, B being n x k.
void product(int m, int n, int k, const float* a, long lda, const Bf16* b, float beta, float* c) {
  const few_rows::Kernel& few = few_rows::kernel();
  if (m == 1 || k == 0 || few.takes(m, k, true)) {
    few.multiply_bf16(m, n, k, 1, a, lda, b, k, beta, c, n);
    return;
  }
  const int most = std::min(std::max(widened_at_once / std::max(k, 1), 1), n);
  const auto wide = std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(most) * k);
  for (int first = 0; first < n; first += most) {
    const int rows = std::min(most, n - first);
    few.widen(static_cast<long>(rows) * k, b + static_cast<long>(first) * k, wide.get());
    cblas_sgemm(row_major, no_trans, trans, m, rows, k, 1, a, lda, wide.get(), k, beta, c + first,
                n);
  }
}

// Inputs: A (m x k, f32), B (n x k, bf16), and perhaps C (m x n, f32), which is added.
class NarrowMatmul : public Primitive {
 public:
  using Primitive::Primitive;

  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    operation::dispatch(stream(), inputs, outputs[0], [](const std::vector<array>& of, array& out) {
      const array &a = of[0], &b = of[1];
      const int m = a.shape(0), k = a.shape(1), n = b.shape(0);
      float* c = out.data<float>();
      if (of.size() == 3) operation::copy_rows(of[2], c);
      const float* rows = a.data<float>();
      long lda = m == 1 ? k : a.strides(0);
      std::vector<float> packed;
      // BLAS takes no rows that overlap, as those of one row that stands for many.
      if ((a.strides(1) != 1 && k != 1) || lda < k) {
        packed.resize(a.size());
        operation::copy_rows(a, packed.data());
        rows = packed.data();
        lda = k;
      }
      product(m, n, k, rows, lda, reinterpret_cast<const Bf16*>(b.data<bfloat16_t>()),
              of.size() == 3 ? 1 : 0, c);
    });
  }

  void eval_gpu(const std::vector<array>&, std::vector<array>&) override {
    throw std::runtime_error("products with a narrow matrix are for the CPU");
  }

  const char* name() const override { return "NarrowMatmul"; }
  bool is_equivalent(const Primitive&) const override { return true; }
};

array matmul(const array& a, const array& b, const array* c, Stream stream) {
  auto is = [](const array& x, Dtype dtype) { return x.ndim() == 2 && x.dtype() == dtype; };
  if (!is(a, float32) || !is(b, bfloat16) || a.shape(1) != b.shape(1) ||
      (c && (!is(*c, float32) || c->shape(0) != a.shape(0) || c->shape(1) != b.shape(0)))) {
    throw std::invalid_argument("a product with a narrow matrix: f32 rows and bf16 that fit");
  }
  if (!b.flags().row_contiguous) {
    throw std::invalid_argument("a narrow matrix has to lie in memory row by row");
  }
  std::vector<array> inputs{a, b};
  if (c) inputs.push_back(*c);
  return array(Shape{a.shape(0), b.shape(0)}, float32, std::make_shared<NarrowMatmul>(stream),
               std::move(inputs));
}

} // namespace
} // namespace narrow

// `c` may be an empty handle.
extern "C" int exo_narrow_matmul(mlx_array* out, mlx_array a, mlx_array b, mlx_array c,
                                 mlx_stream stream) {
  return operation::told(out, [&] {
    const mlx::core::array* added = c.ctx ? &mlx_array_get_(c) : nullptr;
    return narrow::matmul(mlx_array_get_(a), mlx_array_get_(b), added, mlx_stream_get_(stream));
  });
}
