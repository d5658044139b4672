/* Classify pictures: raw bytes [height][width][channels], one picture after another in a file, or .pgm and .ppm files.
 *
 * Prints a line for each picture: its label, and the logits as integers.
 */
#include "classifier.h"

#include <stdio.h>
#include <string.h>

static uint8_t picture[CLASSIFIER_PICTURE_BYTES];
static int32_t logits[CLASSIFIER_CLASSES];

static void classify(void)
{
    classifier_run(picture, logits);
    fputs(classifier_names[classifier_best(logits)], stdout);
    for (size_t k = 0; k < CLASSIFIER_CLASSES; k++)
        printf("%c%ld", k ? ' ' : '\t', (long)logits[k]);
    putchar('\n');
}

static int has_suffix(const char *path, const char *suffix)
{
    const size_t length = strlen(path);
    return length >= 4 && strcmp(path + length - 4, suffix) == 0;
}

/* Whether a PGM or PPM file goes on with the size that the network takes. */
static int header_fits(FILE *file, const char *magic)
{
    unsigned width, height, most;
    char found[3];
    return fscanf(file, "%2s %u %u %u", found, &width, &height, &most) == 4 && fgetc(file) != EOF && strcmp(found, magic) == 0 &&
           width == CLASSIFIER_SIDE && height == CLASSIFIER_SIDE && most == 255;
}

/* Every picture of a file; returns what is wrong with it, or NULL. */
static const char *classify_file(FILE *file, const char *path)
{
    const char *magic = CLASSIFIER_CHANNELS == 1 ? "P5" : "P6";
    if ((has_suffix(path, ".pgm") || has_suffix(path, ".ppm")) && !header_fits(file, magic))
        return "is not of the size and kind that the network takes";
    size_t count, pictures = 0;
    while ((count = fread(picture, 1, sizeof picture, file)) == sizeof picture) {
        classify();
        pictures++;
    }
    if (count || !pictures)
        return "holds no whole number of pictures";
    return NULL;
}

int main(int count, char **paths)
{
    int failed = 0;
    classifier_start();
    if (count < 2) {
        fprintf(stderr, "usage: %s FILE ...\nFILE: pictures of %d x %d pixels of %d bytes, as they are, or .pgm or .ppm\n", paths[0],
                CLASSIFIER_SIDE, CLASSIFIER_SIDE, CLASSIFIER_CHANNELS);
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
