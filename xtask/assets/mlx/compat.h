/* The C side of compat.hpp, for bindgen; float16_t itself is written out in Rust by mlx_linux.rs. */
#define MLX_HALF_H
#define HAS_FLOAT16
#define HAS_BFLOAT16
typedef struct {
  unsigned short bits;
} float16_t;
typedef unsigned short bfloat16_t;
