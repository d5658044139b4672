"""The text of an exported network in C: one header, one source file, and what goes with them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from textwrap import fill, wrap

from squeezekit.codec.range_coder import SQUASH
from squeezekit.export.c.tables import (
    CODE_BYTES,
    CODE_BYTES_WITHOUT_DECODER,
    STACK_BYTES,
    UNIT,
    MemoryUse,
    StoreWeights,
    largest,
    packed_bytes,
    tables_of,
)
from squeezekit.inference.model import Model
from squeezekit.integer.layout import Layout
from squeezekit.integer.plan import IntegerPlan
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.version import version

# With which functions and files begin, and where names of classes will stand.
PREFIX, NAMES = "classifier", "\0"
# Headers, the other files, and functions of those.
INTRINSICS = ("immintrin", "arm_neon", "arm_mve", "riscv_vector", "wasm_simd128")
TAKEN = {"main", "classify", "sqz", "stdint", "stddef", "stdio", "string", *INTRINSICS}
COMMENT, BANNER, MADE_BY = "/* ", "A classifier of ", " made by squeezekit "
NUMBERS_PER_LINE = 24
NARROW = 120  # Letters in a line of text.
STORED: dict[StoreWeights, str] = {
    "dense": "All weights are constants.",
    "sparse": "The weights are constants, most of them without those that are zero, which are not multiplied either.",
    "coded": "The weights are entropy-coded.",
}


@dataclass(frozen=True)
class CSource:
    """The text of each file by its name, the memory that the network needs, and the multiply-adds that it does for an image."""

    files: dict[str, str]
    memory: MemoryUse
    macs: int


def source_of(
    plan: IntegerPlan, model: Model, *, store_weights: StoreWeights, max_ram: int | None = None, name: str = PREFIX
) -> CSource:
    """The network in C, with weights as constants, `sparse` ones without zeros, or coded and decoded into RAM.

    Functions, macros and files begin with `name`, so that several networks fit into a program.

    Its feature maps take the fewest bytes that they can, or with `max_ram` at most these and most layers whole; raises
    SqueezekitError where none fits. Coded weights are decoded all at the start, or those of one part of the network at a time,
    whichever takes less RAM.
    """
    tables = tables_of(plan, store_weights=store_weights, max_ram=max_ram)
    layout, stream, use = tables.layout, tables.stream, tables.memory
    files = {
        "classifier.h": _header(plan, model, use),
        "classifier.c": _classifier(plan, model, layout, stream),
        "main.c": _part("main.c"),
        "Makefile": _part("Makefile"),
        "README.md": _readme(plan, model, use, layout, store_weights),
    }
    named = {_renamed(file, name): _renamed(text, name) for file, text in files.items()}
    # Names of classes stay as they are.
    named[f"{name}.c"] = named[f"{name}.c"].replace(NAMES, "".join(f"    {_quoted(each)},\n" for each in model.classes))
    return CSource(named, use, layout.macs)


def check_name(name: str) -> None:
    """Raises SqueezekitError where C takes no function of that name, or where the export has a file or function of it already."""
    if name in TAKEN or name.startswith("sqz_"):
        raise SqueezekitError(f"--name {name}: is taken; choose another one")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name):
        raise SqueezekitError(
            f"--name {name}: is no beginning of functions; give a small letter, then some of a to z, 0 to 9 and _"
        )


def was_exported(header: Path) -> bool:
    """Whether a file begins as the header of an export does."""
    if not header.is_file():
        return False
    with header.open("rb") as file:
        first = file.readline(1000)
    return first.startswith((COMMENT + BANNER).encode()) and MADE_BY.encode() in first


def _renamed(text: str, name: str) -> str:
    return re.sub(r"\bCLASSIFIER(?=_)", name.upper(), re.sub(rf"\b{PREFIX}(?=[_.])", name, text))


def _part(name: str) -> str:
    return (resources.files("squeezekit.export.c") / "runtime" / name).read_text(encoding="utf-8")


def _header(plan: IntegerPlan, model: Model, memory: MemoryUse) -> str:
    image, classes = plan.feature_maps[0], len(model.classes)
    remark = "" if model.none_of_these else ": this network has no rule for that, and never says so"
    return f"""{COMMENT}{_banner(model)}
 *
 * A picture is {_shape(plan)}, row by row. Logits are integers: divide them by
 * 2^CLASSIFIER_FRACTION and by CLASSIFIER_TEMPERATURE, then softmax gives probabilities; an answer less probable than
 * CLASSIFIER_THRESHOLD is unsure. Whether a picture is of any of the classes at all, classifier_answer says.
 *
 * {memory.constants:,} bytes of constants, {memory.variables:,} of variables.{_decoding_in_a_comment(memory)}
 */
#ifndef CLASSIFIER_H
#define CLASSIFIER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

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

#ifdef __cplusplus
}}
#endif

#endif
"""


def _decoding_in_a_comment(memory: MemoryUse) -> str:
    if memory.decoded is None:
        return ""
    return "".join(f"\n * {line}" for line in wrap(memory.decoded.in_words() + ".", NARROW))


def _shape(plan: IntegerPlan) -> str:
    image = plan.feature_maps[0]
    return f"{image.height} x {image.width} pixels of {image.channels} byte{'s' if image.channels > 1 else ''}"


def _banner(model: Model) -> str:
    config = model.config
    return f"{BANNER}{len(model.classes)} classes, network '{config.name}',{MADE_BY}{version()}"


def _classifier(plan: IntegerPlan, model: Model, layout: Layout, stream: bytes) -> str:
    most_row, most_channels = largest(plan)
    parts = [
        f"{COMMENT}{_banner(model)} */",
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
            _decoding_memory(layout),
        ]
    else:
        parts += [
            _table("int8_t", "weights", layout.weights),
            *([_table("uint8_t", "runs", layout.runs)] if layout.runs else []),
            f"static union {{\n    uint8_t arena[{layout.arena.bytes}];\n}} memory;",
        ]
    weights = "(const int8_t *)memory.arena" if layout.in_arena else "weights"
    parts += [
        _table("int32_t", "biases", layout.biases),
        _table("uint16_t", "gains", layout.gains),
        _table("uint32_t", "head_gains", layout.head_gains, suffix="u"),
        *([_table("uint8_t", "order", layout.order)] if layout.order else []),
        _layers(layout),
        f"""#ifdef SQZ_UNIT
#if SQZ_UNIT > {UNIT}
#error "there is no room for weights packed like that"
#endif
static int8_t packed[{max(packed_bytes(layout), 1)}];
#define PACKED packed
#else
#define PACKED NULL
#endif""",
        f"""static const struct sqz_model model = {{
    .layers = layers, .weights = {weights}, .packed = PACKED, .runs = {"runs" if layout.runs else "NULL"},
    .biases = biases, .gains = gains, .head_gains = head_gains,
    .border = {{{", ".join(map(str, layout.border))}}},
    .order = {"order" if layout.order else "NULL"}, .order_count = {len(layout.order)}, .counters = {layout.counters},
    .layer_count = {len(layout.layers)}, .classes = CLASSIFIER_CLASSES, .mirrored = {int(plan.mirrored)},
    .decode = {"decode" if layout.in_arena else "NULL"},
}};""",
        *([_DECODING_OF_PARTS] if layout.in_arena else []),
        f"const char *const classifier_names[CLASSIFIER_CLASSES] = {{\n{NAMES}}};",
        _start(decodes=bool(stream), in_parts=layout.in_arena),
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


def _decoding_memory(layout: Layout) -> str:
    """What the decoder fills, and where it works."""
    arena = f"    uint8_t arena[{layout.arena.bytes}];\n    struct sqz_decoder decoder;\n}} memory;"
    if layout.in_arena:
        return (
            "/* The arena holds feature maps, and weights of the layers that are computed. */\n"
            f"static struct {{\n{arena}\n\nstatic void decode(size_t begin, size_t end);"
        )
    return (
        f"static int8_t weights[{len(layout.weights)}];\n\n"
        f"/* The decoder has done its work before the first feature map is written. */\nstatic union {{\n{arena}"
    )


_DECODING_OF_PARTS = """/* The weights of some layers, in place of those that were there. */
static void decode(size_t begin, size_t end)
{
    if (begin == 0)
        sqz_decoder_start(&memory.decoder, coded, sizeof coded);
    sqz_decode(&model, &memory.decoder, begin, end, (int8_t *)memory.arena);
#ifdef SQZ_UNIT
    pack_weights(&model, begin, end, packed);
#endif
}"""


def _start(*, decodes: bool, in_parts: bool) -> str:
    """`classifier_start`; there is nothing to do for weights that are decoded later."""
    if in_parts:
        return "void classifier_start(void)\n{\n}"
    decoding = """    sqz_decoder_start(&memory.decoder, coded, sizeof coded);
    sqz_decode(&model, &memory.decoder, 0, model.layer_count, weights);
"""
    packing = "#ifdef SQZ_UNIT\n    pack_weights(&model, 0, model.layer_count, packed);\n#endif\n"
    return f"void classifier_start(void)\n{{\n{decoding if decodes else ''}{packing}}}"


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
    if memory.decoded:
        weights += f"\n{fill(memory.decoded.in_words() + '.', NARROW)}"
    smallest = (
        "the most that is alive at one step, so no placement is smaller"
        if memory.arena == memory.least_arena
        else f"the most that is alive at one step is {memory.least_arena:,}"
    )
    code = CODE_BYTES if memory.decoded else CODE_BYTES_WITHOUT_DECODER
    return f"""# {len(model.classes)} classes in C

{_banner(model)}: {plan.weights:,} weights, {layout.macs:,} MACs a picture, in integers only.

```sh
make
./classify PICTURE
```

`classifier.h` and `classifier.c` are the library: strict C99, not C++, with freestanding headers only (with vectors, the
compiler's intrinsics too), no allocation, no recursion, no floating point. A compiler may still want the C library's `memcpy`
and `memset`.
`main.c` reads files of raw bytes, or .pgm and .ppm, of {_shape(plan)}.

{weights} Where the compiler may use AVX2, AArch64's or WebAssembly's vectors (`-march=native`, `-msimd128`), they are then packed
for these; elsewhere nothing is packed.

| memory | bytes |
|---|---|
| flash: constants | {memory.constants:,} |
| flash: code | some {code:,} on a Cortex-M by gcc with `-Os`, more than twice that with `-O3` |
| RAM: variables | {memory.variables:,} |
| of which activations | {memory.arena:,} |
| RAM: packed weights, with vectors only | {packed_bytes(layout):,} |
| RAM: stack | about {STACK_BYTES:,} |
| the picture, wherever it is | {image.bytes:,} |

The activations share one arena: {smallest}. {_order_in_words(memory)}

Logits are integers in units of 2^-{plan.fraction}, the same to the bit on every machine.
"""
