/* The runtime in a web page: a model comes as one block of bytes (deployment/html.py writes it), decoded once; then pictures. */
#include <stddef.h>
#include <stdint.h>

#define SQZ_API static
#define SQZ_MOST_CHANNELS 4096
#define SQZ_MOST_ROW (49 * SQZ_MOST_CHANNELS)

#include "../../c/runtime/runtime.h"
#include "../../c/runtime/products.c"
#include "../../c/runtime/runtime.c"

static const uint16_t *sqz_squash; /* [2048], comes with the model */

#include "../../c/runtime/decoder.c"

#define EXPORT(name) __attribute__((export_name(#name))) name
#define PAGE_BYTES 65536u

/* What a block begins with; the tables follow, each from a multiple of four bytes on, in the order in which `start` takes them. */
struct block {
    uint32_t layers, classes, mirrored, arena, weights, biases, gains, coded;
    uint8_t border[4];
};

extern uint8_t __heap_base;

static struct sqz_model model;
static struct sqz_decoder decoder;
static uint8_t *arena;
static size_t used;

static size_t aligned(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

/* Room for so many bytes, from a multiple of sixteen on and never given back; 0 where there is none. */
void *EXPORT(room)(size_t bytes)
{
    const size_t first = used ? used : aligned((size_t)&__heap_base, 16), pages = __builtin_wasm_memory_size(0);
    used = aligned(first + bytes, 16);
    const size_t wanted = (used + PAGE_BYTES - 1) / PAGE_BYTES;
    if (wanted > pages && __builtin_wasm_memory_grow(0, wanted - pages) == SIZE_MAX)
        return NULL;
    return (void *)first;
}

/* Takes the next table of a block. */
static const void *taken(const uint8_t **next, size_t bytes)
{
    const uint8_t *table = *next;
    *next += aligned(bytes, 4);
    return table;
}

/* Decodes the model in a block, which has to stay where it is; 0 where memory is short. */
int EXPORT(start)(const uint8_t *bytes)
{
    const uint8_t *next = bytes;
    const struct block *block = taken(&next, sizeof *block);
    int8_t *weights = room(block->weights);
    arena = room(block->arena);
    if (!weights || !arena)
        return 0;
    sqz_squash = taken(&next, 2048 * sizeof *sqz_squash);
    model.layers = taken(&next, block->layers * sizeof *model.layers);
    model.biases = taken(&next, block->biases * sizeof *model.biases);
    model.head_gains = taken(&next, block->classes * sizeof *model.head_gains);
    model.gains = taken(&next, block->gains * sizeof *model.gains);
    model.weights = weights;
    model.layer_count = (uint16_t)block->layers;
    model.classes = (uint16_t)block->classes;
    model.mirrored = (uint8_t)block->mirrored;
    copy_bytes(model.border, block->border, 4);
    sqz_decoder_start(&decoder, next, block->coded);
    sqz_decode(&model, &decoder, 0, model.layer_count, weights);
    size_t all = 0;
    for (size_t i = 0; i < model.layer_count; i++)
        all += packed_bytes(&model.layers[i]);
    int8_t *packed = room(all);
    if (!packed)
        return 0;
    pack_weights(&model, 0, model.layer_count, packed);
    model.packed = packed;
    return 1;
}

/* Logits of a picture, bytes [side][side][channels]. */
void EXPORT(run)(const uint8_t *picture, int32_t *logits)
{
    sqz_run(&model, picture, arena, logits);
}
