// The step for one set of instructions: what includes this says which, in PUNA_LEVEL (its name),
// PUNA_TARGET (as compilers write it), PUNA_TILES (rows and columns of a tile: as many as there are
// registers for) and what simd.h and kernels.h ask for.

#include <cmath>
#include <cstring>
#include <limits>

#define PUNA_TEXT(x) #x
#define PUNA_PRAGMA(x) _Pragma(PUNA_TEXT(x))
#if defined(__clang__)
PUNA_PRAGMA(clang attribute push(__attribute__((target(PUNA_TARGET))), apply_to = function))
#else
PUNA_PRAGMA(GCC target(PUNA_TARGET))
#endif
#include <immintrin.h>

#include "step.h"

namespace puna {
namespace PUNA_LEVEL {

constexpr int PUNA_TILES;

#include "numbers.h"

#include "simd.h"

#include "kernels.h"

}  // namespace PUNA_LEVEL

#define PUNA_JOIN(a, b) a##b
#define PUNA_RUN(level) PUNA_JOIN(run_, level)
Run PUNA_RUN(PUNA_LEVEL)() { return PUNA_LEVEL::run; }

}  // namespace puna

#if defined(__clang__)
#pragma clang attribute pop
#endif
