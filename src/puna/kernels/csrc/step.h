// The native step: a flat list of operations over float32 buffers, run by one call.
//
// No framework, no allocation while a step runs, no global state but the pool that the caller
// holds. Every row of a step is computed by the same arithmetic in the same order whatever other
// rows are there, so what one sequence says does not depend on its neighbors.
#pragma once

#include <cstdint>

namespace puna {

constexpr int LANES = 16;  // of a vector on every instruction set, so that sums have one order
constexpr int PAGE = 16;   // slots of a page of the KV cache

enum Kind : int32_t {
  EMBED,    // out = table row of each id · a
  NORM,     // out = norm(in) over n columns, for `heads` stretches of each row
  PREPARE,  // the input of the products that follow, in the form that their weights want
  LINEAR,   // out (+)= a · in · weightᵀ + bias
  ROTATE,   // in place, `heads` stretches of n columns, the first k turned
  STORE,    // keys and values into their pages
  ATTEND,   // out = softmax(scores) · values, over pages
  GATE,     // out = act(in) · in2, or act(in) where there is no in2
  ADD,      // out = out + in · a
  SCALE,    // out = in · a, bent by a softcap b where b > 0
  CLAMP,    // out clamped to ± a
  GATHER,   // out row r = in row due[r]
  COPY,     // `heads` stretches of n columns, k apart in the input and `value` apart in the output
  PICK,     // out = gates of the k best of n experts, whose scores are in; their numbers into picks
  SORT,     // the picks, or those of an adapter's rows, by expert
  MIX,      // out (+)= sum over a token's picks of in · gate, gates in in2
};

enum Format : int32_t { F32, BF16, F16, I8, G8, G4, N4 };
enum Input : int32_t { AS_IS, HALF, BYTES, GROUPED };  // of PREPARE
enum Act : int32_t { NONE, SILU, GELU, GELU_TANH, RELU, CLAMPED };
enum NormKind : int32_t { RMS, RMS_ONE_PLUS, LAYER };
// Of PICK: what scores pass through, whether gates are divided by their sum, and whether a group is
// as good as its two best.
enum Picking : int32_t { SIGMOID = 1, RENORMALIZED = 2, BY_TWO = 4 };

// Mirrored field by field in library.py.
struct Op {
  int32_t kind;
  int32_t sync;  // wait for all threads after it
  int32_t rows;  // which rows: -1 all tokens, -2 those due, -3 all picks, else those of an adapter
  int32_t in, in_col, in2, in2_col, out, out_col;  // buffers and the column to begin at
  int32_t n, k;                                    // columns out and in
  int32_t heads, kv_heads, group;
  int32_t format, mode, act, add;
  int32_t table;   // which rope, or which set of page tables
  int32_t window;  // 0: sees all
  int32_t input;   // form that a LINEAR wants its input in
  int32_t value;   // columns of a value head
  int32_t experts;  // of LINEAR and SORT: p0 points to so many `Expert`s; 0: to a weight
  int32_t spread;   // picks of a token; pick p is row p of its buffers and of token p / spread
  float a, b;
  const void* p0;
  const void* p1;
  const void* p2;
  const void* p3;
};

// A weight of one expert, and what its product is multiplied by; p0 is null where it has none.
struct Expert {
  const void* p0;
  const void* p1;
  const void* p2;
  const void* p3;
  float a;
};

struct Step {
  int32_t tokens, due, sequences;
  const int32_t* ids;        // [tokens]
  const int32_t* positions;  // [tokens]
  const int32_t* owner;      // [tokens] which sequence
  const int32_t* due_rows;   // [due]
  const int32_t* const* pages;     // [tables · sequences] page numbers of each sequence
  const int32_t* const* subset;    // [adapters] rows that use it
  const int32_t* subset_count;     // [adapters]
  float* const* buffers;           // matrices, each with its stride
  const int64_t* strides;
  const float* const* cos;         // [ropes] tables, rows of half the turned columns
  const float* const* sin;
  const int32_t* const* angle;     // [ropes] the row of each token in them
  int8_t* codes;                   // the prepared input [tokens, k], or bfloat16 of it
  float* code_scale;               // [tokens, groups]
  int32_t* code_sum;               // [tokens, groups]
  int32_t* picks;                  // [tokens · spread] experts
  int32_t* sorted;                 // [1 + adapters, tokens · spread] picks, by expert
  int32_t* bounds;                 // [1 + adapters, experts + 1] where each expert's begin in them
};

struct Share {
  int thread, threads;
};

// One thread's share of an operation; `scratch` is its own, of SCRATCH floats.
using Run = void (*)(const Op&, const Step&, Share, float* scratch);

constexpr int SCRATCH = 1 << 17;

Run run_portable();
Run run_avx2();
Run run_avx512();
Run run_avx512_bf16();

}  // namespace puna
