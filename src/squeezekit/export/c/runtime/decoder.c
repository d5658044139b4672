/* Weights as a .sqz file codes them: an arithmetic coder whose probabilities learn (docs/reference/sqz-format.md, "Coded integers"). */
#define INPUTS 6       /* predictions that are mixed */
#define LONGEST 7      /* bits of a magnitude */
#define LEVELS 20      /* steps that averages of magnitudes are told apart by */
#define FIRST_WEIGHT 19661
#define FIRST_AVERAGE 128
#define STEEPEST 63
#define SURE 32

/* The slots of each input, with a bit of the unary length each; then those of lower bits and of signs. */
#define CONTEXTS (32 + 3 * LEVELS * LEVELS + LEVELS + 256)
#define LOWER (CONTEXTS * LONGEST)
#define SIGNS (LOWER + (1 << LONGEST))
#define SLOTS (SIGNS + 9)

struct sqz_decoder {
    const uint8_t *next, *end;
    uint32_t low, high, code;
    int32_t mix[LONGEST][INPUTS];
    uint16_t probabilities[SLOTS];
    uint16_t by_column[SQZ_MOST_ROW], by_channel[SQZ_MOST_CHANNELS];
    int16_t stretch[4096];
    uint8_t counts[SLOTS];
};

/* Rounds down, whatever the sign. */
static int32_t shifted(int32_t x, unsigned shift)
{
    return x >= 0 ? x >> shift : -1 - ((-1 - x) >> shift);
}

static int32_t between(int32_t x, int32_t least, int32_t most)
{
    return x < least ? least : x > most ? most : x;
}

/* 65536 / (1 + exp(-d / 256)), for d from -2047 to 2047. */
static int32_t squash(int32_t d)
{
    return d >= 0 ? sqz_squash[d] : 65536 - sqz_squash[-d];
}

static uint32_t next_byte(struct sqz_decoder *s)
{
    return s->next < s->end ? *s->next++ : 0;
}

static int read_bit(struct sqz_decoder *s, uint32_t probability)
{
    const uint32_t span = s->high - s->low;
    const uint32_t middle = s->low + (span >> 16) * probability + (((span & 0xFFFF) * probability) >> 16);
    const int bit = s->code <= middle;
    if (bit)
        s->high = middle;
    else
        s->low = middle + 1;
    while ((s->low ^ s->high) >> 24 == 0) {
        s->low <<= 8;
        s->high = s->high << 8 | 255;
        s->code = s->code << 8 | next_byte(s);
    }
    return bit;
}

/* Towards the bit that came, less with every bit that the slot has seen. */
static void learn(struct sqz_decoder *s, size_t slot, int bit)
{
    const uint32_t p = s->probabilities[slot], rate = 131072 / (2u * s->counts[slot] + 3);
    s->probabilities[slot] = (uint16_t)(bit ? p + ((65536 - p) * rate >> 16) : p - ((p * rate + 65535) >> 16));
    if (s->counts[slot] < 255)
        s->counts[slot]++;
}

static int adaptive_bit(struct sqz_decoder *s, size_t slot)
{
    const int bit = read_bit(s, (uint32_t)between(s->probabilities[slot], SURE, 65536 - SURE));
    learn(s, slot, bit);
    return bit;
}

static int mixed_bit(struct sqz_decoder *s, const size_t *slots, int step)
{
    int32_t inputs[INPUTS], *weights = s->mix[step];
    int64_t total = 0;
    for (int i = 0; i < INPUTS; i++) {
        inputs[i] = s->stretch[s->probabilities[slots[i]] >> 4];
        total += (int64_t)weights[i] * inputs[i];
    }
    const int64_t most = (int64_t)2047 << 16;
    const int32_t mixed = shifted((int32_t)(total < -most ? -most : total > most ? most : total), 16);
    const int32_t probability = between(squash(mixed), SURE, 65536 - SURE);
    const int bit = read_bit(s, (uint32_t)probability);
    const int32_t error = bit * 65536 - probability;
    for (int i = 0; i < INPUTS; i++) {
        weights[i] += (int32_t)shifted(inputs[i] * error, 16); /* 2047 * 65536 at most */
        learn(s, slots[i], bit);
    }
    return bit;
}

static unsigned level(uint32_t average)
{
    unsigned octave = 0;
    if (average < 4)
        return 0;
    for (; average >= 8; average >>= 1)
        octave++;
    const unsigned found = 1 + 2 * octave + (average >> 1 & 1);
    return found < LEVELS ? found : LEVELS - 1;
}

static unsigned least(unsigned x, unsigned most)
{
    return x < most ? x : most;
}

static unsigned size_of(int value)
{
    return (unsigned)(value < 0 ? -value : value);
}

static unsigned sign_of(int value)
{
    return value > 0 ? 1 : value < 0 ? 2 : 0;
}

static void move_average(uint16_t *average, unsigned size, unsigned shift)
{
    *average = (uint16_t)(*average + shifted(((int32_t)size << 8) - *average, shift));
}

static int read_weight(struct sqz_decoder *s, size_t *slots, int longest, int before, int above)
{
    int length = 0;
    while (length < longest && mixed_bit(s, slots, length)) {
        length++;
        for (int i = 0; i < INPUTS; i++)
            slots[i]++;
    }
    if (length == 0)
        return 0;
    unsigned value = 1;
    for (int place = length - 2; place >= 0; place--)
        value = 2 * value + (unsigned)adaptive_bit(s, LOWER + ((size_t)1 << (length - 1)) + value);
    return adaptive_bit(s, SIGNS + 3 * sign_of(before) + sign_of(above)) ? -(int)value : (int)value;
}

/* Weights of one layer, at their places in `weights`: [filters][taps][channels], coded channel by channel; depthwise ones lie as
 * [taps][filters]. */
static void decode_layer(struct sqz_decoder *s, const struct sqz_layer *l, int8_t *weights)
{
    const size_t channels = l->depthwise ? 1 : l->channels, taps = (size_t)l->kernel * l->kernel;
    const size_t next_row = l->depthwise ? 1 : l->row, next_tap = l->depthwise ? l->row : channels;
    uint16_t row = FIRST_AVERAGE;
    for (size_t i = 0; i < channels; i++)
        s->by_channel[i] = FIRST_AVERAGE;
    for (size_t i = 0; i < channels * taps; i++)
        s->by_column[i] = FIRST_AVERAGE;
    for (size_t r = 0; r < l->filters; r++, weights += next_row) {
        uint16_t recent = row;
        for (size_t c = 0; c < channels; c++) {
            uint32_t filter_sum = 0;
            for (size_t t = 0; t < taps; t++) {
                int8_t *place = weights + t * next_tap + c;
                const int above = r ? *(place - next_row) : 0, before = t ? *(place - next_tap) : 0;
                const int upper = t >= 3 ? *(place - 3 * next_tap) : 0, beside = c ? *(place - 1) : 0;
                uint16_t *column = &s->by_column[c * taps + t], *channel = &s->by_channel[c];
                const unsigned near = least(size_of(before), 3) * 64 + least(size_of(upper), 3) * 16 +
                                      least(size_of(beside), 3) * 4 + least(size_of(above), 3);
                const unsigned in_filter = t ? level((filter_sum << 8) / (uint32_t)t) : level(recent);
                const unsigned contexts[INPUTS] = {
                    least((unsigned)t, 31),
                    32 + level(row) * LEVELS + level(*channel),
                    32 + LEVELS * LEVELS + level(*column),
                    32 + LEVELS * LEVELS + LEVELS + level(row) * LEVELS + level(*column),
                    32 + 2 * LEVELS * LEVELS + LEVELS + near,
                    32 + 2 * LEVELS * LEVELS + LEVELS + 256 + in_filter * LEVELS + level(recent),
                };
                size_t slots[INPUTS];
                for (int i = 0; i < INPUTS; i++)
                    slots[i] = (size_t)contexts[i] * LONGEST;
                *place = (int8_t)read_weight(s, slots, l->bits, before, above);
                const unsigned size = least(size_of(*place), STEEPEST);
                filter_sum += size;
                move_average(&row, size, 5);
                move_average(&recent, size, 3);
                move_average(column, size, 4);
                move_average(channel, size, 5);
            }
        }
    }
}

/* Its inverse: the least d with squash(d) >= 16 i + 8. */
static void fill_stretch(int16_t *stretch)
{
    int32_t d = -2047;
    for (int32_t i = 0; i < 4096; i++) {
        while (d < 2047 && squash(d) < 16 * i + 8)
            d++;
        stretch[i] = (int16_t)d;
    }
}

/* Begin with the first of some coded bytes. */
SQZ_API void sqz_decoder_start(struct sqz_decoder *s, const uint8_t *coded, size_t length)
{
    s->next = coded, s->end = coded + length;
    s->low = 0, s->high = 0xFFFFFFFF, s->code = 0;
    for (int i = 0; i < 4; i++)
        s->code = s->code << 8 | next_byte(s);
    for (size_t i = 0; i < SLOTS; i++)
        s->probabilities[i] = 32768, s->counts[i] = 0;
    for (int i = 0; i < LONGEST; i++)
        for (int j = 0; j < INPUTS; j++)
            s->mix[i][j] = FIRST_WEIGHT;
    fill_stretch(s->stretch);
}

/* The weights of the next layers of a model, from `begin` to before `end`. */
SQZ_API void sqz_decode(const struct sqz_model *model, struct sqz_decoder *s, size_t begin, size_t end, int8_t *weights)
{
    for (size_t i = begin; i < end; i++)
        if (model->layers[i].kind == SQZ_CONVOLUTION || model->layers[i].kind == SQZ_HEAD)
            decode_layer(s, &model->layers[i], weights + model->layers[i].weights);
}
