// The operations of a step over the vectors of simd.h; included inside a namespace of its own.

// ---- rows and spans ---------------------------------------------------------------------------

template <class T>
inline T min_of(T a, T b) {
  return b < a ? b : a;
}
template <class T>
inline T max_of(T a, T b) {
  return a < b ? b : a;
}

inline int32_t begin(Share share, int32_t count) { return int64_t(count) * share.thread / share.threads; }
inline int32_t end(Share share, int32_t count) {
  return int64_t(count) * (share.thread + 1) / share.threads;
}

struct Rows {
  const int32_t* index;  // null: row r is row r
  int32_t count;
  int32_t per = 1;  // rows that share one row of the input
  int32_t operator[](int32_t r) const { return index ? index[r] : r; }
  int32_t input(int32_t r) const { return per == 1 ? (*this)[r] : (*this)[r] / per; }
};

inline Rows rows_of(const Op& op, const Step& s) {
  if (op.rows == -1) return {nullptr, s.tokens};
  if (op.rows == -2) return {nullptr, s.due};
  if (op.rows == -3) return {nullptr, s.tokens * op.spread};
  return {s.subset[op.rows], s.subset_count[op.rows]};
}

// Where the picks stand that SORT has sorted for all rows, or for those of an adapter.
inline int32_t* sorted_of(const Op& op, const Step& s) {
  int64_t set = op.rows < 0 ? 0 : 1 + op.rows;
  return s.sorted + set * s.tokens * op.spread;
}
inline int32_t* bounds_of(const Op& op, const Step& s) {
  int64_t set = op.rows < 0 ? 0 : 1 + op.rows;
  return s.bounds + set * (op.experts + 1);
}

inline float* at(const Step& s, int32_t buffer, int64_t row, int32_t column) {
  return s.buffers[buffer] + row * s.strides[buffer] + column;
}

inline int64_t code_stride(int32_t k) { return (int64_t(k) + 63) / 64 * 64; }

// Calls f(F from, to) over n columns, sixteen at a time; the last ones by way of a copy.
template <class Fn>
inline void each(int32_t n, const float* a, const float* b, float* out, Fn f) {
  int32_t i = 0;
  for (; i + LANES <= n; i += LANES) store(out + i, f(load(a + i), load(b + i)));
  if (i < n) {
    float x[LANES] = {}, y[LANES] = {}, z[LANES];
    for (int32_t j = i; j < n; j++) x[j - i] = a[j], y[j - i] = b[j];
    store(z, f(load(x), load(y)));
    for (int32_t j = i; j < n; j++) out[j] = z[j - i];
  }
}

// The share of a thread of rows × n columns, as stretches within rows.
template <class Fn>
inline void stretches(const Op& op, const Step& s, Share share, Fn f) {
  Rows rows = rows_of(op, s);
  int32_t blocks = (op.n + 63) / 64;
  int64_t all = int64_t(rows.count) * blocks;
  int64_t first = all * share.thread / share.threads, last = all * (share.thread + 1) / share.threads;
  while (first < last) {
    int32_t r = int32_t(first / blocks), block = int32_t(first % blocks);
    int32_t upto = int32_t(min_of<int64_t>(blocks, block + last - first));
    f(rows[r], block * 64, min_of(op.n, upto * 64));
    first += upto - block;
  }
}

// ---- functions --------------------------------------------------------------------------------

// c[0]·xⁿ⁻¹ + … + c[n - 1]
template <int n>
inline F polynomial(F x, const float (&c)[n]) {
  F p = set(c[0]);
#pragma GCC unroll 8
  for (int i = 1; i < n; i++) p = fma(p, x, set(c[i]));
  return p;
}

// e^x: 2^n times a Taylor polynomial on |r| ≤ ln2 / 2; relative error below 1e-7.
inline F exponential(F x) {
  x = min(max(x, set(-87.0f)), set(88.0f));
  F n = nearest(x * set(1.44269504088896341f));
  F r = fma(n, set(-0.693145751953125f), x);
  r = fma(n, set(-1.42860682030941723e-6f), r);
  const float taylor[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  return polynomial(r, taylor) * power(n);
}

inline F hyperbolic_tangent(F x) {  // 1 - 2 / (e^2x + 1), which loses nothing that matters near 0
  return set(1.0f) - set(2.0f) / (exponential(x + x) + set(1.0f));
}

inline F sigmoid(F x) { return set(1.0f) / (set(1.0f) + exponential(set(0.0f) - x)); }

// 1 - erf(|x|) by Abramowitz & Stegun 7.1.26; absolute error below 1.5e-7.
inline F gelu(F x) {
  F y = x * set(0.70710678118654752f), size = max(y, set(0.0f) - y);
  F t = set(1.0f) / fma(size, set(0.3275911f), set(1.0f));
  const float terms[] = {1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f, 0.0f};
  F rest = polynomial(t, terms) * exponential(set(0.0f) - size * size);  // erfc(|y|)
  F positive = max(x, set(0.0f)), half = set(0.5f) * rest;
  return positive - half * max(x, set(0.0f) - x);
}

inline F gelu_tanh(F x) {
  F inner = set(0.79788456080286536f) * fma(set(0.044715f) * x * x, x, x);
  return set(0.5f) * x * (set(1.0f) + hyperbolic_tangent(inner));
}

inline F act(int32_t kind, F x) {
  switch (kind) {
    case SILU: return x * sigmoid(x);
    case GELU: return gelu(x);
    case GELU_TANH: return gelu_tanh(x);
    case RELU: return max(x, set(0.0f));
    default: return x;
  }
}

// ---- products ---------------------------------------------------------------------------------

template <int32_t format>
struct Weights;
template <>
struct Weights<F32> {
  using Number = float;
  static F get(const float* p) { return load(p); }
  static float one(float x) { return x; }
};
template <>
struct Weights<F16> {
  using Number = uint16_t;
  static F get(const uint16_t* p) { return load_f16(p); }
  static float one(uint16_t x) { return from_half(x); }
};
template <>
struct Weights<BF16> {
  using Number = uint16_t;
  static F get(const uint16_t* p) { return load_bf16(p); }
  static float one(uint16_t x) { return from_bf16(x); }
};

struct Out {
  const Op& op;
  const Step& s;
  const float* bias;
  void put(int32_t row, int32_t column, float value) const {
    float* place = at(s, op.out, row, op.out_col + column);
    value = value * op.a + (bias ? bias[column] : 0.0f);
    *place = op.add ? *place + value : value;
  }
  void put(int32_t row, int32_t column, F value) const {  // sixteen columns, cut at n
    float* place = at(s, op.out, row, op.out_col + column);
    if (column + LANES <= op.n) {
      value = value * set(op.a);
      if (bias) value = value + load(bias + column);
      store(place, op.add ? load(place) + value : value);
      return;
    }
    float cut[LANES];
    store(cut, value);
    for (int32_t i = 0; column + i < op.n; i++) put(row, column + i, cut[i]);
  }
};

// MB rows of the input times NB rows of a float weight, both [.., k]; lanes run along k.
template <class X, class W, int MB, int NB>
inline void float_tile(const typename X::Number* const* x, const typename W::Number* w, int64_t k,
                       const Out& out, const int32_t* rows, int32_t n) {
  F acc[MB][NB];
#pragma GCC unroll 8
  for (int m = 0; m < MB; m++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) acc[m][j] = set(0.0f);
  int64_t i = 0;
  for (; i + LANES <= k; i += LANES) {
    F right[NB];
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) right[j] = W::get(w + j * k + i);
#pragma GCC unroll 8
    for (int m = 0; m < MB; m++) {
      F left = X::get(x[m] + i);
#pragma GCC unroll 8
      for (int j = 0; j < NB; j++) acc[m][j] = fma(left, right[j], acc[m][j]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < MB; m++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) {
      float total = sum(acc[m][j]);
      for (int64_t t = i; t < k; t++) total += X::one(x[m][t]) * W::one(w[j * k + t]);
      out.put(rows[m], n + j, total);
    }
}

template <class X, class W, int MB>
inline void float_rows(const typename X::Number* const* x, const typename W::Number* w, int64_t k,
                       const Out& out, const int32_t* rows, int32_t n0, int32_t n1) {
  constexpr int NB = MB == 1 ? 4 : WIDE;
  int32_t n = n0;
  for (; n + NB <= n1; n += NB) float_tile<X, W, MB, NB>(x, w + n * k, k, out, rows, n);
  for (; n < n1; n++) float_tile<X, W, MB, 1>(x, w + n * k, k, out, rows, n);
}

// Input X and weights W of float kinds: a panel of weights stays near while all rows pass by it.
template <class X, class W>
inline void float_linear(const Op& op, const Step& s, Share share, const Rows& rows,
                         const typename X::Number* base, int64_t stride) {
  const auto* w = static_cast<const typename W::Number*>(op.p0);
  Out out{op, s, static_cast<const float*>(op.p1)};
  int32_t blocks = (op.n + 15) / 16;
  int32_t n0 = begin(share, blocks) * 16, n1 = min_of(op.n, end(share, blocks) * 16);
  constexpr int32_t PANEL = 16;
  for (int32_t n = n0; n < n1; n += PANEL) {
    int32_t upto = min_of(n1, n + PANEL);
    for (int32_t m = 0; m < rows.count;) {
      const typename X::Number* x[TALL];
      int32_t index[TALL];
      int32_t many = rows.count - m >= TALL ? TALL : 1;
      for (int32_t i = 0; i < many; i++) {
        index[i] = rows[m + i];
        x[i] = base + rows.input(m + i) * stride;
      }
      if (many == TALL)
        float_rows<X, W, TALL>(x, w, op.k, out, index, n, upto);
      else
        float_rows<X, W, 1>(x, w, op.k, out, index, n, upto);
      m += many;
    }
  }
}

// Weights of whole numbers lie in blocks of 16 rows: for each four columns, 16 × 4 bytes (two times
// four columns where a byte holds two codes). Codes are unsigned, with `op.b` as their zero.

// One row-wise scale: whole numbers all the way.
template <int MB, int NB>
inline void byte_tile(const int8_t* const* x, const uint8_t* w, int64_t fours, const Out& out,
                      const int32_t* rows, const int32_t* start, const float* left,
                      const float* scale, int32_t n) {
  I acc[MB][NB];
#pragma GCC unroll 8
  for (int m = 0; m < MB; m++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) acc[m][j] = set_i(start[m]);
  for (int64_t i = 0; i < fours; i++) {
    Codes c[NB];
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) c[j] = load_codes(w + (j * fours + i) * 64);
#pragma GCC unroll 8
    for (int m = 0; m < MB; m++) {
      int32_t four;
      std::memcpy(&four, x[m] + 4 * i, 4);
#pragma GCC unroll 8
      for (int j = 0; j < NB; j++) acc[m][j] = dot(acc[m][j], c[j], four);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < MB; m++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++)
      out.put(rows[m], n + 16 * j, to_float(acc[m][j]) * (load(scale + n + 16 * j) * set(left[m])));
}

struct Groups {
  int32_t count, size;  // of columns
  int32_t zero;
  const uint16_t* scale;  // [blocks, count, 16] float16
  const uint16_t* low;    // likewise what a code of 0 stands for, or null
};

// The code book of NF4 (Dettmers et al. 2023), 127 for 1, around 128.
alignas(16) static const uint8_t NORMAL[16] = {1,   40,  61,  78,  92,  105, 116, 128,
                                               138, 148, 159, 171, 184, 199, 220, 255};

// A scale per group of columns: floats from group to group.
template <int format, int MB, int NB>
inline void group_tile(const int8_t* const* x, const uint8_t* w, const Groups& g, const Out& out,
                       const int32_t* rows, const int32_t* const* sums, const float* const* left,
                       int32_t n) {
  constexpr int PER = format == G8 ? 4 : 8;  // columns in 64 bytes
  int64_t steps = g.size / PER, panel = int64_t(g.count) * steps * 64;
  int64_t block = n / 16;
  F total[MB][NB];
#pragma GCC unroll 8
  for (int m = 0; m < MB; m++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) total[m][j] = set(0.0f);
  for (int32_t group = 0; group < g.count; group++) {
    I acc[MB][NB];
#pragma GCC unroll 8
    for (int m = 0; m < MB; m++)
#pragma GCC unroll 8
      for (int j = 0; j < NB; j++) acc[m][j] = set_i(-g.zero * sums[m][group]);
    for (int64_t i = 0; i < steps; i++) {
      int64_t place = group * steps + i;
#pragma GCC unroll 8
      for (int j = 0; j < NB; j++) {
        Codes c = load_codes(w + j * panel + place * 64);
#pragma GCC unroll 8
        for (int m = 0; m < MB; m++) {
          int32_t four[2];
          std::memcpy(four, x[m] + PER * place, PER);
          if (format == G4) {
            acc[m][j] = dot_small(acc[m][j], low(c), four[0]);
            acc[m][j] = dot_small(acc[m][j], high(c), four[1]);
          } else if (format == N4) {
            acc[m][j] = dot(acc[m][j], entries(NORMAL, low(c)), four[0]);
            acc[m][j] = dot(acc[m][j], entries(NORMAL, high(c)), four[1]);
          } else {
            acc[m][j] = dot(acc[m][j], c, four[0]);
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) {
      int64_t lane = ((block + j) * g.count + group) * 16;
      F scale = load_f16(g.scale + lane);
      if (format == N4) scale = scale * set(1.0f / 127.0f);
#pragma GCC unroll 8
      for (int m = 0; m < MB; m++)
        total[m][j] = fma(to_float(acc[m][j]), scale * set(left[m][group]), total[m][j]);
      if (g.low) {
        F low = load_f16(g.low + lane);
#pragma GCC unroll 8
        for (int m = 0; m < MB; m++)
          total[m][j] = fma(low, set(left[m][group] * float(sums[m][group])), total[m][j]);
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < MB; m++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) out.put(rows[m], n + 16 * j, total[m][j]);
}

// The rows of a tile and what belongs to them.
template <int MB>
struct Tile {
  const int8_t* x[MB];
  int32_t rows[MB];
  const int32_t* sums[MB];
  const float* left[MB];
  int32_t start[MB];
  float scale[MB];

  Tile(const Step& s, const Rows& rows_of_op, int32_t m, int64_t stride, int32_t groups, int32_t zero) {
    for (int i = 0; i < MB; i++) {
      rows[i] = rows_of_op[m + i];
      int64_t row = rows_of_op.input(m + i);
      x[i] = s.codes + row * stride;
      sums[i] = s.code_sum + row * groups;
      left[i] = s.code_scale + row * groups;
      start[i] = -zero * sums[i][0];
      scale[i] = left[i][0];
    }
  }
};

template <int format, int MB, int NB>
inline void code_tile(const Op& op, const Tile<MB>& t, const Groups& g, const Out& out, int32_t n) {
  const auto* w = static_cast<const uint8_t*>(op.p0);
  if constexpr (format == I8) {
    int64_t fours = (op.k + 3) / 4;
    byte_tile<MB, NB>(t.x, w + n / 16 * fours * 64, fours, out, t.rows, t.start, t.scale,
                      static_cast<const float*>(op.p2), n);
  } else {
    int64_t panel = int64_t(op.k) / (format == G8 ? 4 : 8) * 64;
    group_tile<format, MB, NB>(t.x, w + n / 16 * panel, g, out, t.rows, t.sums, t.left, n);
  }
}

template <int format, int MB>
inline void code_rows(const Op& op, const Tile<MB>& t, const Groups& g, const Out& out, int32_t n0,
                      int32_t n1) {
  constexpr int NB = MB == 1 ? 4 : WIDE_CODES;
  int32_t n = n0;
  for (; n + 16 * NB <= n1; n += 16 * NB) code_tile<format, MB, NB>(op, t, g, out, n);
  for (; n < n1; n += 16) code_tile<format, MB, 1>(op, t, g, out, n);
}

template <int format>
inline void code_linear(const Op& op, const Step& s, Share share, const Rows& rows) {
  constexpr int MANY = format == I8 ? TALL_BYTES : TALL_GROUPS;
  constexpr int32_t BLOCK = 12 * MANY;  // rows whose codes stay near while the panels pass by
  Out out{op, s, static_cast<const float*>(op.p1)};
  int32_t groups = format == I8 ? 1 : op.k / op.group;
  Groups g{groups, op.group, int32_t(op.b), static_cast<const uint16_t*>(op.p2),
           static_cast<const uint16_t*>(op.p3)};
  int64_t stride = code_stride(op.k);
  int32_t blocks = (op.n + 15) / 16;
  int32_t n0 = begin(share, blocks) * 16, n1 = end(share, blocks) * 16;
  constexpr int32_t PANEL = 16 * WIDE_CODES;
  for (int32_t first = 0; first < rows.count; first += BLOCK) {
    int32_t last = min_of(rows.count, first + BLOCK);
    int32_t step = last - first < MANY ? n1 - n0 : PANEL;
    for (int32_t n = n0; n < n1; n += step) {
      int32_t upto = min_of(n1, n + step), m = first;
      for (; m + MANY <= last; m += MANY)
        code_rows<format, MANY>(op, Tile<MANY>(s, rows, m, stride, groups, g.zero), g, out, n, upto);
      if (last - m >= 4) {
        code_rows<format, 4>(op, Tile<4>(s, rows, m, stride, groups, g.zero), g, out, n, upto);
        m += 4;
      }
      if (last - m >= 4) {
        code_rows<format, 4>(op, Tile<4>(s, rows, m, stride, groups, g.zero), g, out, n, upto);
        m += 4;
      }
      switch (last - m) {
        case 3: code_rows<format, 3>(op, Tile<3>(s, rows, m, stride, groups, g.zero), g, out, n, upto); break;
        case 2: code_rows<format, 2>(op, Tile<2>(s, rows, m, stride, groups, g.zero), g, out, n, upto); break;
        case 1: code_rows<format, 1>(op, Tile<1>(s, rows, m, stride, groups, g.zero), g, out, n, upto); break;
        default: break;
      }
    }
  }
}

#if defined(PUNA_BF16)
// Pairs of bfloat16 are multiplied and added in one instruction.
template <int MB, int NB>
inline void half_tile(const uint16_t* const* x, const uint16_t* w, int64_t k, const Out& out,
                      const int32_t* rows, int32_t n) {
  __m512 acc[MB][NB];
#pragma GCC unroll 8
  for (int m = 0; m < MB; m++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) acc[m][j] = _mm512_setzero_ps();
  for (int64_t i = 0; i < k; i += 32) {
    __mmask32 some = k - i >= 32 ? ~0u : (1u << (k - i)) - 1;
    __m512i right[NB];
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) right[j] = _mm512_maskz_loadu_epi16(some, w + j * k + i);
#pragma GCC unroll 8
    for (int m = 0; m < MB; m++) {
      __m512bh left = (__m512bh)_mm512_maskz_loadu_epi16(some, x[m] + i);
#pragma GCC unroll 8
      for (int j = 0; j < NB; j++) acc[m][j] = _mm512_dpbf16_ps(acc[m][j], left, (__m512bh)right[j]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < MB; m++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) out.put(rows[m], n + j, _mm512_reduce_add_ps(acc[m][j]));
}

template <int MB>
inline void half_rows(const uint16_t* const* x, const uint16_t* w, int64_t k, const Out& out,
                      const int32_t* rows, int32_t n0, int32_t n1) {
  int32_t n = n0;
  for (; n + 4 <= n1; n += 4) half_tile<MB, 4>(x, w + n * k, k, out, rows, n);
  for (; n < n1; n++) half_tile<MB, 1>(x, w + n * k, k, out, rows, n);
}

inline void half_linear(const Op& op, const Step& s, Share share, const Rows& rows) {
  const auto* w = static_cast<const uint16_t*>(op.p0);
  const auto* base = reinterpret_cast<const uint16_t*>(s.codes);
  Out out{op, s, static_cast<const float*>(op.p1)};
  int64_t stride = code_stride(op.k);
  int32_t blocks = (op.n + 15) / 16;
  int32_t n0 = begin(share, blocks) * 16, n1 = min_of(op.n, end(share, blocks) * 16);
  for (int32_t n = n0; n < n1; n += 16) {
    int32_t upto = min_of(n1, n + 16);
    for (int32_t m = 0; m < rows.count;) {
      const uint16_t* x[4];
      int32_t index[4];
      int32_t many = min_of(4, rows.count - m);
      for (int32_t i = 0; i < many; i++) {
        index[i] = rows[m + i];
        x[i] = base + rows.input(m + i) * stride;
      }
      switch (many) {
        case 4: half_rows<4>(x, w, op.k, out, index, n, upto); break;
        case 3: half_rows<3>(x, w, op.k, out, index, n, upto); break;
        case 2: half_rows<2>(x, w, op.k, out, index, n, upto); break;
        default: half_rows<1>(x, w, op.k, out, index, n, upto);
      }
      m += many;
    }
  }
}
#endif

inline void product(const Op& op, const Step& s, Share share, const Rows& rows) {
  const float* plain = op.input == AS_IS ? at(s, op.in, 0, op.in_col) : nullptr;
  int64_t stride = s.strides[op.in];
  switch (op.format) {
    case F32: return float_linear<Weights<F32>, Weights<F32>>(op, s, share, rows, plain, stride);
    case F16: return float_linear<Weights<F32>, Weights<F16>>(op, s, share, rows, plain, stride);
    case I8: return code_linear<I8>(op, s, share, rows);
    case G8: return code_linear<G8>(op, s, share, rows);
    case G4: return code_linear<G4>(op, s, share, rows);
    case N4: return code_linear<N4>(op, s, share, rows);
    default:
#if defined(PUNA_BF16)
      return half_linear(op, s, share, rows);
#else
      return float_linear<Weights<BF16>, Weights<BF16>>(
          op, s, share, rows, reinterpret_cast<const uint16_t*>(s.codes), code_stride(op.k));
#endif
  }
}

// Of experts, each is multiplied with the picks of it; mode: the input has one row for each token.
inline void linear(const Op& op, const Step& s, Share share) {
  if (!op.experts) return product(op, s, share, rows_of(op, s));
  const auto* experts = static_cast<const Expert*>(op.p0);
  const int32_t *sorted = sorted_of(op, s), *bounds = bounds_of(op, s);
  for (int32_t e = 0; e < op.experts; e++) {
    if (bounds[e] == bounds[e + 1] || !experts[e].p0) continue;
    Op one = op;
    one.p0 = experts[e].p0, one.p1 = experts[e].p1, one.p2 = experts[e].p2, one.p3 = experts[e].p3;
    one.a = experts[e].a;
    product(one, s, share, {sorted + bounds[e], bounds[e + 1] - bounds[e], op.mode ? op.spread : 1});
  }
}

// Whole numbers for n columns: scale = largest / 127, and their sum.
inline void to_codes(const float* x, int32_t n, int8_t* codes, float* scale, int32_t* total) {
  float largest = 0.0f, poison = 0.0f;  // NaN once a value is not finite: codes could not say so
  int32_t i = 0;
  if (n >= LANES) {
    F top = set(0.0f), bad = set(0.0f);
    for (; i + LANES <= n; i += LANES) {
      F v = load(x + i);
      top = max(top, max(v, set(0.0f) - v));
      bad = fma(v, set(0.0f), bad);
    }
    largest = most(top);
    poison = sum(bad);
  }
  for (; i < n; i++) {
    largest = max_of(largest, std::fabs(x[i]));
    poison += x[i] * 0.0f;
  }
  float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
  *scale = largest / 127.0f + poison;
  for (i = 0; i + LANES <= n; i += LANES) store_codes(codes + i, nearest(load(x + i) * set(inverse)));
  for (; i < n; i++) codes[i] = int8_t(std::nearbyint(x[i] * inverse));
  int32_t sum = 0;
  for (i = 0; i < n; i++) sum += codes[i];
  *total = sum;
}

inline void prepare(const Op& op, const Step& s, Share share) {
  Rows rows = rows_of(op, s);
  int64_t stride = code_stride(op.k);
  int32_t groups = op.mode == GROUPED ? op.k / op.group : 1;
  for (int32_t r = begin(share, rows.count); r < end(share, rows.count); r++) {
    int64_t row = rows[r];
    const float* x = at(s, op.in, row, op.in_col);
    if (op.mode == HALF) {
      uint16_t* half = reinterpret_cast<uint16_t*>(s.codes) + row * stride;
      for (int32_t i = 0; i < op.k; i++) half[i] = to_bf16(x[i]);
      continue;
    }
    int8_t* codes = s.codes + row * stride;
    int32_t size = op.mode == GROUPED ? op.group : op.k;
    for (int32_t g = 0; g < groups; g++)
      to_codes(x + g * size, size, codes + g * size, s.code_scale + row * groups + g,
               s.code_sum + row * groups + g);
    std::memset(codes + op.k, 0, stride - op.k);
  }
}

// ---- the rest of a layer ----------------------------------------------------------------------

// A row of a table whose blocks serve a head as well.
inline void embed_codes(const Op& op, int64_t id, float* out) {
  int32_t per = op.format == G4 ? 8 : 4, groups = op.format == I8 ? 1 : op.n / op.group;
  int64_t steps = (op.n + per - 1) / per;
  const auto* block = static_cast<const uint8_t*>(op.p0) + id / 16 * steps * 64 + id % 16 * 4;
  const auto* scales = static_cast<const uint16_t*>(op.p2);
  const auto* lows = static_cast<const uint16_t*>(op.p3);
  for (int32_t g = 0, size = op.n / groups; g < groups; g++) {
    int64_t lane = (id / 16 * groups + g) * 16 + id % 16;
    float scale = op.format == I8 ? static_cast<const float*>(op.p2)[id] : from_half(scales[lane]);
    float low = lows ? from_half(lows[lane]) : 0.0f;
    for (int32_t i = g * size; i < (g + 1) * size; i++) {
      int32_t place = i % per;
      uint8_t byte = block[i / per * 64 + place % 4];
      if (per == 8) byte = place >= 4 ? byte >> 4 : byte & 15;
      out[i] = ((float(byte) - op.b) * scale + low) * op.a;
    }
  }
}

inline void embed(const Op& op, const Step& s, Share share) {
  Rows rows = rows_of(op, s);
  for (int32_t r = begin(share, rows.count); r < end(share, rows.count); r++) {
    int64_t id = op.mode ? s.positions[r] + op.k : s.ids[r];
    float* out = at(s, op.out, r, op.out_col);
    if (op.format >= I8) {
      embed_codes(op, id, out);
      continue;
    }
    for (int32_t i = 0; i < op.n; i++) {
      int64_t place = id * op.n + i;
      float x = op.format == F32   ? static_cast<const float*>(op.p0)[place]
                : op.format == F16 ? from_half(static_cast<const uint16_t*>(op.p0)[place])
                                   : from_bf16(static_cast<const uint16_t*>(op.p0)[place]);
      out[i] = op.add ? out[i] + x * op.a : x * op.a;
    }
  }
}

inline void normalize(const Op& op, const float* x, float* out) {
  const auto* gain = static_cast<const float*>(op.p0);
  const auto* bias = static_cast<const float*>(op.p1);
  int32_t n = op.n, i = 0;
  float mean = 0.0f;
  if (op.mode == LAYER) {
    F total = set(0.0f);
    for (; i + LANES <= n; i += LANES) total = total + load(x + i);
    mean = sum(total);
    for (; i < n; i++) mean += x[i];
    mean /= float(n);
  }
  F squares = set(0.0f);
  for (i = 0; i + LANES <= n; i += LANES) {
    F v = load(x + i) - set(mean);
    squares = fma(v, v, squares);
  }
  float spread = sum(squares);
  for (; i < n; i++) spread += (x[i] - mean) * (x[i] - mean);
  float scale = 1.0f / std::sqrt(spread / float(n) + op.a), more = op.mode == RMS_ONE_PLUS ? 1.0f : 0.0f;
  for (i = 0; i + LANES <= n; i += LANES) {
    F v = (load(x + i) - set(mean)) * set(scale);
    if (gain) v = v * (load(gain + i) + set(more));
    store(out + i, bias ? v + load(bias + i) : v);
  }
  for (; i < n; i++) {
    float v = (x[i] - mean) * scale;
    if (gain) v *= gain[i] + more;
    out[i] = bias ? v + bias[i] : v;
  }
}

inline void norm(const Op& op, const Step& s, Share share) {
  Rows rows = rows_of(op, s);
  int32_t all = rows.count * op.heads;
  for (int32_t i = begin(share, all); i < end(share, all); i++) {
    int32_t row = rows[i / op.heads], column = i % op.heads * op.n;
    normalize(op, at(s, op.in, row, op.in_col + column), at(s, op.out, row, op.out_col + column));
  }
}

inline void rotate(const Op& op, const Step& s, Share share) {
  int32_t half = op.k / 2;
  int32_t all = s.tokens * op.heads;
  for (int32_t i = begin(share, all); i < end(share, all); i++) {
    int32_t row = i / op.heads;
    float* x = at(s, op.in, row, op.in_col + i % op.heads * op.n);
    const float* cos = s.cos[op.table] + int64_t(s.angle[op.table][row]) * half;
    const float* sin = s.sin[op.table] + int64_t(s.angle[op.table][row]) * half;
    if (op.mode) {  // neighbors turn together
      for (int32_t j = 0; j < half; j++) {
        float a = x[2 * j], b = x[2 * j + 1];
        x[2 * j] = a * cos[j] - b * sin[j];
        x[2 * j + 1] = b * cos[j] + a * sin[j];
      }
      continue;
    }
    for (int32_t j = 0; j < half; j++) {
      float a = x[j], b = x[j + half];
      x[j] = a * cos[j] - b * sin[j];
      x[j + half] = b * cos[j] + a * sin[j];
    }
  }
}

// Keys and values of 8 bits: n codes of each head, and the bytes of their scale.
inline int32_t head_bytes(int32_t n) { return n + int32_t(sizeof(float)); }

inline void put(int32_t format, const float* x, int32_t n, void* store_at, int64_t place) {
  if (format == F32) {
    std::memcpy(static_cast<float*>(store_at) + place, x, sizeof(float) * n);
    return;
  }
  auto* half = static_cast<uint16_t*>(store_at) + place;
  for (int32_t i = 0; i < n; i++) half[i] = format == BF16 ? to_bf16(x[i]) : to_half(x[i]);
}

// The heads of a token, n columns each, into its slot.
inline void put_heads(const Op& op, const float* x, int32_t n, const void* store_at, int64_t slot) {
  void* into = const_cast<void*>(store_at);
  if (op.format != I8) return put(op.format, x, op.kv_heads * n, into, slot * op.kv_heads * n);
  for (int32_t head = 0; head < op.kv_heads; head++) {
    int8_t* codes = static_cast<int8_t*>(into) + (slot * op.kv_heads + head) * head_bytes(n);
    float scale;
    int32_t total;
    to_codes(x + head * n, n, codes, &scale, &total);
    std::memcpy(codes + n, &scale, sizeof scale);
  }
}

// A head's n numbers as they are kept, read sixteen at a time.
template <int32_t format>
struct Head {
  using Number = typename Weights<format>::Number;
  const Number* at;
  Head(const void* store_at, int64_t place, int32_t n) : at(static_cast<const Number*>(store_at) + place * n) {}
  F get(int32_t i) const { return Weights<format>::get(at + i); }
  float one(int32_t i) const { return Weights<format>::one(at[i]); }
};
template <>
struct Head<I8> {
  const int8_t* at;
  float scale;
  Head(const void* store_at, int64_t place, int32_t n)
      : at(static_cast<const int8_t*>(store_at) + place * head_bytes(n)) {
    std::memcpy(&scale, at + n, sizeof scale);
  }
  F get(int32_t i) const { return load_i8(at + i) * set(scale); }
  float one(int32_t i) const { return float(at[i]) * scale; }
};

// in: the keys of each token, in2: its values.
inline void keep(const Op& op, const Step& s, Share share) {
  for (int32_t r = begin(share, s.tokens); r < end(share, s.tokens); r++) {
    const int32_t* pages = s.pages[op.table * s.sequences + s.owner[r]];
    int64_t slot = int64_t(pages[s.positions[r] / PAGE]) * PAGE + s.positions[r] % PAGE;
    put_heads(op, at(s, op.in, r, op.in_col), op.n, op.p0, slot);
    put_heads(op, at(s, op.in2, r, op.in2_col), op.value, op.p1, slot);
  }
}

constexpr int32_t QUERIES = 64;  // of a task, at most

// Queries of one kv head that are attended together: rows of one sequence × some of its heads.
struct Queries {
  int32_t row, rows;    // of the step
  int32_t head, heads;  // first query head, and how many
  int32_t kv;
  int32_t count() const { return rows * heads; }
};

// What a task works in.
struct Scores {
  float* keys;             // [n filled up to whole vectors, PAGE], a key in each column
  float* values;           // [PAGE, value]
  float* queries;          // [count, n]
  float* out;              // [count, value]
  float top[QUERIES];      // the largest score yet, of each query
  float total[QUERIES];    // of e^(score - top)
};

// The bias of a key by its position, and the bound of a score.
inline float biased(const Op& op, int32_t head, int32_t position, float score) {
  if (op.b > 0.0f) score = op.b * std::tanh(score / op.b);
  if (!op.p2) return score;
  float slope = static_cast<const float*>(op.p2)[head], bias = slope * float(position);
  if (op.mode & 1) bias = from_bf16(to_bf16(from_bf16(to_bf16(slope)) * from_bf16(to_bf16(float(position)))));
  return score + (op.mode & 2 ? bias * op.a : bias);
}

// Keys first … last - 1 of a page, as far as a query sees them.
struct Seen {
  int32_t first, last;
  bool none() const { return first >= last; }
};

// 1 in the lanes that are seen, 0 in the others.
inline F seen_lanes(Seen seen) {
  alignas(64) static const float from[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                             1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  F begun = load(from + LANES - seen.first), ended = load(from + LANES - seen.last);
  return begun - ended;
}

// Asks for a page's keys and values of one head before they are needed: pages lie anywhere, and so
// nobody else can guess where the next one is.
inline void fetch_page(const Op& op, int32_t page, int32_t kv) {
  int32_t size = op.format == F32 ? 4 : op.format == I8 ? 1 : 2;
  auto fetch = [&](const void* store_at, int64_t bytes) {
    const char* head = static_cast<const char*>(store_at) + (int64_t(page) * PAGE * op.kv_heads + kv) * bytes;
    for (int32_t j = 0; j < PAGE; j++, head += op.kv_heads * bytes)
      for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(head + i);
  };
  int32_t more = op.format == I8 ? int32_t(sizeof(float)) : 0;
  fetch(op.p0, op.n * size + more);
  fetch(op.p1, op.value * size + more);
}

// One page's keys, turned so that each has a lane, and its values.
template <int32_t format>
inline void read_page(const Op& op, int32_t page, int32_t filled, int32_t kv, Scores& sc) {
  int64_t first = int64_t(page) * PAGE * op.kv_heads + kv;
  for (int32_t i = 0; i < op.n; i += LANES) {
    F block[LANES];
    for (int32_t j = 0; j < PAGE; j++) {
      block[j] = set(0.0f);
      if (j >= filled) continue;
      Head<format> head(op.p0, first + j * op.kv_heads, op.n);
      if (i + LANES <= op.n) {
        block[j] = head.get(i);
      } else {
        float cut[LANES] = {};
        for (int32_t d = i; d < op.n; d++) cut[d - i] = head.one(d);
        block[j] = load(cut);
      }
    }
    transpose(block);
    for (int32_t d = 0; d < LANES; d++) store(sc.keys + (i + d) * PAGE, block[d]);
  }
  for (int32_t j = 0; j < filled; j++) {
    Head<format> head(op.p1, first + j * op.kv_heads, op.value);
    float* out = sc.values + j * op.value;
    int32_t i = 0;
    for (; i + LANES <= op.value; i += LANES) store(out + i, head.get(i));
    for (; i < op.value; i++) out[i] = head.one(i);
  }
}

inline void open_page(const Op& op, int32_t page, int32_t filled, int32_t kv, Scores& sc) {
  switch (op.format) {
    case F32: return read_page<F32>(op, page, filled, kv, sc);
    case F16: return read_page<F16>(op, page, filled, kv, sc);
    case I8: return read_page<I8>(op, page, filled, kv, sc);
    default: return read_page<BF16>(op, page, filled, kv, sc);
  }
}

// The products of M queries with the keys of a page, each key in its lane.
template <int M>
inline void products(const Op& op, const Scores& sc, int32_t index, F* score) {
  const float* q = sc.queries + index * op.n;
#pragma GCC unroll 8
  for (int m = 0; m < M; m++) score[m] = set(0.0f);
  for (int32_t d = 0; d < op.n; d++) {
    F key = load(sc.keys + d * PAGE);
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) score[m] = fma(set(q[m * op.n + d]), key, score[m]);
  }
}

// out += the values of a page by their weights, of M queries, N vectors of each.
template <int M, int N>
inline void add_values(const Op& op, const float (*weight)[PAGE], const float* values, float* out) {
  F acc[M][N];
#pragma GCC unroll 8
  for (int m = 0; m < M; m++)
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) acc[m][i] = load(out + m * op.value + i * LANES);
  for (int32_t j = 0; j < PAGE; j++) {
    F value[N];
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) value[i] = load(values + j * op.value + i * LANES);
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) {
      F by = set(weight[m][j]);
#pragma GCC unroll 8
      for (int i = 0; i < N; i++) acc[m][i] = fma(by, value[i], acc[m][i]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; m++)
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) store(out + m * op.value + i * LANES, acc[m][i]);
}

// The weights of a query's keys in a page, relative to its largest score yet; what was added up
// before shrinks where that grows (Milakov & Gimelshein 2018).
inline void weigh(const Op& op, int32_t head, int32_t position, Seen seen, F score, Scores& sc,
                  int32_t index, float* weight) {
  score = score * set(op.a);
  if (op.p2 || op.b > 0.0f) {
    store(weight, score);
    for (int32_t j = seen.first; j < seen.last; j++)
      weight[j] = biased(op, head, position + j, weight[j]);
    score = load(weight);
  }
  F lanes = seen_lanes(seen);
  float top = max_of(sc.top[index], most(fma(score, lanes, (set(1.0f) - lanes) * set(-3e38f))));
  if (top > sc.top[index]) {
    float shrink[LANES];
    store(shrink, exponential(set(sc.top[index] - top)));
    float* out = sc.out + index * op.value;
    sc.total[index] *= shrink[0];
    for (int32_t i = 0; i < op.value; i++) out[i] *= shrink[0];
    sc.top[index] = top;
  }
  F found = exponential(score - set(top)) * lanes;
  store(weight, found);
  sc.total[index] += sum(found);
}

// M queries over a page.
template <int M>
inline void some_queries(const Op& op, const Queries& q, int32_t position, const Seen* seen,
                         Scores& sc, int32_t index) {
  constexpr int N = 4;
  F score[M];
  float weight[M][PAGE];
  products<M>(op, sc, index, score);
  for (int m = 0; m < M; m++)
    if (seen[m].none())
      store(weight[m], set(0.0f));
    else
      weigh(op, q.head + (index + m) % q.heads, position, seen[m], score[m], sc, index + m, weight[m]);
  float* out = sc.out + index * op.value;
  int32_t i = 0;
  for (; i + N * LANES <= op.value; i += N * LANES) add_values<M, N>(op, weight, sc.values + i, out + i);
  for (; i + LANES <= op.value; i += LANES) add_values<M, 1>(op, weight, sc.values + i, out + i);
  for (; i < op.value; i++)
    for (int m = 0; m < M; m++)
      for (int32_t j = 0; j < PAGE; j++) out[m * op.value + i] += weight[m][j] * sc.values[j * op.value + i];
}

inline void attend_queries(const Op& op, const Step& s, const Queries& q, float* scratch) {
  Scores sc;
  sc.keys = scratch;
  sc.values = sc.keys + PAGE * ((op.n + LANES - 1) / LANES * LANES);
  sc.queries = sc.values + PAGE * op.value;
  sc.out = sc.queries + q.count() * op.n;
  // What is not filled is multiplied all the same, by a weight of zero.
  std::memset(sc.values, 0, sizeof(float) * PAGE * op.value);
  std::memset(sc.out, 0, sizeof(float) * q.count() * op.value);
  for (int32_t i = 0; i < q.count(); i++) {
    int32_t row = q.row + i / q.heads, head = q.head + i % q.heads;
    std::memcpy(sc.queries + i * op.n, at(s, op.in, row, op.in_col + head * op.n), sizeof(float) * op.n);
    sc.top[i] = -std::numeric_limits<float>::infinity(), sc.total[i] = 0.0f;
  }
  const int32_t* pages = s.pages[op.table * s.sequences + s.owner[q.row]];
  int32_t begin = s.positions[q.row], end = s.positions[q.row + q.rows - 1];
  int32_t from = op.window ? max_of(0, begin - op.window + 1) / PAGE : 0;
  for (int32_t page = from; page <= end / PAGE; page++) {
    int32_t position = page * PAGE;
    if (page < end / PAGE) fetch_page(op, pages[page + 1], q.kv);
    open_page(op, pages[page], min_of(PAGE, end + 1 - position), q.kv, sc);
    Seen seen[QUERIES];
    for (int32_t i = 0; i < q.count(); i++) {
      int32_t at_position = s.positions[q.row + i / q.heads];
      int32_t first = op.window ? max_of(0, at_position - op.window + 1 - position) : 0;
      seen[i] = {min_of(PAGE, first), max_of(0, min_of(PAGE, at_position + 1 - position))};
    }
    int32_t i = 0;
    for (; i + TALL <= q.count(); i += TALL) some_queries<TALL>(op, q, position, seen + i, sc, i);
    for (; i < q.count(); i++) some_queries<1>(op, q, position, seen + i, sc, i);
  }
  for (int32_t i = 0; i < q.count(); i++) {
    int32_t row = q.row + i / q.heads, head = q.head + i % q.heads;
    float total = sc.total[i];
    float* out = at(s, op.out, row, op.out_col + head * op.value);
    float shrink = 1.0f;
    if (op.p3) {
      float sink = static_cast<const float*>(op.p3)[head], top = max_of(sc.top[i], sink);
      shrink = std::exp(sc.top[i] - top);
      total = total * shrink + std::exp(sink - top);
    }
    for (int32_t j = 0; j < op.value; j++) out[j] = sc.out[i * op.value + j] * shrink / total;
  }
}

inline void attend(const Op& op, const Step& s, Share share, float* scratch) {
  int32_t each_kv = op.heads / op.kv_heads;
  // Heads of a group are shared out where there are more than a task can hold (Falcon-7B has 71), or
  // fewer tasks than threads, at the price of reading their keys more than once.
  int32_t parts = (each_kv + QUERIES - 1) / QUERIES;
  while (2 * parts <= each_kv && s.sequences * op.kv_heads * parts < share.threads) parts *= 2;
  int32_t block = max_of(1, QUERIES / each_kv);
  int32_t task = 0;
  for (int32_t row = 0; row < s.tokens;) {
    int32_t rows = 1;
    while (rows < block && row + rows < s.tokens && s.owner[row + rows] == s.owner[row]) rows++;
    for (int32_t kv = 0; kv < op.kv_heads; kv++)
      for (int32_t part = 0; part < parts; part++, task++)
        if (task % share.threads == share.thread) {
          int32_t first = begin({part, parts}, each_kv), last = end({part, parts}, each_kv);
          attend_queries(op, s, {row, rows, kv * each_kv + first, last - first, kv}, scratch);
        }
    row += rows;
  }
}

// (up + 1) · gate · sigmoid(a · gate), both held within b (gpt-oss).
inline F clamped_gate(const Op& op, F x, F y) {
  x = min(x, set(op.b));
  y = min(max(y, set(-op.b)), set(op.b));
  return (y + set(1.0f)) * x * sigmoid(x * set(op.a));
}

inline void gate(const Op& op, const Step& s, Share share) {
  stretches(op, s, share, [&](int32_t row, int32_t from, int32_t upto) {
    const float* a = at(s, op.in, row, op.in_col + from);
    const float* b = op.in2 < 0 ? a : at(s, op.in2, row, op.in2_col + from);
    float* out = at(s, op.out, row, op.out_col + from);
    if (op.in2 < 0)
      each(upto - from, a, b, out, [&](F x, F) { return act(op.act, x); });
    else if (op.act == CLAMPED)
      each(upto - from, a, b, out, [&](F x, F y) { return clamped_gate(op, x, y); });
    else
      each(upto - from, a, b, out, [&](F x, F y) { return act(op.act, x) * y; });
  });
}

inline void elementwise(const Op& op, const Step& s, Share share) {
  stretches(op, s, share, [&](int32_t row, int32_t from, int32_t upto) {
    const float* a = at(s, op.in, row, op.in_col + from);
    float* out = at(s, op.out, row, op.out_col + from);
    int32_t n = upto - from;
    F factor = set(op.a);
    switch (op.kind) {
      case ADD: return each(n, a, out, out, [&](F x, F y) { return fma(x, factor, y); });
      case CLAMP: return each(n, a, a, out, [&](F x, F) { return min(max(x, set(-op.a)), factor); });
      default: break;
    }
    if (op.b > 0.0f)
      each(n, a, a, out, [&](F x, F) { return set(op.b) * hyperbolic_tangent(x * factor / set(op.b)); });
    else
      each(n, a, a, out, [&](F x, F) { return x * factor; });
  });
}

inline void gather(const Op& op, const Step& s, Share share) {
  for (int32_t r = begin(share, s.due); r < end(share, s.due); r++)
    std::memcpy(at(s, op.out, r, op.out_col), at(s, op.in, s.due_rows[r], op.in_col),
                sizeof(float) * op.n);
}

inline void copy(const Op& op, const Step& s, Share share) {
  for (int32_t r = begin(share, s.tokens); r < end(share, s.tokens); r++)
    for (int32_t head = 0; head < op.heads; head++)
      std::memcpy(at(s, op.out, r, op.out_col + head * op.value),
                  at(s, op.in, r, op.in_col + head * op.k), sizeof(float) * op.n);
}

// ---- mixtures ---------------------------------------------------------------------------------

// The place of the largest of n numbers among those that are not taken; the first of equal ones.
inline int32_t best_of(const float* x, const float* taken, int32_t n) {
  int32_t best = -1;
  for (int32_t i = 0; i < n; i++)
    if (taken[i] == 0.0f && (best < 0 || x[i] > x[best])) best = i;
  return best;
}

// Leaves in `taken` a 1 for each expert of a group that is not among the best (DeepSeek-V2 2024).
inline void best_groups(const Op& op, const float* ranked, float* taken) {
  int32_t count = op.heads, size = op.n / count;
  float* worth = taken + op.n;
  float* out = worth + count;  // 0 for the groups that are picked
  for (int32_t g = 0; g < count; g++) {
    const float* x = ranked + g * size;
    int32_t first = best_of(x, taken + g * size, size);
    worth[g] = x[first];
    out[g] = 0.0f;
    if (op.mode & BY_TWO) {
      taken[g * size + first] = 1.0f;
      worth[g] += x[best_of(x, taken + g * size, size)];
    }
  }
  for (int32_t i = 0; i < op.kv_heads; i++) out[best_of(worth, out, count)] = 1.0f;
  for (int32_t e = 0; e < op.n; e++) taken[e] = out[e / size] == 0.0f;
}

inline void pick(const Op& op, const Step& s, Share share, float* scratch) {
  const auto* correction = static_cast<const float*>(op.p0);
  float *score = scratch, *ranked = score + op.n, *taken = ranked + op.n;
  for (int32_t r = begin(share, s.tokens); r < end(share, s.tokens); r++) {
    const float* x = at(s, op.in, r, op.in_col);
    if (op.mode & SIGMOID) {
      each(op.n, x, x, score, [](F v, F) { return sigmoid(v); });
    } else {
      float top = x[0], total = 0.0f;
      for (int32_t e = 1; e < op.n; e++) top = max_of(top, x[e]);
      each(op.n, x, x, score, [&](F v, F) { return exponential(v - set(top)); });
      for (int32_t e = 0; e < op.n; e++) total += score[e];
      for (int32_t e = 0; e < op.n; e++) score[e] /= total;
    }
    for (int32_t e = 0; e < op.n; e++) {
      ranked[e] = score[e] + (correction ? correction[e] : 0.0f);
      taken[e] = 0.0f;
    }
    if (op.heads > 1) best_groups(op, ranked, taken);
    float* gates = at(s, op.out, r, op.out_col);
    float total = 0.0f;
    for (int32_t i = 0; i < op.k; i++) {
      int32_t e = best_of(ranked, taken, op.n);
      taken[e] = 1.0f;
      s.picks[r * op.k + i] = e;
      total += gates[i] = score[e];
    }
    for (int32_t i = 0; i < op.k; i++) gates[i] *= op.mode & RENORMALIZED ? op.a / total : op.a;
  }
}

// By counting. One thread does it: the picks of a step are few.
inline void sort(const Op& op, const Step& s, Share share) {
  if (share.thread) return;
  int32_t* bounds = bounds_of(op, s);
  int32_t* sorted = sorted_of(op, s);
  Rows rows = rows_of(op, s);
  std::memset(bounds, 0, sizeof(int32_t) * (op.experts + 1));
  auto each_pick = [&](auto f) {
    for (int32_t r = 0; r < rows.count; r++)
      for (int32_t i = 0; i < op.spread; i++) {
        int32_t pick = rows[r] * op.spread + i;
        f(pick, s.picks[pick]);
      }
  };
  each_pick([&](int32_t, int32_t expert) { bounds[expert + 1]++; });
  for (int32_t e = 0; e < op.experts; e++) bounds[e + 1] += bounds[e];
  // Each expert's begin moves to its end while its picks are put down, and back by one expert.
  each_pick([&](int32_t pick, int32_t expert) { sorted[bounds[expert]++] = pick; });
  for (int32_t e = op.experts; e > 0; e--) bounds[e] = bounds[e - 1];
  bounds[0] = 0;
}

inline void mix(const Op& op, const Step& s, Share share) {
  stretches(op, s, share, [&](int32_t row, int32_t from, int32_t upto) {
    const float* gates = at(s, op.in2, row, op.in2_col);
    float* out = at(s, op.out, row, op.out_col + from);
    for (int32_t i = 0; i < op.spread; i++) {
      const float* x = at(s, op.in, int64_t(row) * op.spread + i, op.in_col + from);
      F gate = set(gates[i]);
      if (i || op.add)
        each(upto - from, x, out, out, [&](F a, F b) { return fma(a, gate, b); });
      else
        each(upto - from, x, x, out, [&](F a, F) { return a * gate; });
    }
  });
}

inline void run(const Op& op, const Step& s, Share share, float* scratch) {
  switch (op.kind) {
    case EMBED: return embed(op, s, share);
    case NORM: return norm(op, s, share);
    case PREPARE: return prepare(op, s, share);
    case LINEAR: return linear(op, s, share);
    case ROTATE: return rotate(op, s, share);
    case STORE: return keep(op, s, share);
    case ATTEND: return attend(op, s, share, scratch);
    case GATE: return gate(op, s, share);
    case GATHER: return gather(op, s, share);
    case COPY: return copy(op, s, share);
    case PICK: return pick(op, s, share, scratch);
    case SORT: return sort(op, s, share);
    case MIX: return mix(op, s, share);
    default: return elementwise(op, s, share);
  }
}
