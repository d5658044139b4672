"""The text of an exported network in C: one header, one source file, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from math import prod
from typing import Literal

import numpy as np

from squeezekit.codec.integer_model import code_integers, new_integer_model
from squeezekit.codec.range_coder import SQUASH, encoder, finish
from squeezekit.inference.model import Model
from squeezekit.integer.layer_records import CONVOLUTION
from squeezekit.integer.layout import Layout, layout_of
from squeezekit.integer.memory import MemoryOfOrders, MemoryPlanner
from squeezekit.integer.plan import IntegerConvolution, IntegerHead, IntegerPlan
from squeezekit.system.version import version

NUMBERS_PER_LINE = 24
LAYER_BYTES = 80  # sizeof(struct sqz_layer)
UNIT = 16  # Filters that products.c packs together, at most.
StoreWeights = Literal["constants", "sparse", "coded"]
STORED: dict[StoreWeights, str] = {
    "constants": "The weights are constants.",
    "sparse": "The weights are constants, most of them without those that are zero, which are not multiplied either.",
    "coded": "The weights are entropy-coded; `classifier_start` decodes them into RAM, once.",
}
MAX_BIT_COST = 11  # In bits of the stream: what the least likely bit of a weight costs.


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of constants in flash and of variables in RAM, without code, stack, and the packed weights of builds with vectors.

    `arena` holds the feature maps; `least_arena` is what no placement of them can go below in their order, `orders` what arenas
    other orders need.
    """

    constants: int
    variables: int
    arena: int
    least_arena: int
    orders: MemoryOfOrders


@dataclass(frozen=True)
class CSource:
    """The text of each file by its name, the memory that the network needs, and the multiply-adds that it does for an image."""

    files: dict[str, str]
    memory: MemoryUse
    macs: int


def source_of(plan: IntegerPlan, model: Model, *, store_weights: StoreWeights, max_ram: int | None = None) -> CSource:
    """The network in C, with weights as constants, `sparse` ones without zeros, or coded and decoded at start into RAM.

    Its feature maps take the fewest bytes that they can, or with `max_ram` at most these and most layers whole; raises
    SqueezekitError where none fits.
    """
    planner = MemoryPlanner(plan)
    memory = planner.least() if max_ram is None else planner.fitting(max_ram)
    layout = layout_of(plan, memory, sparse=store_weights == "sparse")
    stream = coded_weights(plan) if store_weights == "coded" else b""
    use = _memory(layout, plan, stream, planner.orders())
    files = {
        "classifier.h": _header(plan, model, use),
        "classifier.c": _classifier(plan, model, layout, stream),
        "main.c": _part("main.c"),
        "Makefile": _part("Makefile"),
        "README.md": _readme(plan, model, use, layout, store_weights),
    }
    return CSource(files, use, layout.macs)


def coded_weights(plan: IntegerPlan) -> bytes:
    """Every layer's integers, filter by filter and channel by channel, as a `.sqz` file codes them."""
    layers = [step.weights for step in plan.steps if isinstance(step, IntegerConvolution | IntegerHead)]
    coder, learnt = encoder(sum(layer.size for layer in layers) * 15 * MAX_BIT_COST // 8 + 8), new_integer_model()
    for layer in layers:
        channels_last = layer.reshape(layer.shape[0], -1, layer.shape[-1]).astype(np.int64)
        integers = np.ascontiguousarray(channels_last.transpose(0, 2, 1))
        code_integers(coder, learnt, integers, int(np.abs(integers).max()).bit_length())
    return finish(coder)


def _part(name: str) -> str:
    return (resources.files("squeezekit.export.c") / "runtime" / name).read_text(encoding="utf-8")


def _memory(layout: Layout, plan: IntegerPlan, stream: bytes, orders: MemoryOfOrders) -> MemoryUse:
    tables = 4 * len(layout.biases) + 2 * len(layout.gains) + 4 * len(layout.head_gains) + len(layout.gates)
    tables += LAYER_BYTES * len(layout.layers) + len(layout.order)
    arena, least = layout.arena.bytes, layout.arena.least
    if not stream:
        return MemoryUse(tables + len(layout.weights) + len(layout.runs), arena, arena, least, orders)
    most_row, most_channels = _largest(plan)
    # The decoder's memory, `struct sqz_decoder` of decoder.c, lies where the feature maps will be.
    decoder = 16 + 4 * 7 * 6 + 12 + 2 * 10693 + 2 * (most_row + most_channels) + 2 * 4096 + 10693
    return MemoryUse(tables + len(stream) + 2 * 2048, len(layout.weights) + max(arena, decoder), arena, least, orders)


def _largest(plan: IntegerPlan) -> tuple[int, int]:
    """Weights of the longest filter, and channels of the widest layer."""
    shapes = [step.weights.shape for step in plan.steps if isinstance(step, IntegerConvolution | IntegerHead)]
    return max(prod(shape[1:]) for shape in shapes), max(shape[-1] for shape in shapes)


def _header(plan: IntegerPlan, model: Model, memory: MemoryUse) -> str:
    image, classes = plan.feature_maps[0], len(model.classes)
    remark = "" if model.none_of_these else ": this network has no rule for that, and never says so"
    return f"""/* {_banner(model)}
 *
 * A picture is {_shape(plan)}, row by row. Logits are integers: divide them by
 * 2^CLASSIFIER_FRACTION and by CLASSIFIER_TEMPERATURE, then softmax gives probabilities; an answer less probable than
 * CLASSIFIER_THRESHOLD is unsure. Whether a picture is of any of the classes at all, classifier_answer says.
 */
#ifndef CLASSIFIER_H
#define CLASSIFIER_H

#include <stddef.h>
#include <stdint.h>

#define CLASSIFIER_SIDE {image.height}
#define CLASSIFIER_CHANNELS {image.channels}
#define CLASSIFIER_PICTURE_BYTES {image.bytes}
#define CLASSIFIER_CLASSES {classes}
#define CLASSIFIER_FRACTION {plan.fraction}
#define CLASSIFIER_ARENA_BYTES {memory.arena}
#define CLASSIFIER_TEMPERATURE {float(model.temperature)!r}
#define CLASSIFIER_THRESHOLD {float(model.threshold)!r}

/* Names of the classes, in the order of the logits, in UTF-8. */
extern const char *const classifier_names[CLASSIFIER_CLASSES];

/* Once, before the first picture. */
void classifier_start(void);

/* Logits [CLASSIFIER_CLASSES] of a picture [CLASSIFIER_PICTURE_BYTES]; one call at a time. */
void classifier_run(const uint8_t *picture, int32_t *logits);

/* The class with the largest logit. */
size_t classifier_best(const int32_t *logits);

/* That class, or -1 for a picture of none of these classes{remark}. */
int32_t classifier_answer(const int32_t *logits);

#endif
"""


def _shape(plan: IntegerPlan) -> str:
    image = plan.feature_maps[0]
    return f"{image.height} x {image.width} pixels of {image.channels} byte{'s' if image.channels > 1 else ''}"


def _banner(model: Model) -> str:
    config = model.config
    return f"A classifier of {len(model.classes)} classes, network '{config.name}', made by squeezekit {version()}"


def _classifier(plan: IntegerPlan, model: Model, layout: Layout, stream: bytes) -> str:
    most_row, most_channels = _largest(plan)
    parts = [
        f"/* {_banner(model)} */",
        '#include "classifier.h"',
        "#define SQZ_API static",
        _part("runtime.h"),
        _part("products.c"),
        _part("runtime.c"),
    ]
    if stream:
        parts += [
            f"#define SQZ_MOST_ROW {most_row}\n#define SQZ_MOST_CHANNELS {most_channels}",
            _table("uint16_t", "sqz_squash", SQUASH[2048:]),
            _part("decoder.c"),
            _table("uint8_t", "coded", stream),
            f"static int8_t weights[{len(layout.weights)}];",
            "/* The decoder has done its work before the first feature map is written. */\n"
            f"static union {{\n    uint8_t arena[{layout.arena.bytes}];\n    struct sqz_decoder decoder;\n}} memory;",
        ]
    else:
        parts += [
            _table("int8_t", "weights", layout.weights),
            *([_table("uint8_t", "runs", layout.runs)] if layout.runs else []),
            f"static union {{\n    uint8_t arena[{layout.arena.bytes}];\n}} memory;",
        ]
    decode = "    sqz_decode(&model, &memory.decoder, coded, sizeof coded, weights);\n"
    start = decode if stream else ""
    names = "".join(f"    {_quoted(name)},\n" for name in model.classes)
    parts += [
        _table("int32_t", "biases", layout.biases),
        _table("uint16_t", "gains", layout.gains),
        _table("uint32_t", "head_gains", layout.head_gains, suffix="u"),
        *([_table("uint8_t", "gates", layout.gates)] if len(layout.gates) else []),
        *([_table("uint8_t", "order", layout.order)] if layout.order else []),
        _layers(layout),
        f"""#ifdef SQZ_UNIT
#if SQZ_UNIT > {UNIT}
#error "there is no room for weights packed like that"
#endif
static int8_t packed[{max(_packed_bytes(layout), 1)}];
#define PACKED packed
#else
#define PACKED NULL
#endif""",
        f"""static const struct sqz_model model = {{
    .layers = layers, .weights = weights, .packed = PACKED, .runs = {"runs" if layout.runs else "NULL"},
    .biases = biases, .gains = gains, .head_gains = head_gains,
    .gates = {"gates" if len(layout.gates) else "NULL"}, .border = {{{", ".join(map(str, layout.border))}}},
    .order = {"order" if layout.order else "NULL"}, .order_count = {len(layout.order)}, .counters = {layout.counters},
    .layer_count = {len(layout.layers)}, .classes = CLASSIFIER_CLASSES, .mirrored = {int(plan.mirrored)},
}};""",
        f"const char *const classifier_names[CLASSIFIER_CLASSES] = {{\n{names}}};",
        f"void classifier_start(void)\n{{\n{start}#ifdef SQZ_UNIT\n    pack_weights(&model, packed);\n#endif\n}}",
        "void classifier_run(const uint8_t *picture, int32_t *logits)\n{\n    sqz_run(&model, picture, memory.arena, logits);\n}",
        """size_t classifier_best(const int32_t *logits)
{
    size_t best = 0;
    for (size_t k = 1; k < CLASSIFIER_CLASSES; k++)
        if (logits[k] > logits[best])
            best = k;
    return best;
}""",
        _answer(plan, model),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _answer(plan: IntegerPlan, model: Model) -> str:
    """`classifier_answer`, the rule for none of these in it if the model has one."""
    if model.none_of_these is None:
        return """int32_t classifier_answer(const int32_t *logits)
{
    return (int32_t)classifier_best(logits);
}"""
    weights, biases, least = model.none_of_these.test(plan.fraction)
    check = f"""    for (size_t k = 0; k < CLASSIFIER_CLASSES; k++)
        if (logits[k] < INT64_C({least}))
            return -1;"""
    if weights is None:
        return f"""int32_t classifier_answer(const int32_t *logits)
{{
{check}
    const size_t best = classifier_best(logits);
    return logits[best] + INT64_C({biases[0]}) < 0 ? -1 : (int32_t)best;
}}"""
    tables = [_table("int8_t", "known_weights", weights.ravel()), _table("int64_t", "known_biases", biases, suffix="LL")]
    return (
        "\n\n".join(table.rstrip() for table in tables)
        + f"""

int32_t classifier_answer(const int32_t *logits)
{{
{check}
    for (size_t row = 0; row < {len(biases)}; row++) {{
        int64_t sum = known_biases[row];
        for (size_t k = 0; k < CLASSIFIER_CLASSES; k++)
            sum += (int64_t)known_weights[row * CLASSIFIER_CLASSES + k] * logits[k];
        if (sum >= 0)
            return (int32_t)classifier_best(logits);
    }}
    return -1;
}}"""
    )


def _packed_bytes(layout: Layout) -> int:
    """Room for the weights of convolutions as products.c packs them, by the largest of its units."""
    dense = (layer for layer in layout.layers if layer.kind == CONVOLUTION and not layer.depthwise and not layer.sparse)
    return sum(-(-layer.filters // UNIT) * UNIT * -(-layer.row // 4) * 4 for layer in dense)


def _order_in_words(memory: MemoryUse) -> str:
    by_layer, by_row = memory.orders.by_layer, memory.orders.by_row
    return (
        f"Made one after the other they would take {by_layer:,} bytes, as rows that flow through the whole network\n"
        f"{by_row:,}; the best of both is {memory.orders.least:,}."
    )


def _layers(layout: Layout) -> str:
    rows = []
    for layer in layout.layers:
        # C sets a field that is left out to 0.
        fields = [f".{name} = {value}" for name, value in layer.fields().items() if value or name == "kind"]
        rows.append("    {" + ", ".join(fields) + "},\n")
    return f"static const struct sqz_layer layers[{len(rows)}] = {{\n{''.join(rows)}}};"


def _table(kind: str, name: str, numbers: Iterable[int], suffix: str = "") -> str:
    texts = [f"{int(number)}{suffix}" for number in numbers]
    lines = "".join("    " + ", ".join(texts[i : i + NUMBERS_PER_LINE]) + ",\n" for i in range(0, len(texts), NUMBERS_PER_LINE))
    return f"static const {kind} {name}[{len(texts)}] = {{\n{lines}}};"


def _quoted(text: str) -> str:
    """As a C literal: every byte that is not plain in octal, since a compiler may take question marks for trigraphs."""
    plain = {*range(32, 127)} - {*b'"\\?'}
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _readme(plan: IntegerPlan, model: Model, memory: MemoryUse, layout: Layout, store_weights: StoreWeights) -> str:
    image = plan.feature_maps[0]
    weights = STORED[store_weights]
    smallest = (
        "the most that is alive at one step, so no placement is smaller"
        if memory.arena == memory.least_arena
        else f"the most that is alive at one step is {memory.least_arena:,}"
    )
    return f"""# {len(model.classes)} classes in C

{_banner(model)}: {plan.weights:,} weights, {layout.macs:,} MACs a picture, in integers only.

```sh
make
./classify PICTURE
```

`classifier.h` and `classifier.c` are the library: strict C99 with freestanding headers only (with vectors, the compiler's
intrinsics too), no allocation, no recursion, no floating point. A compiler may still want the C library's `memcpy` and `memset`.
`main.c` reads files of raw bytes, or .pgm and .ppm, of {_shape(plan)}.

{weights} Where the compiler may use AVX2 or WebAssembly's vectors (`-march=native`, `-msimd128`), `classifier_start` packs them
for these; elsewhere nothing is packed.

| memory | bytes |
|---|---|
| flash: constants | {memory.constants:,} |
| flash: code | some 5,000 with `-Os` on a Cortex-M |
| RAM: variables | {memory.variables:,} |
| of which activations | {memory.arena:,} |
| RAM: packed weights, with vectors only | {_packed_bytes(layout):,} |
| RAM: stack | about 1,500 |
| the picture, wherever it is | {image.bytes:,} |

The activations share one arena: {smallest}. {_order_in_words(memory)}

Logits are integers in units of 2^-{plan.fraction}, the same to the bit on every machine.
"""
