// The step with AVX2, FMA and F16C: x86 since about 2013.

#if defined(__x86_64__) || defined(_M_X64)
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#include <immintrin.h>

#include "step.h"

#define PUNA_AVX2

namespace puna {
namespace avx2 {

// Rows and columns of a tile: as many as there are registers for.
constexpr int TALL = 2, WIDE = 2, TALL_BYTES = 4, TALL_GROUPS = 4, WIDE_CODES = 1;

#include "numbers.h"

#include "simd.h"

#include "kernels.h"

}  // namespace avx2

Run run_avx2() { return avx2::run; }

}  // namespace puna

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
#include "step.h"

namespace puna {
Run run_avx2() { return nullptr; }
}  // namespace puna
#endif
