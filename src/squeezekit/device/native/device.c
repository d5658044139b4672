/* What a device computes with the bytes of a `.sqz` file: its numbers, its weights in whole steps, and logits of pictures.
 *
 * Compiled ahead of time by scripts/build_device.py, together with codec/native/coder.c; it needs no library. Python lays out
 * all memory, checks every size before, and says with codec/encodings.py and integer/quantizer.py what each function gives, to
 * the bit: additions and multiplications of floats are never merged. */
#include <stddef.h>
#include <stdint.h>

#define SQZ_API static

#include "../../export/c/runtime/runtime.h"
#include "../../export/c/runtime/products.c"
#include "../../export/c/runtime/runtime.c"

/* As integer/layer_records.py packs it. */
_Static_assert(sizeof(struct sqz_layer) == 80, "the layer record has another size");

#define API __attribute__((visibility("default")))

/* codec/encodings.py: numbers of a file as float32 */

/* Of four byte planes, the highest first; the sign is the lowest bit. */
API void floats_of_planes(const uint8_t *planes, size_t count, uint32_t *floats)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t rotated = 0;
        for (size_t plane = 0; plane < 4; plane++)
            rotated = rotated << 8 | planes[plane * count + i];
        floats[i] = rotated >> 1 | rotated << 31;
    }
}

/* Of indices counted from `center`; 0 where one is outside of the `entries`. */
API int floats_of_codebook(const int64_t *indices, size_t count, const uint32_t *entries, int64_t length, int64_t center,
                           uint32_t *floats)
{
    for (size_t i = 0; i < count; i++) {
        const int64_t index = indices[i] + center;
        if (index < 0 || index >= length)
            return 0;
        floats[i] = entries[index];
    }
    return 1;
}

/* Of integers [rows][columns] and the scale of each row. */
API void floats_of_integers(const int64_t *integers, size_t rows, size_t columns, const float *scales, float *floats)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t i = row * columns; i < (row + 1) * columns; i++)
            floats[i] = (float)integers[i] * scales[row];
}

/* Whether no number is infinite or none. */
API int all_finite(const uint32_t *floats, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((floats[i] >> 23 & 255) == 255)
            return 0;
    return 1;
}

/* The largest magnitude in each row of integers. */
API void largest_integers(const int64_t *integers, size_t rows, size_t columns, int64_t *largest)
{
    for (size_t row = 0; row < rows; row++) {
        largest[row] = 0;
        for (size_t i = row * columns; i < (row + 1) * columns; i++) {
            const int64_t size = integers[i] < 0 ? -integers[i] : integers[i];
            largest[row] = size > largest[row] ? size : largest[row];
        }
    }
}

/* integer/quantizer.py: weights [filters][channels][taps], divided by the channels' divisors unless these are NULL */

struct filters {
    const float *weights;
    size_t count, channels, taps;
    const double *divisors;
};

static double weight_at(const struct filters *w, size_t filter, size_t channel, size_t tap)
{
    const double weight = w->weights[(filter * w->channels + channel) * w->taps + tap];
    return w->divisors ? weight / w->divisors[channel] : weight;
}

API void largest_weights(const struct filters *w, double *largest)
{
    for (size_t f = 0; f < w->count; f++) {
        largest[f] = 0;
        for (size_t c = 0; c < w->channels; c++)
            for (size_t t = 0; t < w->taps; t++) {
                const double weight = weight_at(w, f, c, t), size = weight < 0 ? -weight : weight;
                largest[f] = size > largest[f] ? size : largest[f];
            }
    }
}

/* To the nearest integer, halves to even: the sum has no room for a fraction. */
static double nearest(double x)
{
    const double large = 6755399441055744.0; /* 3 * 2^51 */
    return (x + large) - large;
}

/* Each weight in its filter's steps, -127 to 127, as [filters][taps][channels]; of each filter the sum, and that of magnitudes. */
API void rounded_weights(const struct filters *w, const double *steps, int8_t *rounded, int64_t *sums, int64_t *magnitudes)
{
    for (size_t f = 0; f < w->count; f++) {
        sums[f] = magnitudes[f] = 0;
        for (size_t t = 0; t < w->taps; t++)
            for (size_t c = 0; c < w->channels; c++) {
                const double exact = weight_at(w, f, c, t) / steps[f];
                const int step = (int)nearest(exact < -127 ? -127 : exact > 127 ? 127 : exact);
                *rounded++ = (int8_t)step;
                sums[f] += step;
                magnitudes[f] += step < 0 ? -step : step;
            }
    }
}

/* The self-check: layers in floats, maps are [channels][height][width] */

struct float_layer {
    size_t channels, height, width;      /* of the source */
    size_t filters, out_height, out_width; /* of the target */
    size_t kernel, stride, padding;
    int depthwise, rectified;
};

/* Adds to a row of sums what one row under the filters contributes by one row of a filter. */
static void add_row(const struct float_layer *l, const float *restrict pixels, const float *weights, float *restrict sums)
{
    for (size_t j = 0; j < l->kernel; j++) {
        const float weight = weights[j];
        const size_t begin = j < l->padding ? (l->padding - j + l->stride - 1) / l->stride : 0;
        for (size_t x = begin; x < l->out_width && x * l->stride + j < l->width + l->padding; x++)
            sums[x] += weight * pixels[x * l->stride + j - l->padding];
    }
}

API void float_convolution(const struct float_layer *l, const float *source, const float *weights, const float *bias, float *target)
{
    const size_t channels = l->depthwise ? 1 : l->channels;
    for (size_t f = 0; f < l->filters; f++)
        for (size_t y = 0; y < l->out_height; y++, target += l->out_width) {
            for (size_t x = 0; x < l->out_width; x++)
                target[x] = bias[f];
            for (size_t c = 0; c < channels; c++)
                for (size_t i = 0; i < l->kernel; i++) {
                    const size_t row = y * l->stride + i, channel = l->depthwise ? f : c;
                    if (row < l->padding || row >= l->height + l->padding)
                        continue;
                    const float *pixels = source + (channel * l->height + row - l->padding) * l->width;
                    add_row(l, pixels, weights + ((f * channels + c) * l->kernel + i) * l->kernel, target);
                }
            for (size_t x = 0; l->rectified && x < l->out_width; x++)
                target[x] = target[x] > 0 ? target[x] : 0;
        }
}

/* Windows of stride 2, cut off at the edges. */
API void float_pooling(const struct float_layer *l, const float *source, float *target)
{
    for (size_t c = 0; c < l->channels; c++)
        for (size_t y = 0; y < l->out_height; y++)
            for (size_t x = 0; x < l->out_width; x++, target++) {
                const float *pixels = source + c * l->height * l->width;
                *target = pixels[2 * y * l->width + 2 * x];
                for (size_t i = 2 * y; i < 2 * y + l->kernel && i < l->height; i++)
                    for (size_t j = 2 * x; j < 2 * x + l->kernel && j < l->width; j++)
                        *target = pixels[i * l->width + j] > *target ? pixels[i * l->width + j] : *target;
            }
}

API void float_sum(const float *one, const float *other, size_t count, float *sums)
{
    for (size_t i = 0; i < count; i++)
        sums[i] = one[i] + other[i];
}

/* Inference */

/* What the packed weights of a model take; 0 where they stay as they are. */
API size_t packed_size(const struct sqz_model *model)
{
    size_t all = 0;
#ifdef SQZ_UNIT
    for (size_t i = 0; i < model->layer_count; i++)
        all += packed_bytes(&model->layers[i]);
#else
    (void)model;
#endif
    return all;
}

API void pack(const struct sqz_model *model, int8_t *packed)
{
#ifdef SQZ_UNIT
    pack_weights(model, 0, model->layer_count, packed);
#else
    (void)model, (void)packed;
#endif
}

API void run(const struct sqz_model *model, const uint8_t *picture, uint8_t *arena, int32_t *logits)
{
    sqz_run(model, picture, arena, logits);
}
