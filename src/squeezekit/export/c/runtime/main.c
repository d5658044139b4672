/* Classify pictures: raw bytes [height][width][channels], one picture after another in a file, or .pgm and .ppm files.
 *
 * Prints a line for each picture: its label or that it is none of these, control characters as bytes, and the logits as integers.
 */
#include "classifier.h"

#include <stdio.h>
#include <string.h>

static uint8_t picture[CLASSIFIER_PICTURE_BYTES];
static int32_t logits[CLASSIFIER_CLASSES];

/* The name of a class; what would move a terminal's cursor or end the line is shown as its bytes. */
static void print_name(const char *name)
{
    for (const unsigned char *byte = (const unsigned char *)name; *byte; byte++) {
        if (byte[0] < 32 || byte[0] == 127)
            printf("\\x%02x", byte[0]);
        else if (byte[0] == 0xC2 && byte[1] >= 0x80 && byte[1] < 0xA0)
            printf("\\x%02x", *++byte);
        else
            putchar(byte[0]);
    }
}

static void classify(void)
{
    classifier_run(picture, logits);
    const int32_t answer = classifier_answer(logits);
    print_name(answer < 0 ? "none of these" : classifier_names[answer]);
    for (size_t k = 0; k < CLASSIFIER_CLASSES; k++)
        printf("%c%ld", k ? ' ' : '\t', (long)logits[k]);
    putchar('\n');
}

/* Whether a path ends in one of these letters after a point, in either case. */
static int has_suffix(const char *path, const char *suffix)
{
    const size_t length = strlen(path), wanted = strlen(suffix);
    if (length < wanted)
        return 0;
    for (size_t i = 0; i < wanted; i++) {
        const char letter = path[length - wanted + i];
        if (letter != suffix[i] && !(letter >= 'A' && letter <= 'Z' && letter - 'A' + 'a' == suffix[i]))
            return 0;
    }
    return 1;
}

static int is_space(int letter)
{
    return letter == ' ' || (letter >= '\t' && letter <= '\r');
}

/* The next number of a header and the white space or comment after it; at most 65536, and -1 where there is none. Comments go from #
 * to the end of their line. */
static long header_number(FILE *file)
{
    int letter = fgetc(file), comment = 0;
    while (is_space(letter) || letter == '#' || (comment && letter != EOF)) {
        comment = letter == '#' || (comment && letter != '\n' && letter != '\r');
        letter = fgetc(file);
    }
    if (letter < '0' || letter > '9')
        return -1;
    long number = 0;
    for (; letter >= '0' && letter <= '9'; letter = fgetc(file))
        if ((number = 10 * number + (letter - '0')) > 65535)
            number = 65536;
    if (letter == '#')
        while (letter != EOF && letter != '\n' && letter != '\r')
            letter = fgetc(file);
    return is_space(letter) ? number : -1;
}

/* Whether a PGM or PPM file goes on with a picture of the kind and size that the network takes. */
static int header_fits(FILE *file)
{
    if (fgetc(file) != 'P' || fgetc(file) != (CLASSIFIER_CHANNELS == 1 ? '5' : '6'))
        return 0;
    const int letter = fgetc(file);
    if (!is_space(letter) && letter != '#')
        return 0;
    ungetc(letter, file);
    return header_number(file) == CLASSIFIER_SIDE && header_number(file) == CLASSIFIER_SIDE && header_number(file) == 255;
}

#define TEXT_OF(number) #number
#define AS_TEXT(macro) TEXT_OF(macro)
#define SIZE AS_TEXT(CLASSIFIER_SIDE) " x " AS_TEXT(CLASSIFIER_SIDE) " pixels and 255 levels"

#if CLASSIFIER_CHANNELS == 1
static const char does_not_fit[] = "is not what the network takes: PGM (P5) of " SIZE;
#else
static const char does_not_fit[] = "is not what the network takes: PPM (P6) of " SIZE;
#endif

static const char not_whole[] = "holds no whole number of pictures as raw bytes; a JPEG or PNG must become .ppm or .pgm first";

/* Whether a file's length, where it has one, is that of whole pictures: a JPEG gets no answer before its end shows that it is one. */
static int length_fits(FILE *file)
{
    if (fseek(file, 0, SEEK_END))
        return 1;
    const long length = ftell(file);
    rewind(file);
    return length < 0 || length % (long)sizeof picture == 0;
}

/* Every picture of a file; returns what is wrong with it, or NULL. */
static const char *classify_file(FILE *file, const char *path)
{
    const int headers = has_suffix(path, ".pgm") || has_suffix(path, ".ppm") || has_suffix(path, ".pnm");
    int letter, pictures = 0;
    if (!headers && !length_fits(file))
        return not_whole;
    while ((letter = fgetc(file)) != EOF) {
        ungetc(letter, file);
        if (headers && !header_fits(file))
            return does_not_fit;
        if (fread(picture, 1, sizeof picture, file) != sizeof picture)
            return headers ? "is cut short" : not_whole;
        classify();
        pictures = 1;
    }
    if (ferror(file))
        return "cannot be read";
    return pictures ? NULL : headers ? "is empty" : not_whole;
}

int main(int count, char **paths)
{
    int failed = 0;
    classifier_start();
    if (count < 2) {
        fprintf(stderr, "usage: %s FILE ...\nFILE: pictures of %d x %d pixels of %d bytes, as they are, or .pgm or .ppm\n",
                count ? paths[0] : "classify", CLASSIFIER_SIDE, CLASSIFIER_SIDE, CLASSIFIER_CHANNELS);
        return 2;
    }
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");
        const char *problem = file ? classify_file(file, paths[i]) : "cannot be opened";
        if (file)
            fclose(file);
        if (problem) {
            fprintf(stderr, "%s: %s\n", paths[i], problem);
            failed = 1;
        }
    }
    return failed;
}
