// mlx-rs seeds its random state from a clock that only Darwin has (declared by the mach-sys crate).
#include <chrono>
#include <cstdint>

extern "C" std::uint64_t mach_approximate_time() {
  using namespace std::chrono;
  return static_cast<std::uint64_t>(
      duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count());
}
