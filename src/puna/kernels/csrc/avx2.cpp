// The step with AVX2, FMA and F16C: x86 since about 2013.

#if defined(__x86_64__) || defined(_M_X64)

#define PUNA_LEVEL avx2
#define PUNA_TARGET "avx2,fma,f16c"
#define PUNA_TILES TALL = 2, WIDE = 2, TALL_BYTES = 4, TALL_GROUPS = 4, WIDE_CODES = 1
#define PUNA_AVX2
#include "level.h"

#else

#include "step.h"

namespace puna {
Run run_avx2() { return nullptr; }
}  // namespace puna

#endif
