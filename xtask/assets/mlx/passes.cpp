// Passes over rows of f32 that MLX's CPU device makes of several operations each, every one with a
// pass and a dispatch of its own: a norm, a gate, and the softmax of attention's scores. On x86 its
// exponentials are taken one number at a time, too (its vectors are Apple's): they were a quarter of
// what a prompt took.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "operation.hpp"
#include "vectors.hpp"

// Named: these are compiled together with the sources of mlx-c.
namespace passes {
namespace {

using vectors::Vectors;
using namespace mlx::core;

template <int bytes>
constexpr int lanes = bytes / sizeof(float);

// x becomes e^x: 2^n times a polynomial of the rest, with the coefficients of Cephes' expf. What is
// not a number stays none.
template <int bytes>
inline __attribute__((always_inline)) void exponential(typename Vectors<bytes>::Type& x) {
  using V = typename Vectors<bytes>::Type;
  using Words = typename Vectors<bytes>::Words;
  const V least = V{} - 87.0f, most = V{} + 88.0f;
  // Added to a number of this size, the whole part is in the lower bits.
  const V magic = V{} + 12582912.0f;
  constexpr std::uint32_t magic_bits = 0x4b400000;
  x = x < least ? least : x;
  x = x > most ? most : x;
  V n = x * 1.44269504088896341f + magic;
  const Words whole = (Words)n - magic_bits;
  n -= magic;
  x -= n * 0.693359375f;
  x -= n * -2.12194440e-4f;
  V p = x * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * x + 8.3334519073e-3f;
  p = p * x + 4.1665795894e-2f;
  p = p * x + 1.6666665459e-1f;
  p = p * x + 5.0000001201e-1f;
  p = p * (x * x) + x + 1.0f;
  const Words power = (whole + 127) << 23;
  x = p * (V)power;
}

// Goes through `count` numbers of `from` a vector at a time; the last vector is filled up with
// `filler`. `to` may be `from`.
template <int bytes, typename Each>
inline __attribute__((always_inline)) void each_vector(long count, const float* from, float* to,
                                                       float filler, const Each& each) {
  using V = typename Vectors<bytes>::Type;
  long i = 0;
  for (; i + lanes<bytes> <= count; i += lanes<bytes>) {
    V numbers = *reinterpret_cast<const V*>(from + i);
    each(i, numbers);
    if (to) *reinterpret_cast<V*>(to + i) = numbers;
  }
  if (i < count) {
    V numbers = V{} + filler;
    std::memcpy(&numbers, from + i, (count - i) * sizeof(float));
    each(i, numbers);
    if (to) std::memcpy(to + i, &numbers, (count - i) * sizeof(float));
  }
}

// `count` numbers at `from`, and zeros behind them.
template <int bytes>
inline __attribute__((always_inline)) void fetch(const float* from, long count,
                                                 typename Vectors<bytes>::Type& into) {
  using V = typename Vectors<bytes>::Type;
  if (count >= lanes<bytes>) {
    into = *reinterpret_cast<const V*>(from);
    return;
  }
  into = V{};
  std::memcpy(&into, from, count * sizeof(float));
}

template <int bytes>
inline __attribute__((always_inline)) float sum(const typename Vectors<bytes>::Type& of) {
  float total = 0;
  for (int lane = 0; lane < lanes<bytes>; ++lane) total += of[lane];
  return total;
}

// x / sqrt(sum of x² + eps) × weight, of each row.
template <int bytes>
inline __attribute__((always_inline)) void norm_by(long rows, long width, float eps, const float* x,
                                                   const float* weight, float* out) {
  using V = typename Vectors<bytes>::Type;
  for (; rows > 0; --rows, x += width, out += width) {
    V squares{};
    each_vector<bytes>(width, x, nullptr, 0, [&](long, V& of_x) { squares += of_x * of_x; });
    const float scale = 1 / std::sqrt(sum<bytes>(squares) + eps);
    each_vector<bytes>(width, x, out, 0, [&](long i, V& of_x) {
      V of_weight;
      fetch<bytes>(weight + i, width - i, of_weight);
      of_x *= of_weight * scale;
    });
  }
}

// gate × sigmoid(gate) × up: a row is all of its gate, then all of its up.
template <int bytes>
inline __attribute__((always_inline)) void gate_by(long rows, long width, const float* both,
                                                   float* out) {
  using V = typename Vectors<bytes>::Type;
  for (; rows > 0; --rows, both += 2 * width, out += width) {
    each_vector<bytes>(width, both, out, 0, [&](long i, V& gate) {
      V up, power = -gate;
      fetch<bytes>(both + width + i, width - i, up);
      exponential<bytes>(power);
      gate = gate * up / (1.0f + power);
    });
  }
}

// The softmax of scale × scores over the tokens that a row sees: its own, which is the last for the
// last of each `steps` rows, and those before it, a window of them. The others get nothing.
template <int bytes>
inline __attribute__((always_inline)) void softmax_by(long rows, long tokens, long steps,
                                                      long window, float scale,
                                                      const float* scores, float* out) {
  using V = typename Vectors<bytes>::Type;
  for (long row = 0; row < rows; ++row, scores += tokens, out += tokens) {
    const long end = tokens - steps + row % steps + 1;
    const long begin = std::max(end - window, 0L), seen = end - begin;
    std::fill(out, out + begin, 0.0f);
    std::fill(out + end, out + tokens, 0.0f);
    V most = V{} + scores[begin];
    each_vector<bytes>(seen, scores + begin, nullptr, scores[begin],
                       [&](long, V& of) { most = of > most ? of : most; });
    float highest = most[0];
    for (int lane = 1; lane < lanes<bytes>; ++lane) highest = std::max(highest, most[lane]);
    V sums{};
    // What fills up the last vector is as good as infinitely far below.
    const float filler = highest - 1e6f / scale;
    each_vector<bytes>(seen, scores + begin, out + begin, filler, [&](long, V& of) {
      of = (of - highest) * scale;
      const V nothing = of < -86.0f ? V{} : V{} + 1.0f;
      exponential<bytes>(of);
      of *= nothing;
      sums += of;
    });
    const float share = 1 / sum<bytes>(sums);
    each_vector<bytes>(seen, out + begin, out + begin, 0, [&](long, V& of) { of *= share; });
  }
}

using Norm = void(long, long, float, const float*, const float*, float*);
using Gate = void(long, long, const float*, float*);
using Softmax = void(long, long, long, long, float, const float*, float*);

#if defined(__x86_64__)
#define PASSES_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma")))
#define PASSES_AVX2 __attribute__((target("avx2,fma")))

PASSES_AVX512 void norm_avx512(long rows, long width, float eps, const float* x,
                               const float* weight, float* out) {
  norm_by<64>(rows, width, eps, x, weight, out);
}

PASSES_AVX512 void gate_avx512(long rows, long width, const float* both, float* out) {
  gate_by<64>(rows, width, both, out);
}

PASSES_AVX512 void softmax_avx512(long rows, long tokens, long steps, long window, float scale,
                                  const float* scores, float* out) {
  softmax_by<64>(rows, tokens, steps, window, scale, scores, out);
}

PASSES_AVX2 void norm_avx2(long rows, long width, float eps, const float* x, const float* weight,
                           float* out) {
  norm_by<32>(rows, width, eps, x, weight, out);
}

PASSES_AVX2 void gate_avx2(long rows, long width, const float* both, float* out) {
  gate_by<32>(rows, width, both, out);
}

PASSES_AVX2 void softmax_avx2(long rows, long tokens, long steps, long window, float scale,
                              const float* scores, float* out) {
  softmax_by<32>(rows, tokens, steps, window, scale, scores, out);
}
#endif

void norm_plain(long rows, long width, float eps, const float* x, const float* weight,
                float* out) {
  norm_by<16>(rows, width, eps, x, weight, out);
}

void gate_plain(long rows, long width, const float* both, float* out) {
  gate_by<16>(rows, width, both, out);
}

void softmax_plain(long rows, long tokens, long steps, long window, float scale,
                   const float* scores, float* out) {
  softmax_by<16>(rows, tokens, steps, window, scale, scores, out);
}

struct Kernel {
  Norm* norm;
  Gate* gate;
  Softmax* softmax;
};

const Kernel& kernel() {
  static const Kernel chosen = [] {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      return Kernel{norm_avx512, gate_avx512, softmax_avx512};
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      return Kernel{norm_avx2, gate_avx2, softmax_avx2};
    }
#endif
    return Kernel{norm_plain, gate_plain, softmax_plain};
  }();
  return chosen;
}

// Reads rows that lie behind each other and writes one array.
class Pass : public Primitive {
 public:
  using Run = std::function<void(const std::vector<const float*>&, float*)>;

  Pass(Stream stream, const char* name, Run run)
      : Primitive(stream), name_(name), run_(std::move(run)) {}

  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    operation::dispatch(
        stream(), inputs, outputs[0],
        [run = run_](const std::vector<array>& rows, array& out) {
          std::vector<std::vector<float>> packed(rows.size());
          std::vector<const float*> numbers;
          for (std::size_t i = 0; i < rows.size(); ++i) {
            const bool lie_so = rows[i].flags().row_contiguous;
            if (!lie_so) {
              packed[i].resize(rows[i].size());
              operation::copy_rows(rows[i], packed[i].data());
            }
            numbers.push_back(lie_so ? rows[i].data<float>() : packed[i].data());
          }
          run(numbers, out.data<float>());
        });
  }

  void eval_gpu(const std::vector<array>&, std::vector<array>&) override {
    throw std::runtime_error("passes over rows are for the CPU");
  }

  const char* name() const override { return name_; }
  bool is_equivalent(const Primitive&) const override { return false; }

 private:
  const char* name_;
  Run run_;
};

array pass(const char* name, Shape shape, std::vector<array> inputs, Stream stream,
           Pass::Run run) {
  for (const array& input : inputs) {
    if (input.dtype() != float32 || input.ndim() == 0) {
      throw std::invalid_argument("a pass over rows takes rows of f32");
    }
  }
  auto primitive = std::make_shared<Pass>(stream, name, std::move(run));
  return array(std::move(shape), float32, std::move(primitive), std::move(inputs));
}

long rows_of(const array& x) {
  return x.shape(-1) == 0 ? 0 : static_cast<long>(x.size() / x.shape(-1));
}

array norm(const array& x, const array& weight, float eps, Stream stream) {
  if (x.ndim() == 0 || weight.ndim() != 1 || weight.shape(0) != x.shape(-1)) {
    throw std::invalid_argument("a norm's weight is as wide as the rows");
  }
  const long rows = rows_of(x), width = x.shape(-1);
  return pass("Norm", x.shape(), {x, weight}, stream, [=](const auto& from, float* out) {
    kernel().norm(rows, width, eps, from[0], from[1], out);
  });
}

array gate(const array& both, Stream stream) {
  if (both.ndim() == 0 || both.shape(-1) % 2 != 0) {
    throw std::invalid_argument("a gate and what it lets through are as wide as each other");
  }
  Shape shape = both.shape();
  shape.back() /= 2;
  const long rows = rows_of(both), width = shape.back();
  return pass("Gate", std::move(shape), {both}, stream, [=](const auto& from, float* out) {
    kernel().gate(rows, width, from[0], out);
  });
}

array softmax(const array& scores, int steps, int window, float scale, Stream stream) {
  if (scores.ndim() < 2 || steps < 1 || steps > scores.shape(-1) || window < 1 || !(scale > 0) ||
      scores.shape(-2) % steps != 0) {
    throw std::invalid_argument("scores of rows that see their own token and those before it");
  }
  const long rows = rows_of(scores), tokens = scores.shape(-1);
  return pass("CausalSoftmax", scores.shape(), {scores}, stream,
              [=](const auto& from, float* out) {
                kernel().softmax(rows, tokens, steps, window, scale, from[0], out);
              });
}

} // namespace
} // namespace passes

extern "C" int exo_norm(mlx_array* out, mlx_array x, mlx_array weight, float eps,
                        mlx_stream stream) {
  return operation::told(out, [&] {
    return passes::norm(mlx_array_get_(x), mlx_array_get_(weight), eps, mlx_stream_get_(stream));
  });
}

extern "C" int exo_gate(mlx_array* out, mlx_array both, mlx_stream stream) {
  return operation::told(
      out, [&] { return passes::gate(mlx_array_get_(both), mlx_stream_get_(stream)); });
}

extern "C" int exo_causal_softmax(mlx_array* out, mlx_array scores, int steps, int window,
                                  float scale, mlx_stream stream) {
  return operation::told(out, [&] {
    return passes::softmax(mlx_array_get_(scores), steps, window, scale, mlx_stream_get_(stream));
  });
}
