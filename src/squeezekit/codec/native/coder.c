/* The arithmetic coder and its context models: what the modules of codec/ define, in the same order, on the same arrays.
 *
 * Compiled ahead of time by scripts/build_coder.py, so that nobody waits for a compiler when a file is first read. It needs no
 * library and shifts negative numbers as every compiler in use does: arithmetically. Arguments are those of the Python functions as
 * codec/compiled.py lays them out: 64-bit words, of an array its address and its shape. */
#include <stdint.h>

_Static_assert(sizeof(void *) == 8, "arguments are words of 64 bits");

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
enum { MIN_PROBABILITY = 32, MAX_COUNT = 255, LEARNING_SHIFT = 16, MOST_INPUTS = 6 };
#define MASK 0xFFFFFFFFLL

struct integers {
    i64 *at, length;
};

struct coder {
    struct integers registers;
    uint8_t *buffer;
    i64 length, decoding;
};

/* Adaptive probabilities, of 65,536, and how many bits each has seen. */
struct bit_models {
    struct integers probabilities, counts;
};

/* Weights [sets][inputs], and the slots and predictions of one bit. */
struct mixer {
    i64 *weights, sets, inputs;
    struct integers slots, predictions;
};

static const i64 *squash, *stretch, *rate;

API void set_tables(const i64 *its_squash, const i64 *its_stretch, const i64 *its_rate)
{
    squash = its_squash, stretch = its_stretch, rate = its_rate;
}

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

static i64 sign_index(i64 x)
{
    return x > 0 ? 1 : x < 0 ? 2 : 0;
}

/* Write `bit`, or read one: with `probability` of 65,536 it is 1. */
static i64 code_bit(const struct coder *c, i64 probability, i64 bit)
{
    i64 *r = c->registers.at, low = r[LOW], high = r[HIGH];
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
            r[CODE] = (r[CODE] << 8 & MASK) | byte;
        } else {
            c->buffer[r[POSITION]] = (uint8_t)(high >> 24);
        }
        r[POSITION]++;
        low = low << 8 & MASK;
        high = (high << 8 & MASK) | 255;
    }
    r[LOW] = low, r[HIGH] = high;
    r[BUDGET]--;
    return bit;
}

/* Move a probability towards the bit that came, less with every bit it has seen. */
static void update_probability(const struct bit_models *bits, i64 slot, i64 bit)
{
    const i64 count = bits->counts.at[slot];
    bits->probabilities.at[slot] += (((bit << 16) - bits->probabilities.at[slot]) * rate[count]) >> 16;
    if (count < MAX_COUNT)
        bits->counts.at[slot] = count + 1;
}

static i64 code_adaptive_bit(const struct coder *c, const struct bit_models *bits, i64 slot, i64 bit)
{
    bit = code_bit(c, between(bits->probabilities.at[slot], MIN_PROBABILITY, 65536 - MIN_PROBABILITY), bit);
    update_probability(bits, slot, bit);
    return bit;
}

/* Code a bit with the mix of the probabilities in the slots, by the set `chosen` of weights. */
static i64 code_mixed_bit(const struct coder *c, const struct bit_models *bits, const struct mixer *mix, i64 chosen, i64 bit)
{
    i64 *weights = mix->weights + chosen * mix->inputs, inputs[MOST_INPUTS], total = 0;
    for (i64 i = 0; i < mix->inputs; i++) {
        inputs[i] = stretch[bits->probabilities.at[mix->slots.at[i]] >> 4];
        total += weights[i] * inputs[i];
    }
    const i64 probability = between(squash[between(total >> 16, -2047, 2047) + 2048], MIN_PROBABILITY, 65536 - MIN_PROBABILITY);
    bit = code_bit(c, probability, bit);
    const i64 error = (bit << 16) - probability;
    for (i64 i = 0; i < mix->inputs; i++) {
        weights[i] += (inputs[i] * error) >> LEARNING_SHIFT;
        update_probability(bits, mix->slots.at[i], bit);
    }
    return bit;
}

/* byte_model.py */

enum { ORDERS = 4, BYTE_SLOTS = 1 << 16 };
#define HASH 0x2F0B4C47LL

struct code_bytes {
    struct coder coder;
    struct bit_models bits;
    struct mixer mixer;
    uint8_t *bytes;
    i64 count;
};

API void code_bytes(const struct code_bytes *given)
{
    const struct coder *c = &given->coder;
    const struct mixer *mix = &given->mixer;
    uint8_t *bytes = given->bytes;
    i64 history = 0;
    for (i64 position = 0; position < given->count; position++) {
        if (c->decoding && c->registers.at[BUDGET] < 0)
            return;
        const i64 byte = bytes[position];
        i64 node = 1;
        for (int place = 0; place < 8; place++) {
            mix->slots.at[0] = node;
            mix->slots.at[1] = BYTE_SLOTS + ((history & 0xFF) << 8) + node;
            for (int order = 2; order < ORDERS; order++) {
                const i64 context = history & ((1LL << (8 * order)) - 1);
                mix->slots.at[order] = order * BYTE_SLOTS + ((((context << 8) + node) * HASH >> 12) & (BYTE_SLOTS - 1));
            }
            node = 2 * node + code_mixed_bit(c, &given->bits, mix, place, byte >> (7 - place) & 1);
        }
        bytes[position] = (uint8_t)node;
        history = (history << 8 | (node & 0xFF)) & 0xFFFFFF;
    }
}

struct code_byte_plane {
    struct coder coder;
    struct bit_models bits;
    uint8_t *bytes;
    i64 count;
};

API void code_byte_plane(const struct code_byte_plane *given)
{
    const struct coder *c = &given->coder;
    uint8_t *bytes = given->bytes;
    for (i64 position = 0; position < given->count; position++) {
        if (c->decoding && c->registers.at[BUDGET] < 0)
            return;
        i64 node = 1;
        for (int place = 7; place >= 0; place--)
            node = 2 * node + code_adaptive_bit(c, &given->bits, node, bytes[position] >> place & 1);
        bytes[position] = (uint8_t)node;
    }
}

/* integer_model.py */

enum { MAX_BIT_LENGTH = 24, LEVELS = 20, INITIAL_AVERAGE = 128, MAX_AVERAGED = 63 };
enum { CONTEXTS = 512, LENGTHS = 32, LOWER_BITS = 1 << 12, SIGNS = (MAX_BIT_LENGTH + 1) * LOWER_BITS };

static i64 average_level(i64 average)
{
    i64 doublings = 0;
    if (average < 4)
        return 0;
    for (; average >= 8; average >>= 1)
        doublings++;
    return least(1 + 2 * doublings + (average >> 1 & 1), LEVELS - 1);
}

static void move_average(i64 *average, i64 size, int shift)
{
    *average += ((size << 8) - *average) >> shift;
}

/* The bit length of a magnitude, 0 to `max_bits`: one bit for each step up. */
static i64 code_bit_length(const struct coder *c, const struct bit_models *bits, const struct mixer *mix, i64 max_bits, i64 length)
{
    for (i64 step = 0; step < max_bits; step++) {
        if (!code_mixed_bit(c, bits, mix, step, length > step))
            return step;
        for (i64 i = 0; i < mix->inputs; i++)
            mix->slots.at[i]++;
    }
    return max_bits;
}

/* The magnitude of that bit length: the bits below its leading one. */
static i64 code_lower_bits(const struct coder *c, const struct bit_models *bits, i64 length, i64 magnitude)
{
    i64 value = 1;
    for (i64 place = length - 2; place >= 0; place--) {
        const i64 slot = length * LOWER_BITS + (value < LOWER_BITS ? value : place);
        value = 2 * value + code_adaptive_bit(c, bits, slot, magnitude >> place & 1);
    }
    return value;
}

/* `values` [rows][columns][taps]; `by_column` [columns][taps] and `by_channel` [columns] are room for averages. */
struct code_integers {
    struct coder coder;
    struct bit_models lengths;
    struct mixer mixer;
    struct bit_models rest;
    i64 *values, rows, columns, taps, max_bits;
    struct integers by_column, by_channel;
};

API void code_integers(const struct code_integers *given)
{
    const struct coder *c = &given->coder;
    const struct mixer *mix = &given->mixer;
    const struct bit_models *rest = &given->rest;
    const i64 rows = given->rows, columns = given->columns, taps = given->taps;
    i64 *values = given->values, *by_column = given->by_column.at, *by_channel = given->by_channel.at;
    const i64 next_row = columns * taps;
    i64 row = INITIAL_AVERAGE;
    for (i64 i = 0; i < next_row; i++)
        by_column[i] = INITIAL_AVERAGE;
    for (i64 i = 0; i < columns; i++)
        by_channel[i] = INITIAL_AVERAGE;
    for (i64 r = 0; r < rows; r++) {
        i64 recent = row;
        for (i64 col = 0; col < columns; col++) {
            i64 kernel_sum = 0;
            for (i64 t = 0; t < taps; t++) {
                if (c->decoding && c->registers.at[BUDGET] < 0)
                    return;
                i64 *place = values + r * next_row + col * taps + t, *column = by_column + col * taps + t;
                const i64 above = r ? place[-next_row] : 0, before = t ? place[-1] : 0;
                const i64 upper = t >= 3 ? place[-3] : 0, beside = col ? place[-taps] : 0;
                const i64 row_level = average_level(row), column_level = average_level(*column);
                const i64 recent_level = average_level(recent);
                const i64 neighbors = least(size_of(before), 3) * 64 + least(size_of(upper), 3) * 16 +
                                      least(size_of(beside), 3) * 4 + least(size_of(above), 3);
                const i64 in_kernel = t ? average_level((kernel_sum << 8) / t) : recent_level;
                const i64 contexts[MOST_INPUTS] = {
                    least(t, 31),
                    row_level * LEVELS + average_level(by_channel[col]),
                    column_level,
                    row_level * LEVELS + column_level,
                    neighbors,
                    in_kernel * LEVELS + recent_level,
                };
                for (i64 i = 0; i < MOST_INPUTS; i++)
                    mix->slots.at[i] = (i * CONTEXTS + contexts[i]) * LENGTHS;

                const i64 value = *place;
                i64 magnitude = size_of(value), length = 0;
                while (magnitude >> length)
                    length++;
                length = code_bit_length(c, &given->lengths, mix, given->max_bits, length);
                magnitude = length ? code_lower_bits(c, rest, length, magnitude) : 0;
                if (magnitude) {
                    const i64 negative = code_adaptive_bit(c, rest, SIGNS + 3 * sign_index(before) + sign_index(above), value < 0);
                    *place = negative ? -magnitude : magnitude;
                }

                const i64 size = least(magnitude, MAX_AVERAGED);
                kernel_sum += size;
                move_average(&row, size, 5);
                move_average(&recent, size, 3);
                move_average(column, size, 4);
                move_average(by_channel + col, size, 5);
            }
        }
    }
}

/* delta_model.py */

enum { DELTA_CONTEXTS = 1024, INITIAL_SHARE = 1 << 12, ONE = 1 << 16, LEVEL_SHIFT = 4, MAX_MAGNITUDE = 15 };
enum { DELTA_LENGTHS = MAX_BIT_LENGTH + 2, DELTA_LOWER_BITS = 1 << 8 };

/* How far a change goes, from 1 on: its bit length in unary, then its lower bits. */
static i64 code_distance(const struct coder *c, const struct bit_models *lengths, const struct bit_models *lower, i64 size,
                         i64 distance)
{
    i64 length = 1, value = 1;
    while (length < DELTA_LENGTHS - 1 && code_adaptive_bit(c, lengths, size * DELTA_LENGTHS + length, distance >> length ? 1 : 0))
        length++;
    for (i64 place = length - 2; place >= 0; place--) {
        const i64 slot = length * DELTA_LOWER_BITS + (value < DELTA_LOWER_BITS ? value : place);
        value = 2 * value + code_adaptive_bit(c, lower, slot, distance >> place & 1);
    }
    return value;
}

static void move_share(i64 *average, i64 share, int shift)
{
    *average += (share - *average) >> shift;
}

/* `old` and `new` [rows][columns][taps]; `by_column` [columns][taps] and `by_channel` [columns] are room for averages. */
struct code_delta {
    struct coder coder;
    struct bit_models changed;
    struct mixer mixer;
    struct bit_models direction, length, lower;
    const i64 *old;
    i64 rows, columns, taps, *new, new_rows, new_columns, new_taps;
    struct integers by_column, by_channel;
};

API void code_delta(const struct code_delta *given)
{
    const struct coder *c = &given->coder;
    const struct mixer *mix = &given->mixer;
    const i64 rows = given->rows, columns = given->columns, taps = given->taps, *old = given->old;
    i64 *new = given->new, *by_column = given->by_column.at, *by_channel = given->by_channel.at;
    const i64 next_row = columns * taps;
    i64 row = INITIAL_SHARE;
    for (i64 i = 0; i < next_row; i++)
        by_column[i] = INITIAL_SHARE;
    for (i64 i = 0; i < columns; i++)
        by_channel[i] = INITIAL_SHARE;
    for (i64 r = 0; r < rows; r++) {
        i64 recent = row;
        for (i64 col = 0; col < columns; col++)
            for (i64 t = 0; t < taps; t++) {
                if (c->decoding && c->registers.at[BUDGET] < 0)
                    return;
                const i64 at = r * next_row + col * taps + t, was = old[at], size = least(size_of(was), MAX_MAGNITUDE);
                const i64 before = t ? new[at - 1] - old[at - 1] : 0, above = r ? new[at - next_row] - old[at - next_row] : 0;
                const i64 beside = col ? new[at - taps] - old[at - taps] : 0;
                const i64 neighbors = (before ? 1 : 0) + (above ? 2 : 0) + (beside ? 4 : 0);
                i64 *column = by_column + col * taps + t, *channel = by_channel + col;
                const i64 row_level = average_level(row >> LEVEL_SHIFT), channel_level = average_level(*channel >> LEVEL_SHIFT);
                const i64 contexts[MOST_INPUTS] = {
                    size,
                    row_level * LEVELS + channel_level,
                    size * LEVELS + row_level,
                    size * 8 + neighbors,
                    least(size, 7) * LEVELS + average_level(*column >> LEVEL_SHIFT),
                    least(size, 7) * LEVELS + average_level(recent >> LEVEL_SHIFT),
                };
                for (i64 i = 0; i < MOST_INPUTS; i++)
                    mix->slots.at[i] = i * DELTA_CONTEXTS + contexts[i];
                const i64 moved = code_mixed_bit(c, &given->changed, mix, 0, new[at] != was);
                if (moved) {
                    const i64 old_value = was ? sign_index(was) + 2 * least(size - 1, 3) : 0;
                    const i64 slot = (3 * sign_index(before) + sign_index(above)) * 9 + old_value;
                    const i64 up = code_adaptive_bit(c, &given->direction, slot, new[at] > was);
                    const i64 distance = code_distance(c, &given->length, &given->lower, size, size_of(new[at] - was));
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
