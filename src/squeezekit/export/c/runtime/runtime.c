static void set_bytes(uint8_t *to, uint8_t value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = value;
}

/* Row y of a layer's source, of which some rows are kept. */
static const uint8_t *row_at(const uint8_t *source, size_t y, const struct sqz_layer *l)
{
    return source + y % l->source_rows * l->width * l->channels;
}

/* The sums of `count` filters from `first` on that see one channel each: rows of bytes are [taps][channels]. */
static void depthwise_products(const struct sqz_layer *l, const uint8_t *const x[TILE], const int8_t *weights, size_t first,
                               size_t count, sums_of_tile sums)
{
    const size_t taps = (size_t)l->kernel * l->kernel;
    for (size_t p = 0; p < TILE; p++) {
        for (size_t f = 0; f < count; f++)
            sums[p][f] = 0;
        for (size_t t = 0; t < taps; t++) {
            const int8_t *w = weights + t * l->row + first;
            const uint8_t *bytes = x[p] + t * l->channels + first;
            for (size_t f = 0; f < count; f++)
                sums[p][f] += w[f] * bytes[f];
        }
    }
}

/* The sums of the next `count` filters over `n` bytes, each weight that is not zero with the zeros before it: in the upper half of
 * a byte how many these are, in the lower one the weight + 8; 8 says that there are only zeros, 0 that the weight is the next byte.
 * Returns where the filters after these begin. */
static const uint8_t *sparse_products(const uint8_t *const x[TILE], const uint8_t *runs, size_t n, size_t count, sums_of_tile sums)
{
    const uint8_t *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
    for (size_t f = 0; f < count; f++) {
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (size_t k = 0; k < n;) {
            const uint8_t run = *runs++;
            int32_t w = (run & 15) - 8;
            k += run >> 4;
            if (w == 0)
                continue;
            if (w == -8) {
                w = *runs++;
                w -= w > 127 ? 256 : 0;
            }
            s0 += w * x0[k], s1 += w * x1[k], s2 += w * x2[k], s3 += w * x3[k];
            k++;
        }
        sums[0][f] = s0, sums[1][f] = s1, sums[2][f] = s2, sums[3][f] = s3;
    }
    return runs;
}

/* What lies under a filter, with zeros behind it where weights have them. */
static size_t bytes_under(const struct sqz_layer *l)
{
    return l->depthwise ? (size_t)l->kernel * l->kernel * l->channels : l->row;
}

/* The bytes under a filter at (y, x), row by row; `border` stands around the picture, what means 0 around any other source. */
static void gather(const struct sqz_layer *l, const uint8_t *source, const uint8_t *border, int mirrored, int y, int x, uint8_t *to)
{
    /* Read once: what is stored through `to` might be any of them, for all that a compiler knows. */
    const int kernel = l->kernel, width = l->width, height = l->height, rows = l->source_rows;
    const int top = y * l->stride - l->padding, left = x * l->stride - l->padding;
    const size_t channels = l->channels, line = (size_t)width * channels, part = (size_t)kernel * channels;
    uint8_t *const end = to + bytes_under(l);
    if (top >= 0 && top + kernel <= height && left >= 0 && left + kernel <= width && !mirrored) {
        const size_t kept = (size_t)rows * line;
        size_t begin = (size_t)(top % rows) * line;
        for (int i = 0; i < kernel; i++, to += part) {
            copy_bytes(to, source + begin + (size_t)left * channels, part);
            begin = begin + line < kept ? begin + line : 0;
        }
    } else {
        for (int row = top; row < top + kernel; row++) {
            const uint8_t *pixels = source + (size_t)(row > 0 ? row % rows : 0) * line;
            for (int j = left; j < left + kernel; j++, to += channels) {
                const int column = mirrored ? width - 1 - j : j;
                if (row >= 0 && row < height && column >= 0 && column < width)
                    copy_bytes(to, pixels + (size_t)column * channels, channels);
                else if (border)
                    copy_bytes(to, border, channels);
                else
                    set_bytes(to, l->zero, channels);
            }
        }
    }
    set_bytes(to, 0, (size_t)(end - to));
}

#ifndef SQZ_RESCALES
/* From steps of the sums to steps of the map, rounded to nearest, 0 to 255, for `count` filters of some positions, whose bytes lie
 * `step` apart. */
static void rescaled(sums_of_tile sums, const int32_t *biases, const uint16_t *gains, unsigned shift, size_t count,
                     size_t positions, uint8_t *restrict to, size_t step)
{
    const uint32_t half = (uint32_t)1 << (shift - 1);
    for (size_t p = 0; p < positions; p++, to += step)
        for (size_t f = 0; f < count; f++) {
            const int32_t sum = sums[p][f] + biases[f];
            const uint32_t c = sum > 0 ? (uint32_t)sum : 0;
#ifdef SQZ_DSP /* which multiplies to 64 bits at once */
            const uint32_t q = ((uint32_t)((uint64_t)c * gains[f] >> PART) + half) >> shift;
#else
            const uint32_t q = ((c >> PART) * gains[f] + ((c & ((1u << PART) - 1)) * gains[f] >> PART) + half) >> shift;
#endif
            to[f] = (uint8_t)(q < 255 ? q : 255);
        }
}

/* Add what stands at `residual`, which may be where the result goes; sums with ReLU behind them were raised by `residual_below`. */
static void add_residual(const struct sqz_layer *l, const uint8_t *bytes, const uint8_t *residual, size_t count, uint8_t *to)
{
    const uint32_t gain = l->residual_gain, offset = l->residual_offset, shift = l->residual_shift, below = l->residual_below;
    for (size_t f = 0; f < count; f++) {
        const uint32_t sum = bytes[f] + ((residual[f] * gain + offset) >> shift);
        const uint32_t q = sum > below ? sum - below : 0;
        to[f] = (uint8_t)(q < 255 ? q : 255);
    }
}
#endif

/* The largest of a tile's sums, filter by filter, in its first row. */
static void largest_of_tile(sums_of_tile sums, size_t count)
{
    for (size_t p = 1; p < TILE; p++)
        for (size_t f = 0; f < count; f++)
            if (sums[p][f] > sums[0][f])
                sums[0][f] = sums[p][f];
}

/* Where in the target a tile's results go, and what lies under the filter at its positions. */
struct tile {
    const uint8_t *bytes[TILE];
    size_t first, count; /* positions of the target */
};

static void convolve_tile(const struct sqz_model *m, const struct sqz_layer *l, const int8_t *weights, const struct tile *tile,
                          uint8_t *arena)
{
    const size_t first = tile->first % ((size_t)l->out_rows * l->out_width);
    const uint8_t *runs = l->sparse ? m->runs + l->weights : NULL;
    sums_of_tile sums;
    uint8_t bytes[TILE][BLOCK];
    for (size_t block = 0; block < l->filters; block += BLOCK) {
        const size_t count = l->filters - block < BLOCK ? l->filters - block : BLOCK;
        if (runs)
            runs = sparse_products(tile->bytes, runs, (size_t)l->kernel * l->kernel * l->channels, count, sums);
        else if (l->depthwise)
            depthwise_products(l, tile->bytes, weights, block, count, sums);
        else
            dense_products(tile->bytes, weights, l->row, block, count, sums);
        if (l->pooled)
            largest_of_tile(sums, count);
        const int32_t *biases = m->biases + l->filter + block;
        const uint16_t *gains = m->gains + l->filter + block;
        uint8_t *to = arena + l->target + first * l->out_channels + l->first + block;
        const int waits = l->has_residual;
        rescaled(sums, biases, gains, l->shift, count, tile->count, waits ? bytes[0] : to, waits ? BLOCK : l->out_channels);
        if (!waits)
            continue;
        const size_t kept = tile->first % ((size_t)l->residual_rows * l->out_width);
        const uint8_t *residual = arena + l->residual + kept * l->out_channels + l->first + block;
        for (size_t p = 0; p < tile->count; p++, to += l->out_channels, residual += l->out_channels)
            add_residual(l, bytes[p], residual, count, to);
    }
}

/* Position `i` of a tile that begins at `first` of `count` of the target, as a place among the sums; the last ones again beyond
 * the edge. */
static size_t position_of(const struct sqz_layer *l, size_t first, size_t i, size_t count)
{
    const size_t height = l->sums_height, width = l->sums_width;
    if (!l->pooled)
        return first + i < count ? first + i : count - 1;
    const size_t y = 2 * (first / l->out_width) + i / 2, x = 2 * (first % l->out_width) + i % 2;
    return (y < height ? y : height - 1) * width + (x < width ? x : width - 1);
}

static void convolve(const struct sqz_model *m, const struct sqz_layer *l, const int8_t *weights, const uint8_t *picture,
                     int mirrored, size_t begin, size_t end, uint8_t *arena)
{
    const uint8_t *source = l->from_picture ? picture : arena + l->source;
    const uint8_t *border = l->from_picture ? m->border : NULL;
    const int in_place = l->kernel == 1 && l->stride == 1 && l->row == l->channels;
    const size_t count = end * l->out_width, step = l->pooled ? 1 : TILE;
    for (size_t first = begin * l->out_width; first < count; first += step) {
        struct tile tile = {{NULL, NULL, NULL, NULL}, first, count - first < step ? count - first : step};
        for (size_t i = 0; i < TILE; i++) {
            const size_t position = position_of(l, first, i, count);
            if (in_place) {
                tile.bytes[i] = source + position % ((size_t)l->source_rows * l->width) * l->channels;
            } else {
                uint8_t *room = arena + l->scratch + i * bytes_under(l);
                gather(l, source, border, mirrored, (int)(position / l->sums_width), (int)(position % l->sums_width), room);
                tile.bytes[i] = room;
            }
        }
        convolve_tile(m, l, weights, &tile, arena);
    }
}

/* Windows of stride 2, cut off at the edges. The target may begin where the source does: what is read later lies further on. */
static void pool(const struct sqz_layer *l, size_t begin, size_t end, uint8_t *arena)
{
    const size_t channels = l->channels;
    for (size_t y = begin; y < end; y++) {
        uint8_t *to = arena + l->target + y % l->out_rows * l->out_width * channels;
        for (size_t x = 0; x < l->out_width; x++, to += channels) {
            const size_t bottom = 2 * y + l->kernel < l->height ? 2 * y + l->kernel : l->height;
            const size_t right = 2 * x + l->kernel < l->width ? 2 * x + l->kernel : l->width;
            const uint8_t *corner = row_at(arena + l->source, 2 * y, l) + 2 * x * channels;
            copy_bytes(to, corner, channels);
            for (size_t i = 2 * y; i < bottom; i++)
                for (size_t j = 2 * x; j < right; j++) {
                    raise_bytes(to, row_at(arena + l->source, i, l) + j * channels, channels);
                }
        }
    }
}

/* sum * gain / 2^shift, rounded to nearest, halves up; a number that is never negative is shifted. */
static int32_t logit_of(int32_t sum, uint32_t gain, unsigned shift)
{
    const uint64_t top = (uint64_t)1 << 62;
    const uint64_t lifted = (uint64_t)((int64_t)sum * (int64_t)gain + (int64_t)top) + ((uint64_t)1 << (shift - 1));
    return (int32_t)((int64_t)(lifted >> shift) - (int64_t)(top >> shift));
}

/* A sum of bytes in the arena, which may begin at any address. */
static uint32_t sum_at(const uint8_t *b)
{
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void set_sum(uint8_t *to, uint32_t sum)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(sum >> 8 * i);
}

/* Bytes of each channel, added over the positions of some rows; the first row begins anew. */
static void add_rows(const struct sqz_layer *l, size_t begin, size_t end, uint8_t *arena)
{
    if (!begin)
        set_bytes(arena + l->scratch, 0, 4 * (size_t)l->channels);
    for (size_t y = begin; y < end; y++) {
        const uint8_t *bytes = row_at(arena + l->source, y, l);
        for (size_t c = 0; c < l->channels; c++) {
            uint32_t sum = sum_at(arena + l->scratch + 4 * c);
            for (size_t x = 0; x < l->width; x++)
                sum += bytes[x * l->channels + c];
            set_sum(arena + l->scratch + 4 * c, sum);
        }
    }
}

/* Of the sums over all positions the average, then the last filters. */
static void classify_average(const struct sqz_model *m, const struct sqz_layer *l, const uint8_t *arena, int32_t *logits)
{
    int32_t inputs[BLOCK], sums[BLOCK];
    for (size_t block = 0; block < l->filters; block += BLOCK) {
        const size_t classes = l->filters - block < BLOCK ? l->filters - block : BLOCK;
        for (size_t k = 0; k < classes; k++)
            sums[k] = m->biases[l->filter + block + k];
        for (size_t first = 0; first < l->channels; first += BLOCK) {
            const size_t count = l->channels - first < BLOCK ? l->channels - first : BLOCK;
            for (size_t c = 0; c < count; c++) {
                const uint32_t sum = sum_at(arena + l->scratch + 4 * (first + c));
                inputs[c] = (int32_t)(l->drop ? (sum + (1u << (l->drop - 1))) >> l->drop : sum);
            }
            for (size_t k = 0; k < classes; k++) {
                const int8_t *weights = m->weights + l->weights + (block + k) * l->row + first;
                for (size_t c = 0; c < count; c++)
                    sums[k] += weights[c] * inputs[c];
            }
        }
        for (size_t k = 0; k < classes; k++)
            logits[block + k] += logit_of(sums[k], m->head_gains[block + k], l->shift);
    }
}

/* The last filters at each position of some rows, ReLU, then the average. */
static void classify_rows(const struct sqz_model *m, const struct sqz_layer *l, size_t begin, size_t end, const uint8_t *arena,
                          int32_t *logits)
{
    for (size_t k = 0; k < l->filters; k++) {
        const int8_t *weights = m->weights + l->weights + k * l->row;
        for (size_t y = begin; y < end; y++) {
            const uint8_t *bytes = row_at(arena + l->source, y, l);
            for (size_t x = 0; x < l->width; x++, bytes += l->channels) {
                int32_t sum = m->biases[l->filter + k];
                for (size_t c = 0; c < l->channels; c++)
                    sum += weights[c] * bytes[c];
                logits[k] += logit_of(sum > 0 ? sum : 0, m->head_gains[k], l->shift);
            }
        }
    }
}

/* Rows of one layer, from `begin` to before `end`. */
static void run_rows(const struct sqz_model *m, size_t number, const uint8_t *picture, int mirrored, size_t begin, size_t end,
                     uint8_t *arena, int32_t *logits)
{
    const struct sqz_layer *l = &m->layers[number];
    if (l->kind == SQZ_CONVOLUTION) {
        convolve(m, l, weights_of(m, number), picture, mirrored && l->from_picture, begin, end, arena);
    } else if (l->kind == SQZ_POOLING) {
        pool(l, begin, end, arena);
    } else if (l->rectified) {
        classify_rows(m, l, begin, end, arena, logits);
    } else {
        add_rows(l, begin, end, arena);
        if (end == l->height)
            classify_average(m, l, arena, logits);
    }
}

SQZ_API void sqz_run(const struct sqz_model *model, const uint8_t *picture, uint8_t *arena, int32_t *logits)
{
    for (size_t k = 0; k < model->classes; k++)
        logits[k] = 0;
    for (int mirrored = 0; mirrored <= model->mirrored; mirrored++) {
        uint8_t *made = arena + model->counters;
        size_t decoded = 0;
        const size_t turns = model->order ? model->order_count : model->layer_count;
        if (model->order)
            set_bytes(made, 0, model->layer_count);
        for (size_t i = 0; i < turns; i++) {
            const size_t number = model->order ? model->order[i] : i;
            const struct sqz_layer *l = &model->layers[number];
            if (l->until > decoded) {
                model->decode(decoded, l->until);
                decoded = l->until;
            }
            if (l->by_row) {
                run_rows(model, number, picture, mirrored, made[number], made[number] + 1u, arena, logits);
                made[number]++;
            } else {
                run_rows(model, number, picture, mirrored, 0, l->kind == SQZ_HEAD ? l->height : l->out_height, arena, logits);
            }
        }
    }
}
