/* Sums are computed for TILE positions and, along rows of weights, many filters at once. Where instructions for that are at hand,
 * weights are packed before: those of SQZ_UNIT filters for four bytes lie together, and each four bytes of a position meet
 * them all. Elsewhere they stay as they are, in rows, and loops are such as compilers turn into dot products. All give the same
 * sums. */
#define TILE 4
#define BLOCK 32 /* filters whose sums wait together to be rescaled */
#define PART 12

typedef int32_t sums_of_tile[TILE][BLOCK];

#undef SQZ_UNIT
#undef SQZ_DSP
#undef SQZ_RESCALES
#undef SQZ_NEON

#if (defined(__AVX512VNNI__) && defined(__AVX512F__)) || defined(__AVX2__)
#include <immintrin.h>
#define SQZ_FOUR_BYTES
#elif defined(__aarch64__) && defined(__ARM_NEON) && !defined(__AARCH64EB__) /* where bytes lie in their order */
#include <arm_neon.h>
#define SQZ_NEON
#define SQZ_FOUR_BYTES
#elif defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
#elif defined(__riscv_vector) && defined(__riscv_v_intrinsic)
#include <riscv_vector.h>
#elif defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_UNALIGNED) && !defined(__aarch64__)
#define SQZ_DSP
#endif

#if defined(__ARM_FEATURE_MVE)
#define LANES 16

static void copy_bytes(uint8_t *restrict to, const uint8_t *restrict from, size_t count)
{
    for (size_t k = 0; k < count; k += LANES) {
        const mve_pred16_t there = vctp8q((uint32_t)(count - k));
        vstrbq_p_u8(to + k, vldrbq_z_u8(from + k, there), there);
    }
}

/* To the larger of two bytes each. */
static void raise_bytes(uint8_t *restrict to, const uint8_t *restrict least, size_t count)
{
    for (size_t k = 0; k < count; k += LANES) {
        const mve_pred16_t there = vctp8q((uint32_t)(count - k));
        vstrbq_p_u8(to + k, vmaxq_u8(vldrbq_z_u8(to + k, there), vldrbq_z_u8(least + k, there)), there);
    }
}
#else

static void copy_bytes(uint8_t *restrict to, const uint8_t *restrict from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = from[i];
}

static void raise_bytes(uint8_t *restrict to, const uint8_t *restrict least, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = least[i] > to[i] ? least[i] : to[i];
}
#endif

#ifdef SQZ_FOUR_BYTES
/* Four bytes as an integer, which compilers make one load. */
static int four_bytes(const uint8_t *b)
{
    return (int)(b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
}
#endif

#if defined(__AVX512VNNI__) && defined(__AVX512F__)
#define SQZ_UNIT 16
#define UNITS 2 /* at once */

typedef __m512i unit_sums, unit_weights, unit_bytes;

static unit_sums no_sums(void)
{
    return _mm512_setzero_si512();
}

static unit_weights weights_at(const int8_t *weights)
{
    return _mm512_loadu_si512(weights);
}

static unit_bytes bytes_at(const uint8_t *bytes)
{
    return _mm512_set1_epi32(four_bytes(bytes));
}

static unit_sums added(unit_sums sums, unit_bytes bytes, unit_weights weights)
{
    return _mm512_dpbusd_epi32(sums, bytes, weights);
}

static void store_sums(unit_sums sums, int32_t *to)
{
    _mm512_storeu_si512(to, sums);
}

#elif defined(__AVX2__) && defined(__AVXVNNI__)
#define SQZ_UNIT 8
#define UNITS 2

typedef __m256i unit_sums, unit_weights, unit_bytes;

static unit_sums no_sums(void)
{
    return _mm256_setzero_si256();
}

static unit_weights weights_at(const int8_t *weights)
{
    return _mm256_loadu_si256((const __m256i *)weights);
}

static unit_bytes bytes_at(const uint8_t *bytes)
{
    return _mm256_set1_epi32(four_bytes(bytes));
}

static unit_sums added(unit_sums sums, unit_bytes bytes, unit_weights weights)
{
    return _mm256_dpbusd_avx_epi32(sums, bytes, weights);
}

static void store_sums(unit_sums sums, int32_t *to)
{
    _mm256_storeu_si256((__m256i *)to, sums);
}

#elif defined(__AVX2__)
#define SQZ_UNIT 8
#define UNITS 1

/* Widened to sixteen bits; of each filter the sums of two products stand beside each other. */
typedef struct {
    __m256i low, high;
} unit_sums, unit_weights;
typedef __m256i unit_bytes;

static unit_sums no_sums(void)
{
    return (unit_sums){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

static unit_weights weights_at(const int8_t *weights)
{
    const __m128i *halves = (const __m128i *)weights;
    return (unit_weights){_mm256_cvtepi8_epi16(_mm_loadu_si128(halves)), _mm256_cvtepi8_epi16(_mm_loadu_si128(halves + 1))};
}

static unit_bytes bytes_at(const uint8_t *bytes)
{
    return _mm256_cvtepu8_epi16(_mm_set1_epi32(four_bytes(bytes)));
}

static unit_sums added(unit_sums sums, unit_bytes bytes, unit_weights weights)
{
    return (unit_sums){_mm256_add_epi32(sums.low, _mm256_madd_epi16(bytes, weights.low)),
                       _mm256_add_epi32(sums.high, _mm256_madd_epi16(bytes, weights.high))};
}

static void store_sums(unit_sums sums, int32_t *to)
{
    const __m256i added_up = _mm256_hadd_epi32(sums.low, sums.high); /* filters 0 1 4 5 2 3 6 7 */
    _mm256_storeu_si256((__m256i *)to, _mm256_permute4x64_epi64(added_up, 0xD8));
}

#elif defined(SQZ_NEON) && defined(__ARM_FEATURE_MATMUL_INT8)
#define SQZ_UNIT 4
#define UNITS 2

typedef int32x4_t unit_sums;
typedef int8x16_t unit_weights;
typedef uint8x16_t unit_bytes;

static unit_sums no_sums(void)
{
    return vdupq_n_s32(0);
}

static unit_weights weights_at(const int8_t *weights)
{
    return vld1q_s8(weights);
}

static unit_bytes bytes_at(const uint8_t *bytes)
{
    return vreinterpretq_u8_s32(vdupq_n_s32(four_bytes(bytes)));
}

static unit_sums added(unit_sums sums, unit_bytes bytes, unit_weights weights)
{
    return vusdotq_s32(sums, bytes, weights);
}

static void store_sums(unit_sums sums, int32_t *to)
{
    vst1q_s32(to, sums);
}

#elif defined(SQZ_NEON) && defined(__ARM_FEATURE_DOTPROD)
#define SQZ_UNIT 4
#define UNITS 2
/* These products are of bytes without a sign: 128 is added to each weight, and 128 times the bytes are taken from each sum. */
#define SQZ_ADDED 128

typedef uint32x4_t unit_sums;
typedef uint8x16_t unit_weights, unit_bytes;

static unit_sums no_sums(void)
{
    return vdupq_n_u32(0);
}

static unit_weights weights_at(const int8_t *weights)
{
    return vreinterpretq_u8_s8(vld1q_s8(weights));
}

static unit_bytes bytes_at(const uint8_t *bytes)
{
    return vreinterpretq_u8_s32(vdupq_n_s32(four_bytes(bytes)));
}

static unit_sums added(unit_sums sums, unit_bytes bytes, unit_weights weights)
{
    return vdotq_u32(sums, bytes, weights);
}

static void store_sums(unit_sums sums, int32_t *to)
{
    vst1q_s32(to, vreinterpretq_s32_u32(sums));
}

#elif defined(SQZ_NEON)
#define SQZ_UNIT 4
#define UNITS 2
#define SQZ_ADDED 128 /* as above */

/* Of each filter the sums of two products stand beside each other. */
typedef struct {
    uint32x4_t low, high;
} unit_sums;
typedef uint8x16_t unit_weights, unit_bytes;

static unit_sums no_sums(void)
{
    return (unit_sums){vdupq_n_u32(0), vdupq_n_u32(0)};
}

static unit_weights weights_at(const int8_t *weights)
{
    return vreinterpretq_u8_s8(vld1q_s8(weights));
}

static unit_bytes bytes_at(const uint8_t *bytes)
{
    return vreinterpretq_u8_s32(vdupq_n_s32(four_bytes(bytes)));
}

static unit_sums added(unit_sums sums, unit_bytes bytes, unit_weights weights)
{
    return (unit_sums){vpadalq_u16(sums.low, vmull_u8(vget_low_u8(bytes), vget_low_u8(weights))),
                       vpadalq_u16(sums.high, vmull_high_u8(bytes, weights))};
}

static void store_sums(unit_sums sums, int32_t *to)
{
    vst1q_s32(to, vreinterpretq_s32_u32(vpaddq_u32(sums.low, sums.high)));
}

#if defined(__linux__) && defined(__GNUC__)
/* What runs on any processor asks this one, at its first products, whether it has dot products; they take the same weights. */
#define SQZ_DOTS_AT_START

/* The C library's, where there is one. */
extern unsigned long getauxval(unsigned long type) __attribute__((weak));

static int has_dots(void)
{
    static int known = -1; /* threads that come first together all write the same */
    int found = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (found < 0) {
        found = getauxval ? (int)(getauxval(16) >> 20 & 1) : 0; /* AT_HWCAP, HWCAP_ASIMDDP */
        __atomic_store_n(&known, found, __ATOMIC_RELAXED);
    }
    return found;
}

/* UDOT in bits, since functions for one processor cannot take in those for another, and assemblers know it on some only. */
static inline unit_sums added_by_dots(unit_sums sums, unit_bytes bytes, unit_weights weights)
{
    __asm__(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
            ".equ .Lsqz_v\\n, \\n\n\t.endr\n\t"
            ".inst 0x6e809400 | (.Lsqz_%2 << 16) | (.Lsqz_%1 << 5) | .Lsqz_%0"
            : "+w"(sums.low)
            : "w"(bytes), "w"(weights));
    return sums;
}

static void store_of_dots(unit_sums sums, int32_t *to)
{
    vst1q_s32(to, vreinterpretq_s32_u32(sums.low));
}
#endif

#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#define SQZ_UNIT 4
#define UNITS 1

/* As with AVX2, with half as many filters. */
typedef struct {
    v128_t low, high;
} unit_sums, unit_weights;
typedef v128_t unit_bytes;

static unit_sums no_sums(void)
{
    return (unit_sums){wasm_i32x4_const_splat(0), wasm_i32x4_const_splat(0)};
}

static unit_weights weights_at(const int8_t *weights)
{
    return (unit_weights){wasm_i16x8_load8x8(weights), wasm_i16x8_load8x8(weights + 8)};
}

static unit_bytes bytes_at(const uint8_t *bytes)
{
    return wasm_u16x8_extend_low_u8x16(wasm_v128_load32_splat(bytes));
}

static unit_sums added(unit_sums sums, unit_bytes bytes, unit_weights weights)
{
    return (unit_sums){wasm_i32x4_add(sums.low, wasm_i32x4_dot_i16x8(bytes, weights.low)),
                       wasm_i32x4_add(sums.high, wasm_i32x4_dot_i16x8(bytes, weights.high))};
}

static void store_sums(unit_sums sums, int32_t *to)
{
    const v128_t even = wasm_i32x4_shuffle(sums.low, sums.high, 0, 2, 4, 6);
    wasm_v128_store(to, wasm_i32x4_add(even, wasm_i32x4_shuffle(sums.low, sums.high, 1, 3, 5, 7)));
}
#endif

#ifdef SQZ_UNIT
/* What the packed weights of a layer take. */
static size_t packed_bytes(const struct sqz_layer *l)
{
    const size_t units = ((size_t)l->filters + SQZ_UNIT - 1) / SQZ_UNIT, fours = ((size_t)l->row + 3) / 4;
    return l->kind == SQZ_CONVOLUTION && !l->depthwise && !l->sparse ? units * fours * SQZ_UNIT * 4 : 0;
}

/* A weight as the products take it. */
static int8_t packed_weight(int8_t weight)
{
#ifdef SQZ_ADDED
    return (int8_t)(weight < 0 ? weight + SQZ_ADDED : weight - SQZ_ADDED); /* the same eight bits as their sum without a sign */
#else
    return weight;
#endif
}

/* Weights of the dense convolutions among some layers, one after the other, as [filters / SQZ_UNIT][row / 4][SQZ_UNIT][4], with
 * zeros behind. */
static void pack_weights(const struct sqz_model *m, size_t begin, size_t end, int8_t *to)
{
    for (size_t i = begin; i < end; i++) {
        const struct sqz_layer *l = &m->layers[i];
        const size_t row = l->row, unit = (row + 3) / 4 * 4 * SQZ_UNIT, bytes = packed_bytes(l);
        for (size_t place = 0; place < bytes; place++) {
            const size_t f = place / unit * SQZ_UNIT + place / 4 % SQZ_UNIT, k = place % unit / (4 * SQZ_UNIT) * 4 + place % 4;
            *to++ = f < l->filters && k < row ? packed_weight(m->weights[l->weights + f * row + k]) : 0;
        }
    }
}

#ifdef SQZ_DOTS_AT_START
/* Each way is a loop of its own. */
#define SQZ_INLINE inline __attribute__((always_inline))
#define NEXT_SUMS(sums, bytes, weights) (dots ? added_by_dots(sums, bytes, weights) : added(sums, bytes, weights))
#define STORE_SUMS(sums, to) (dots ? store_of_dots(sums, to) : store_sums(sums, to))
#else
#define NEXT_SUMS(sums, bytes, weights) ((void)dots, added(sums, bytes, weights))
#define STORE_SUMS store_sums
#define SQZ_INLINE inline
#endif

/* The sums of one or two units of filters, from column `f` on, over `n` bytes of each position. */
static SQZ_INLINE void unit_products(const uint8_t *const x[TILE], const int8_t *weights, size_t n, int two, sums_of_tile sums,
                                     size_t f, int dots)
{
    const size_t whole = n / 4 * 4, second = (n + 3) / 4 * 4 * SQZ_UNIT;
    const uint8_t *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
    uint8_t ends[TILE][4] = {{0}};
    unit_sums s0 = no_sums(), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
    for (size_t k = 0; k < n; k += 4, weights += 4 * SQZ_UNIT) {
        if (k == whole) {
            for (size_t p = 0; p < TILE; p++)
                for (size_t i = 0; k + i < n; i++)
                    ends[p][i] = x[p][k + i];
            x0 = ends[0], x1 = ends[1], x2 = ends[2], x3 = ends[3];
        }
        const unit_bytes b0 = bytes_at(x0), b1 = bytes_at(x1), b2 = bytes_at(x2), b3 = bytes_at(x3);
        const unit_weights w = weights_at(weights);
        s0 = NEXT_SUMS(s0, b0, w), s1 = NEXT_SUMS(s1, b1, w), s2 = NEXT_SUMS(s2, b2, w), s3 = NEXT_SUMS(s3, b3, w);
        if (two) {
            const unit_weights v = weights_at(weights + second);
            t0 = NEXT_SUMS(t0, b0, v), t1 = NEXT_SUMS(t1, b1, v), t2 = NEXT_SUMS(t2, b2, v), t3 = NEXT_SUMS(t3, b3, v);
        }
        x0 += 4, x1 += 4, x2 += 4, x3 += 4;
    }
    STORE_SUMS(s0, sums[0] + f), STORE_SUMS(s1, sums[1] + f), STORE_SUMS(s2, sums[2] + f), STORE_SUMS(s3, sums[3] + f);
    if (two) {
        STORE_SUMS(t0, sums[0] + f + SQZ_UNIT), STORE_SUMS(t1, sums[1] + f + SQZ_UNIT);
        STORE_SUMS(t2, sums[2] + f + SQZ_UNIT), STORE_SUMS(t3, sums[3] + f + SQZ_UNIT);
    }
}

/* The sums of `count` filters from `first` on, under which lie four rows of `n` bytes; the layer's weights are packed. */
static SQZ_INLINE void packed_products(const uint8_t *const x[TILE], const int8_t *weights, size_t n, size_t first, size_t count,
                                       sums_of_tile sums, int dots)
{
    const size_t row = (n + 3) / 4 * 4;
    size_t f = 0;
    for (; UNITS == 2 && f + SQZ_UNIT < count; f += 2 * SQZ_UNIT)
        unit_products(x, weights + (first + f) * row, n, 1, sums, f, dots);
    for (; f < count; f += SQZ_UNIT)
        unit_products(x, weights + (first + f) * row, n, 0, sums, f, dots);
#ifdef SQZ_ADDED
    for (size_t p = 0; p < TILE; p++) {
        uint32_t sum = 0;
        for (size_t k = 0; k < n; k++)
            sum += x[p][k];
        for (size_t i = 0; i < count; i++)
            sums[p][i] = (int32_t)((uint32_t)sums[p][i] - SQZ_ADDED * sum);
    }
#endif
}

/* The same, by the instructions of this processor. */
static void dense_products(const uint8_t *const x[TILE], const int8_t *weights, size_t n, size_t first, size_t count,
                           sums_of_tile sums)
{
#ifdef SQZ_DOTS_AT_START
    if (has_dots()) {
        packed_products(x, weights, n, first, count, sums, 1);
        return;
    }
#endif
    packed_products(x, weights, n, first, count, sums, 0);
}

/* Where a convolution's weights are, dense ones at `packed`, which moves on. */
static const int8_t *weights_of(const struct sqz_model *m, size_t number)
{
    const int8_t *packed = m->packed;
    if (m->layers[number].depthwise)
        return m->weights + m->layers[number].weights;
    for (size_t i = 0; i < number; i++)
        if (m->layers[i].until == m->layers[number].until) /* of layers whose weights are there together */
            packed += packed_bytes(&m->layers[i]);
    return packed;
}

#else

#if defined(__ARM_FEATURE_MVE)
#define SQZ_RESCALES

/* 128 times the sum of some bytes. */
static uint32_t bytes_times_128(const uint8_t *bytes, size_t n)
{
    uint32_t sum = 0;
    for (int32_t left = (int32_t)n; left > 0; left -= LANES, bytes += LANES) {
        const mve_pred16_t there = vctp8q((uint32_t)left);
        sum = vaddvaq_p_u8(sum, vldrbq_z_u8(bytes, there), there);
    }
    return 128 * sum;
}

/* As `dense_products`, of filters of one vector: rows stay in registers. */
static void short_products(const uint8_t *const x[TILE], const uint8_t *w, size_t n, const uint32_t begin[TILE], size_t count,
                           int32_t *to)
{
    const mve_pred16_t there = vctp8q((uint32_t)n);
    const uint8x16_t x0 = vldrbq_z_u8(x[0], there), x1 = vldrbq_z_u8(x[1], there);
    const uint8x16_t x2 = vldrbq_z_u8(x[2], there), x3 = vldrbq_z_u8(x[3], there);
    for (const int32_t *const end = to + count; to < end; to++, w += n) {
        const uint8x16_t above = veorq_u8(vldrbq_z_u8(w, there), vdupq_n_u8(128));
        to[0] = (int32_t)vmladavaq_u8(begin[0], x0, above), to[BLOCK] = (int32_t)vmladavaq_u8(begin[1], x1, above);
        to[2 * BLOCK] = (int32_t)vmladavaq_u8(begin[2], x2, above), to[3 * BLOCK] = (int32_t)vmladavaq_u8(begin[3], x3, above);
    }
}

/* The sums of `count` filters from `first` on, under which lie four rows of `n` bytes. Products are of bytes without a sign: 128 is
 * added to each weight, and 128 times the bytes are taken from each sum. A function of its own, for the sake of its registers. */
static __attribute__((noinline)) void dense_products(const uint8_t *const x[TILE], const int8_t *weights, size_t n, size_t first,
                                                     size_t count, sums_of_tile sums)
{
    const uint8x16_t middle = vdupq_n_u8(128);
    const uint8_t *w = (const uint8_t *)weights + first * n;
    uint32_t begin[TILE];
    for (size_t p = 0; p < TILE; p++)
        begin[p] = 0 - bytes_times_128(x[p], n);
    int32_t *to = sums[0];
    if (n <= LANES) {
        short_products(x, w, n, begin, count, to);
        return;
    }
    for (const int32_t *const end = to + count; to < end; to++, w += n) {
        const uint8_t *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3], *v = w;
        uint32_t s0 = begin[0], s1 = begin[1], s2 = begin[2], s3 = begin[3];
        int32_t left = (int32_t)n;
        do {
            const mve_pred16_t there = vctp8q((uint32_t)left);
            const uint8x16_t above = veorq_x_u8(vldrbq_z_u8(v, there), middle, there);
            s0 = vmladavaq_p_u8(s0, vldrbq_z_u8(x0, there), above, there), s1 = vmladavaq_p_u8(s1, vldrbq_z_u8(x1, there), above, there);
            s2 = vmladavaq_p_u8(s2, vldrbq_z_u8(x2, there), above, there), s3 = vmladavaq_p_u8(s3, vldrbq_z_u8(x3, there), above, there);
            v += LANES, x0 += LANES, x1 += LANES, x2 += LANES, x3 += LANES;
        } while ((left -= LANES) > 0);
        to[0] = (int32_t)s0, to[BLOCK] = (int32_t)s1, to[2 * BLOCK] = (int32_t)s2, to[3 * BLOCK] = (int32_t)s3;
    }
}

/* As in runtime.c, of four filters at once. Sums are below 2^28: 16 times one, by 65536 gains, is the upper half of 64 bits. The last
 * shift rounds: that adds no more than fits. */
static void rescaled(sums_of_tile sums, const int32_t *biases, const uint16_t *gains, unsigned shift, size_t count, size_t positions,
                     uint8_t *to, size_t step)
{
    const int32x4_t down = vdupq_n_s32(-(int32_t)shift);
    const uint32x4_t most = vdupq_n_u32(255);
    for (size_t f = 0; f < count; f += 4) {
        const mve_pred16_t there = vctp32q((uint32_t)(count - f));
        const int32x4_t bias = vldrwq_z_s32(biases + f, there);
        const uint32x4_t gain = vshlq_n_u32(vldrhq_z_u32(gains + f, there), 16);
        uint8_t *place = to + f;
        for (size_t p = 0; p < positions; p++, place += step) {
            /* What is below zero becomes that. */
            const uint32x4_t c = vqshluq_n_s32(vaddq_s32(vldrwq_s32(&sums[p][f]), bias), 16 - PART);
            vstrbq_p_u32(place, vminq_u32(vrshlq_u32(vmulhq_u32(c, gain), down), most), there);
        }
    }
}

/* As in runtime.c. */
static void add_residual(const struct sqz_layer *l, const uint8_t *bytes, const uint8_t *residual, size_t count, uint8_t *to)
{
    const int32x4_t down = vdupq_n_s32(-(int32_t)l->residual_shift);
    const uint32x4_t offset = vdupq_n_u32(l->residual_offset), most = vdupq_n_u32(255);
    for (size_t f = 0; f < count; f += 4) {
        const mve_pred16_t there = vctp32q((uint32_t)(count - f));
        const uint32x4_t scaled = vmlaq_n_u32(offset, vldrbq_z_u32(residual + f, there), l->residual_gain);
        const uint32x4_t sum = vaddq_u32(vldrbq_z_u32(bytes + f, there), vshlq_u32(scaled, down));
        vstrbq_p_u32(to + f, vminq_u32(vqsubq_n_u32(sum, l->residual_below), most), there);
    }
}

#elif defined(__riscv_vector) && defined(__riscv_v_intrinsic)

/* The sums of `count` filters from `first` on, under which lie four rows of `n` bytes, as many at once as vectors hold. */
static void dense_products(const uint8_t *const x[TILE], const int8_t *weights, size_t n, size_t first, size_t count,
                           sums_of_tile sums)
{
    const size_t all = __riscv_vsetvlmax_e32m4();
    const vint32m1_t nothing = __riscv_vmv_v_x_i32m1(0, 1);
    const int8_t *w = weights + first * n;
    for (size_t f = 0; f < count; f++, w += n) {
        vint32m4_t s0 = __riscv_vmv_v_x_i32m4(0, all), s1 = s0, s2 = s0, s3 = s0;
        for (size_t k = 0, step; k < n; k += step) {
            step = __riscv_vsetvl_e8m1(n - k);
            const vint8m1_t v = __riscv_vle8_v_i8m1(w + k, step);
            const vuint8m1_t x0 = __riscv_vle8_v_u8m1(x[0] + k, step), x1 = __riscv_vle8_v_u8m1(x[1] + k, step);
            const vuint8m1_t x2 = __riscv_vle8_v_u8m1(x[2] + k, step), x3 = __riscv_vle8_v_u8m1(x[3] + k, step);
            /* Lanes beyond the last byte keep what they have. */
            s0 = __riscv_vwadd_wv_i32m4_tu(s0, s0, __riscv_vwmulsu_vv_i16m2(v, x0, step), step);
            s1 = __riscv_vwadd_wv_i32m4_tu(s1, s1, __riscv_vwmulsu_vv_i16m2(v, x1, step), step);
            s2 = __riscv_vwadd_wv_i32m4_tu(s2, s2, __riscv_vwmulsu_vv_i16m2(v, x2, step), step);
            s3 = __riscv_vwadd_wv_i32m4_tu(s3, s3, __riscv_vwmulsu_vv_i16m2(v, x3, step), step);
        }
        sums[0][f] = __riscv_vmv_x_s_i32m1_i32(__riscv_vredsum_vs_i32m4_i32m1(s0, nothing, all));
        sums[1][f] = __riscv_vmv_x_s_i32m1_i32(__riscv_vredsum_vs_i32m4_i32m1(s1, nothing, all));
        sums[2][f] = __riscv_vmv_x_s_i32m1_i32(__riscv_vredsum_vs_i32m4_i32m1(s2, nothing, all));
        sums[3][f] = __riscv_vmv_x_s_i32m1_i32(__riscv_vredsum_vs_i32m4_i32m1(s3, nothing, all));
    }
}

#else

#ifdef SQZ_DSP

/* Four bytes of two rows times as many weights of two: the second and the fourth after the first and the third. Compilers keep more
 * numbers at once than there are registers; here they are loaded twice. */
#define FOUR_PRODUCTS \
    "ldr %[u], [%[w]]\n\tldr %[v], [%[w], %[apart]]\n\tsxtb16 %[u], %[u]\n\tsxtb16 %[v], %[v]\n\t" \
    "ldr %[x], [%[x0]]\n\tuxtb16 %[x], %[x]\n\t" \
    "smlad %[s00], %[u], %[x], %[s00]\n\tsmlad %[s01], %[v], %[x], %[s01]\n\t" \
    "ldr %[x], [%[x1]]\n\tuxtb16 %[x], %[x]\n\t" \
    "smlad %[s10], %[u], %[x], %[s10]\n\tsmlad %[s11], %[v], %[x], %[s11]\n\t" \
    "ldr %[v], [%[w], %[apart]]\n\tldr %[u], [%[w]], #4\n\tsxtb16 %[u], %[u], ror #8\n\tsxtb16 %[v], %[v], ror #8\n\t" \
    "ldr %[x], [%[x0]], #4\n\tuxtb16 %[x], %[x], ror #8\n\t" \
    "smlad %[s00], %[u], %[x], %[s00]\n\tsmlad %[s01], %[v], %[x], %[s01]\n\t" \
    "ldr %[x], [%[x1]], #4\n\tuxtb16 %[x], %[x], ror #8\n\t" \
    "smlad %[s10], %[u], %[x], %[s10]\n\tsmlad %[s11], %[v], %[x], %[s11]\n\t"

/* Two rows of weights times two rows of bytes. */
static void dot_pairs(const uint8_t *x0, const uint8_t *x1, const int8_t *w0, const int8_t *w1, size_t n, int32_t *to0, int32_t *to1)
{
    int32_t s00 = 0, s01 = 0, s10 = 0, s11 = 0;
    const ptrdiff_t apart = w1 - w0;
    if (n >= 4) {
        int32_t u, v, x = (int32_t)(n / 4 % 2); /* an odd number of fours begins in the middle */
        __asm__("cmp %[x], #0\n\tbne 2f\n1:\t" FOUR_PRODUCTS "\n2:\t" FOUR_PRODUCTS "cmp %[x0], %[end]\n\tbne 1b"
                : [s00] "+r"(s00), [s01] "+r"(s01), [s10] "+r"(s10), [s11] "+r"(s11), [x0] "+r"(x0), [x1] "+r"(x1), [w] "+r"(w0),
                  [u] "=&r"(u), [v] "=&r"(v), [x] "+r"(x)
                : [apart] "r"(apart), [end] "r"(x0 + n / 4 * 4)
                : "cc", "memory");
    }
    for (size_t k = 0; k < n % 4; k++) {
        s00 += w0[k] * x0[k], s01 += w0[apart + (ptrdiff_t)k] * x0[k];
        s10 += w0[k] * x1[k], s11 += w0[apart + (ptrdiff_t)k] * x1[k];
    }
    to0[0] = s00, to0[1] = s01, to1[0] = s10, to1[1] = s11;
}

/* Each of four rows of weights times each of four rows of bytes: the sums of four filters, from column `f` on. */
static void dot_products(const uint8_t *const x[TILE], const int8_t *const w[TILE], size_t n, sums_of_tile sums, size_t f)
{
    for (size_t p = 0; p < TILE; p += 2)
        for (size_t i = 0; i < TILE; i += 2)
            dot_pairs(x[p], x[p + 1], w[i], w[i + 1], n, &sums[p][f + i], &sums[p + 1][f + i]);
}

#else

/* Each of four rows of weights times each of four rows of bytes: the sums of four filters, from column `f` on. */
static void dot_products(const uint8_t *const x[TILE], const int8_t *const w[TILE], size_t n, sums_of_tile sums, size_t f)
{
    const uint8_t *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
    const int8_t *w0 = w[0], *w1 = w[1], *w2 = w[2], *w3 = w[3];
    int32_t s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
    int32_t s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
    for (size_t k = 0; k < n; k++) {
        s00 += w0[k] * x0[k], s01 += w1[k] * x0[k], s02 += w2[k] * x0[k], s03 += w3[k] * x0[k];
        s10 += w0[k] * x1[k], s11 += w1[k] * x1[k], s12 += w2[k] * x1[k], s13 += w3[k] * x1[k];
        s20 += w0[k] * x2[k], s21 += w1[k] * x2[k], s22 += w2[k] * x2[k], s23 += w3[k] * x2[k];
        s30 += w0[k] * x3[k], s31 += w1[k] * x3[k], s32 += w2[k] * x3[k], s33 += w3[k] * x3[k];
    }
    sums[0][f] = s00, sums[0][f + 1] = s01, sums[0][f + 2] = s02, sums[0][f + 3] = s03;
    sums[1][f] = s10, sums[1][f + 1] = s11, sums[1][f + 2] = s12, sums[1][f + 3] = s13;
    sums[2][f] = s20, sums[2][f + 1] = s21, sums[2][f + 2] = s22, sums[2][f + 3] = s23;
    sums[3][f] = s30, sums[3][f + 1] = s31, sums[3][f + 2] = s32, sums[3][f + 3] = s33;
}
#endif

/* The sums of `count` filters from `first` on, under which lie four rows of `n` bytes. */
static void dense_products(const uint8_t *const x[TILE], const int8_t *weights, size_t n, size_t first, size_t count,
                           sums_of_tile sums)
{
    for (size_t f = 0; f < count; f += TILE) {
        const int8_t *rows[TILE];
        for (size_t i = 0; i < TILE; i++) /* beyond the last filter, the last one again */
            rows[i] = weights + (first + (f + i < count ? f + i : count - 1)) * n;
        dot_products(x, rows, n, sums, f);
    }
}
#endif

/* Where a convolution's weights are. */
static const int8_t *weights_of(const struct sqz_model *m, size_t number)
{
    return m->weights + m->layers[number].weights;
}
#endif
