/* Classifies a picture and prints what it is. Beside this file belong classifier.h and classifier.c (squeezekit export MODEL
 * --format c) and picture.h. */
#include "classifier.h"
#include "picture.h"

#include <stdio.h>

static int32_t logits[CLASSIFIER_CLASSES];

int main(void)
{
    classifier_start();
    classifier_run(picture, logits);
    const int32_t answer = classifier_answer(logits);
    printf("%s\n", answer < 0 ? "none of these" : classifier_names[answer]);
    return 0;
}
