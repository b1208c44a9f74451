// Compares cblas_sgemm of libexoblas.so with plain loops: each transposition, one row, one column,
// rows with gaps between them, and a C full of NaN where beta is 0. Exits with 1 if they differ.
#include <cmath>
#include <cstdio>
#include <vector>

extern "C" void cblas_sgemm(int, int, int, int, int, int, float, const float*, int, const float*,
                            int, float, float*, int);

int main() {
  constexpr int no_trans = 111, trans = 112;
  unsigned state = 1;
  auto random = [&] { // a linear congruential generator, in -1..1
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) / (1 << 23) - 1;
  };
  int failures = 0, cases = 0;
  const int sizes[][3] = {{1, 1, 1}, {1, 7, 5}, {7, 1, 5}, {1, 300, 129}, {300, 1, 129},
                          {2, 3, 4}, {1, 5, 1}, {5, 1, 1}, {33, 17, 9}, {2, 9, 40}, {3, 14, 33}, {7, 23, 70},
                          {8, 32, 64}, {16, 12, 129}, {17, 8, 48},   {1, 4, 0}, {4, 1, 0}, {5, 9, 80},
                          {9, 13, 200}, {19, 6, 300}, {47, 5, 700}, {49, 5, 700},
                          {3, 64, 150},  {7, 144, 70}, {48, 64, 65}, {9, 80, 64}, {2, 512, 3},
                          {9, 33, 64}, {1, 9, 1100}, {5, 9, 8300}};
  for (auto [m, n, k] : sizes)
    for (int ta : {no_trans, trans})
      for (int tb : {no_trans, trans})
        for (int gap : {0, 3})
          for (float beta : {0.0f, 1.0f, -0.5f}) {
            const int lda = (ta == no_trans ? k : m) + gap + (k == 0);
            const int ldb = (tb == no_trans ? n : k) + gap + (k == 0);
            const int ldc = n + gap;
            std::vector<float> a((ta == no_trans ? m : k) * lda + 1);
            std::vector<float> b((tb == no_trans ? k : n) * ldb + 1);
            std::vector<float> c(m * ldc);
            for (auto& value : a) value = random();
            for (auto& value : b) value = random();
            for (auto& value : c) value = beta == 0 ? NAN : random();
            auto expected = c;
            const float alpha = 0.75f;
            for (int i = 0; i < m; ++i)
              for (int j = 0; j < n; ++j) {
                double sum = 0;
                for (int l = 0; l < k; ++l)
                  sum += double(ta == no_trans ? a[i * lda + l] : a[l * lda + i]) *
                         (tb == no_trans ? b[l * ldb + j] : b[j * ldb + l]);
                auto& out = expected[i * ldc + j];
                out = alpha * sum + (beta == 0 ? 0 : beta * out);
              }
            cblas_sgemm(101, ta, tb, m, n, k, alpha, a.data(), lda, b.data(), ldb, beta, c.data(),
                        ldc);
            bool good = true;
            for (int i = 0; i < m; ++i)
              for (int j = 0; j < ldc; ++j) { // the gaps too: they must be as they were
                const float x = c[i * ldc + j], y = expected[i * ldc + j];
                good &= (std::isnan(x) && std::isnan(y)) || std::fabs(x - y) < 1e-4 * (1 + k / 1000);
              }
            ++cases;
            if (!good) {
              ++failures;
              std::printf("m=%d n=%d k=%d ta=%d tb=%d gap=%d beta=%g differs\n", m, n, k, ta, tb,
                          gap, beta);
            }
          }
  std::printf("%d cases, %d failures\n", cases, failures);
  return failures != 0;
}
