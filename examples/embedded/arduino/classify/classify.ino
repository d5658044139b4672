// Classifies a picture again and again and prints what it is, for any 32-bit Arduino board.
// Beside this file belong classifier.h and classifier.c (squeezekit export MODEL --format c) and picture.h.

#include "classifier.h"
#include "picture.h"

static int32_t logits[CLASSIFIER_CLASSES];

void setup() {
  Serial.begin(115200);
  classifier_start();
}

void loop() {
  const unsigned long start = micros();
  classifier_run(picture, logits);
  const unsigned long taken = micros() - start;
  const int32_t answer = classifier_answer(logits);
  Serial.print(answer < 0 ? "none of these" : classifier_names[answer]);
  Serial.print(", ");
  Serial.print(taken / 1000.0);
  Serial.println(" ms");
  delay(1000);
}
