/* Classifies a picture and prints what it is. Beside this file belong classifier.h and classifier.c (squeezekit export MODEL
 * --format c) and picture.h. */
#include "classifier.h"
#include "picture.h"

#include <stdio.h>
#include <time.h>

static int32_t logits[CLASSIFIER_CLASSES];

void app_main(void);

void app_main(void)
{
    classifier_start();
    const clock_t start = clock();
    classifier_run(picture, logits);
    const long taken = (long)((clock() - start) * 1000 / CLOCKS_PER_SEC);
    const int32_t answer = classifier_answer(logits);
    printf("%s, %ld ms\n", answer < 0 ? "none of these" : classifier_names[answer], taken);
}
