/* A SqueezeNet in integers: tables that describe a network, and the one function that runs it.
 *
 * Feature maps are bytes [height][width][channels] in an arena of the caller; weights are int8, sums int32. Nothing is allocated, nothing
 * recurses, and nothing depends on the byte order or on how negative numbers are shifted: all machines give the same bits.
 */
#ifndef SQZ_RUNTIME_H
#define SQZ_RUNTIME_H

#ifdef __cplusplus
#error "this is C99: compile it as C; the header may be included from C++"
#endif

#include <stddef.h>
#include <stdint.h>

enum sqz_kind { SQZ_CONVOLUTION, SQZ_POOLING, SQZ_HEAD };

/* One step. Offsets of feature maps are bytes of the arena, those of `weights` and `filter` are places in the model's tables. */
struct sqz_layer {
    uint8_t kind;            /* an sqz_kind */
    uint8_t from_picture;    /* the source is the picture */
    uint8_t kernel;          /* side of the filters or of the pooling's windows */
    uint8_t stride, padding; /* of the filters */
    uint8_t pooled;          /* 2 x 2 max-pooling follows */
    uint8_t rectified;       /* head: ReLU before the average */
    uint8_t has_residual;    /* another feature map is added */
    uint8_t shift;           /* of the sums, see `rescaled` */
    uint8_t residual_shift;
    uint8_t drop;            /* head: bits that sums over positions lose */
    uint8_t bits;            /* of the largest weight, for the decoder */
    uint8_t depthwise;       /* each filter sees the channel of its own number alone */
    uint8_t zero;            /* the byte that means 0 in the source */
    uint8_t by_row;          /* makes its next row in its turn; otherwise all of them */
    uint8_t sparse;          /* `weights` is a place among the runs */
    uint16_t height, width, channels;     /* of the source */
    uint16_t sums_height, sums_width;     /* of what is computed, before pooling */
    uint16_t out_height, out_width;       /* of the target */
    uint16_t out_channels, first;         /* of the target, and the first that is written */
    uint16_t filters;                     /* that is, channels written; head: classes */
    uint16_t source_rows, out_rows, residual_rows; /* that are kept of them: row y lies at place y % rows */
    uint16_t residual_gain, residual_below; /* see `add_residual` */
    uint16_t until;                       /* weights of all layers before this one are decoded first; 0: they are there */
    uint32_t row;                         /* from one filter's weights to the next; depthwise: one tap's */
    uint32_t source, target, residual;    /* feature maps */
    uint32_t scratch;                     /* room for the bytes under a filter, four times; head: for sums of channels */
    uint32_t weights, filter;             /* the first weight; the first bias and gain */
    uint32_t residual_offset;
};

struct sqz_model {
    const struct sqz_layer *layers;
    const int8_t *weights;
    const int8_t *packed; /* those of dense convolutions as `pack_weights` leaves them; NULL where nothing is packed */
    const uint8_t *runs;  /* weights that are not zero, of sparse convolutions, see `sparse_products` */
    const int32_t *biases;
    const uint16_t *gains;
    const uint32_t *head_gains; /* [classes] */
    uint8_t border[4];          /* the pixel that stands around a picture */
    const uint8_t *order;       /* whose turn it is; NULL: one layer after the other */
    uint32_t order_count;
    uint32_t counters;          /* room in the arena for a byte for each layer that goes row by row */
    uint16_t layer_count, classes;
    uint8_t mirrored;           /* logits of the mirror image are added */
    void (*decode)(size_t begin, size_t end); /* brings the weights of these layers, which are asked for in their order, or NULL */
};

#ifndef SQZ_API
#define SQZ_API
#endif

/* Logits [classes] of a picture, bytes [height][width][channels]; the arena may hold anything before, and does afterwards. */
SQZ_API void sqz_run(const struct sqz_model *model, const uint8_t *picture, uint8_t *arena, int32_t *logits);

#endif
