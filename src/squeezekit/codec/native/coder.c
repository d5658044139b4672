/* The arithmetic coder and its context models: what codec/*.py defines, in the same order, on the same arrays, to the same bits.
 *
 * Compiled ahead of time by scripts/build_coder.py, so that nobody waits for a compiler when a file is first read. It needs no
 * library, allocates nothing, and shifts negative numbers as every compiler in use does: arithmetically. */
#include <stdint.h>

#ifdef _WIN32
#define API __declspec(dllexport)
/* Nothing to do when the library is loaded. */
API int DllMainCRTStartup(void *module, unsigned reason, void *reserved)
{
    (void)module, (void)reason, (void)reserved;
    return 1;
}
#else
#define API __attribute__((visibility("default")))
#endif

typedef int64_t i64;

enum { LOW, HIGH, CODE, POSITION, BUDGET };
enum { SURE = 32, LIMIT = 255, LEARNING_SHIFT = 16, MOST_INPUTS = 6 };
#define WHOLE 0xFFFFFFFFLL

/* Tables, registers and bytes of a coder, and which way the bytes go. */
struct coder {
    const i64 *squash, *stretch, *rate;
    i64 *registers;
    uint8_t *buffer;
    i64 length, decoding;
};

/* Adaptive probabilities, of 65,536, and how many bits each has seen. */
struct bits {
    i64 *probabilities, *counts;
};

/* Weights [sets][inputs], and the slots of the inputs of one bit. */
struct mix {
    i64 *weights, *slots, inputs;
};

static i64 least(i64 a, i64 b)
{
    return a < b ? a : b;
}

static i64 between(i64 x, i64 low, i64 high)
{
    return x < low ? low : x > high ? high : x;
}

static i64 size_of(i64 x)
{
    return x < 0 ? -x : x;
}

static i64 sign_of(i64 x)
{
    return x > 0 ? 1 : x < 0 ? 2 : 0;
}

/* Write `bit`, or read one: with `probability` of 65,536 it is 1. */
static i64 coded(const struct coder *c, i64 probability, i64 bit)
{
    i64 *r = c->registers, low = r[LOW], high = r[HIGH];
    const i64 span = high - low;
    const i64 middle = low + (span >> 16) * probability + (((span & 0xFFFF) * probability) >> 16);
    if (c->decoding)
        bit = r[CODE] <= middle;
    if (bit)
        high = middle;
    else
        low = middle + 1;
    while ((low ^ high) >> 24 == 0) {
        if (c->decoding) {
            const i64 byte = r[POSITION] < c->length ? c->buffer[r[POSITION]] : 0;
            r[CODE] = (r[CODE] << 8 & WHOLE) | byte;
        } else {
            c->buffer[r[POSITION]] = (uint8_t)(high >> 24);
        }
        r[POSITION]++;
        low = low << 8 & WHOLE;
        high = (high << 8 & WHOLE) | 255;
    }
    r[LOW] = low, r[HIGH] = high;
    r[BUDGET]--;
    return bit;
}

/* Move a probability towards the bit that came, less with every bit it has seen. */
static void learn(const struct coder *c, const struct bits *bits, i64 slot, i64 bit)
{
    const i64 count = bits->counts[slot];
    bits->probabilities[slot] += (((bit << 16) - bits->probabilities[slot]) * c->rate[count]) >> 16;
    if (count < LIMIT)
        bits->counts[slot] = count + 1;
}

static i64 adaptive(const struct coder *c, const struct bits *bits, i64 slot, i64 bit)
{
    bit = coded(c, between(bits->probabilities[slot], SURE, 65536 - SURE), bit);
    learn(c, bits, slot, bit);
    return bit;
}

/* Code a bit with the mix of the probabilities in the slots, by the set `chosen` of weights. */
static i64 mixed(const struct coder *c, const struct bits *bits, const struct mix *mix, i64 chosen, i64 bit)
{
    i64 *weights = mix->weights + chosen * mix->inputs, inputs[MOST_INPUTS], total = 0;
    for (i64 i = 0; i < mix->inputs; i++) {
        inputs[i] = c->stretch[bits->probabilities[mix->slots[i]] >> 4];
        total += weights[i] * inputs[i];
    }
    const i64 probability = between(c->squash[between(total >> 16, -2047, 2047) + 2048], SURE, 65536 - SURE);
    bit = coded(c, probability, bit);
    const i64 error = (bit << 16) - probability;
    for (i64 i = 0; i < mix->inputs; i++) {
        weights[i] += (inputs[i] * error) >> LEARNING_SHIFT;
        learn(c, bits, mix->slots[i], bit);
    }
    return bit;
}

/* byte_model.py */

enum { ORDERS = 4, TEXT_SLOTS = 1 << 16 };
#define HASH 0x2F0B4C47LL

API void code_text(const struct coder *c, const struct bits *bits, const struct mix *mix, uint8_t *bytes, i64 count)
{
    i64 history = 0;
    for (i64 position = 0; position < count; position++) {
        if (c->decoding && c->registers[BUDGET] < 0)
            return;
        const i64 byte = bytes[position];
        i64 node = 1;
        for (int place = 0; place < 8; place++) {
            mix->slots[0] = node;
            mix->slots[1] = TEXT_SLOTS + ((history & 0xFF) << 8) + node;
            for (int order = 2; order < ORDERS; order++) {
                const i64 context = history & ((1LL << (8 * order)) - 1);
                mix->slots[order] = order * TEXT_SLOTS + ((((context << 8) + node) * HASH >> 12) & (TEXT_SLOTS - 1));
            }
            node = 2 * node + mixed(c, bits, mix, place, byte >> (7 - place) & 1);
        }
        bytes[position] = (uint8_t)node;
        history = (history << 8 | (node & 0xFF)) & 0xFFFFFF;
    }
}

API void code_plane(const struct coder *c, const struct bits *bits, uint8_t *bytes, i64 count)
{
    for (i64 position = 0; position < count; position++) {
        if (c->decoding && c->registers[BUDGET] < 0)
            return;
        i64 node = 1;
        for (int place = 7; place >= 0; place--)
            node = 2 * node + adaptive(c, bits, node, bytes[position] >> place & 1);
        bytes[position] = (uint8_t)node;
    }
}

/* integer_model.py */

enum { LONGEST = 24, LEVELS = 20, FIRST_AVERAGE = 128, CONTEXTS = 512, LENGTHS = 32, LOWER = 1 << 12, STEEPEST = 63 };
enum { SIGNS = (LONGEST + 1) * LOWER };

static i64 level(i64 average)
{
    i64 octave = 0;
    if (average < 4)
        return 0;
    for (; average >= 8; average >>= 1)
        octave++;
    return least(1 + 2 * octave + (average >> 1 & 1), LEVELS - 1);
}

static void move_average(i64 *average, i64 size, int shift)
{
    *average += ((size << 8) - *average) >> shift;
}

/* The bit length of a magnitude, 0 to `longest`: one bit for each step up. */
static i64 code_length(const struct coder *c, const struct bits *bits, const struct mix *mix, i64 longest, i64 length)
{
    for (i64 step = 0; step < longest; step++) {
        if (!mixed(c, bits, mix, step, length > step))
            return step;
        for (i64 i = 0; i < mix->inputs; i++)
            mix->slots[i]++;
    }
    return longest;
}

/* The magnitude of that bit length: the bits below its leading one. */
static i64 lower_bits(const struct coder *c, const struct bits *bits, i64 length, i64 magnitude)
{
    i64 value = 1;
    for (i64 place = length - 2; place >= 0; place--) {
        const i64 slot = length * LOWER + (value < LOWER ? value : place);
        value = 2 * value + adaptive(c, bits, slot, magnitude >> place & 1);
    }
    return value;
}

/* `values` [rows][columns][taps]; `by_column` [columns][taps] and `by_channel` [columns] are room. */
API void code_integers(const struct coder *c, const struct bits *lengths, const struct mix *mix, const struct bits *rest,
                       i64 *values, i64 rows, i64 columns, i64 taps, i64 longest, i64 *by_column, i64 *by_channel)
{
    const i64 next_row = columns * taps;
    i64 row = FIRST_AVERAGE;
    for (i64 i = 0; i < next_row; i++)
        by_column[i] = FIRST_AVERAGE;
    for (i64 i = 0; i < columns; i++)
        by_channel[i] = FIRST_AVERAGE;
    for (i64 r = 0; r < rows; r++) {
        i64 recent = row;
        for (i64 col = 0; col < columns; col++) {
            i64 filter_sum = 0;
            for (i64 t = 0; t < taps; t++) {
                if (c->decoding && c->registers[BUDGET] < 0)
                    return;
                i64 *place = values + r * next_row + col * taps + t, *column = by_column + col * taps + t;
                const i64 above = r ? place[-next_row] : 0, before = t ? place[-1] : 0;
                const i64 upper = t >= 3 ? place[-3] : 0, beside = col ? place[-taps] : 0;
                const i64 row_level = level(row), column_level = level(*column), recent_level = level(recent);
                const i64 neighbors = least(size_of(before), 3) * 64 + least(size_of(upper), 3) * 16 +
                                      least(size_of(beside), 3) * 4 + least(size_of(above), 3);
                const i64 in_filter = t ? level((filter_sum << 8) / t) : recent_level;
                const i64 contexts[MOST_INPUTS] = {
                    least(t, 31),
                    row_level * LEVELS + level(by_channel[col]),
                    column_level,
                    row_level * LEVELS + column_level,
                    neighbors,
                    in_filter * LEVELS + recent_level,
                };
                for (i64 i = 0; i < MOST_INPUTS; i++)
                    mix->slots[i] = (i * CONTEXTS + contexts[i]) * LENGTHS;

                const i64 value = *place;
                i64 magnitude = size_of(value), length = 0;
                while (magnitude >> length)
                    length++;
                length = code_length(c, lengths, mix, longest, length);
                magnitude = length ? lower_bits(c, rest, length, magnitude) : 0;
                if (magnitude) {
                    const i64 negative = adaptive(c, rest, SIGNS + 3 * sign_of(before) + sign_of(above), value < 0);
                    *place = negative ? -magnitude : magnitude;
                }

                const i64 size = least(magnitude, STEEPEST);
                filter_sum += size;
                move_average(&row, size, 5);
                move_average(&recent, size, 3);
                move_average(column, size, 4);
                move_average(by_channel + col, size, 5);
            }
        }
    }
}

/* delta_model.py */

enum { DELTA_CONTEXTS = 1024, FIRST_SHARE = 1 << 12, ONE = 1 << 16, LEVEL_SHIFT = 4, LARGE = 15 };
enum { DELTA_LENGTHS = LONGEST + 2, DELTA_LOWER = 1 << 8 };

/* How far a change goes, from 1 on: its bit length in unary, then its lower bits. */
static i64 code_distance(const struct coder *c, const struct bits *lengths, const struct bits *lower, i64 size, i64 distance)
{
    i64 length = 1, value = 1;
    while (length < DELTA_LENGTHS - 1 && adaptive(c, lengths, size * DELTA_LENGTHS + length, distance >> length ? 1 : 0))
        length++;
    for (i64 place = length - 2; place >= 0; place--) {
        const i64 slot = length * DELTA_LOWER + (value < DELTA_LOWER ? value : place);
        value = 2 * value + adaptive(c, lower, slot, distance >> place & 1);
    }
    return value;
}

static void move_share(i64 *average, i64 share, int shift)
{
    *average += (share - *average) >> shift;
}

/* `old` and `new` [rows][columns][taps]; `by_column` [columns][taps] and `by_channel` [columns] are room. */
API void code_delta(const struct coder *c, const struct bits *changed, const struct mix *mix, const struct bits *direction,
                    const struct bits *lengths, const struct bits *lower, const i64 *old, i64 *new, i64 rows, i64 columns,
                    i64 taps, i64 *by_column, i64 *by_channel)
{
    const i64 next_row = columns * taps;
    i64 row = FIRST_SHARE;
    for (i64 i = 0; i < next_row; i++)
        by_column[i] = FIRST_SHARE;
    for (i64 i = 0; i < columns; i++)
        by_channel[i] = FIRST_SHARE;
    for (i64 r = 0; r < rows; r++) {
        i64 recent = row;
        for (i64 col = 0; col < columns; col++)
            for (i64 t = 0; t < taps; t++) {
                if (c->decoding && c->registers[BUDGET] < 0)
                    return;
                const i64 at = r * next_row + col * taps + t, was = old[at], size = least(size_of(was), LARGE);
                const i64 before = t ? new[at - 1] - old[at - 1] : 0, above = r ? new[at - next_row] - old[at - next_row] : 0;
                const i64 beside = col ? new[at - taps] - old[at - taps] : 0;
                const i64 neighbors = (before ? 1 : 0) + (above ? 2 : 0) + (beside ? 4 : 0);
                i64 *column = by_column + col * taps + t, *channel = by_channel + col;
                const i64 row_level = level(row >> LEVEL_SHIFT), channel_level = level(*channel >> LEVEL_SHIFT);
                const i64 contexts[MOST_INPUTS] = {
                    size,
                    row_level * LEVELS + channel_level,
                    size * LEVELS + row_level,
                    size * 8 + neighbors,
                    least(size, 7) * LEVELS + level(*column >> LEVEL_SHIFT),
                    least(size, 7) * LEVELS + level(recent >> LEVEL_SHIFT),
                };
                for (i64 i = 0; i < MOST_INPUTS; i++)
                    mix->slots[i] = i * DELTA_CONTEXTS + contexts[i];
                const i64 moved = mixed(c, changed, mix, 0, new[at] != was);
                if (moved) {
                    const i64 slot = (3 * sign_of(before) + sign_of(above)) * 9 + (was ? sign_of(was) + 2 * least(size - 1, 3) : 0);
                    const i64 up = adaptive(c, direction, slot, new[at] > was);
                    const i64 distance = code_distance(c, lengths, lower, size, size_of(new[at] - was));
                    new[at] = up ? was + distance : was - distance;
                } else {
                    new[at] = was;
                }
                const i64 share = moved ? ONE : 0;
                move_share(&row, share, 6);
                move_share(&recent, share, 4);
                move_share(column, share, 4);
                move_share(channel, share, 5);
            }
    }
}
