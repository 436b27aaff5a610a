// The step on any processor.

#include <cmath>
#include <cstring>
#include <limits>

#include "step.h"

namespace puna {
namespace portable {

// Rows and columns of a tile: as many as there are registers for.
constexpr int TALL = 2, WIDE = 2, TALL_BYTES = 4, TALL_GROUPS = 4, WIDE_CODES = 1;

#include "numbers.h"

#include "simd.h"

#include "kernels.h"

}  // namespace portable

Run run_portable() { return portable::run; }

}  // namespace puna
