/* The classifier without a C library, on an emulated machine: prints the logits of some pictures by semihosting. */
#include "classifier.h"
#include "pictures.h"

int main(void);

/* Compilers may call these even where there is no library. */
void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int value, size_t count);

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    volatile uint8_t *t = to; /* volatile: a loop that is not taken for a memcpy */
    const uint8_t *f = from;
    while (count--)
        *t++ = *f++;
    return to;
}

void *memset(void *to, int value, size_t count)
{
    volatile uint8_t *t = to;
    while (count--)
        *t++ = (uint8_t)value;
    return to;
}

/* Ask the emulator for something: Arm's semihosting calls, which RISC-V has taken over. */
static uintptr_t ask(uintptr_t operation, const void *argument)
{
#if defined(__aarch64__)
    register uintptr_t r0 __asm__("x0") = operation;
    register const void *r1 __asm__("x1") = argument;
    __asm__ volatile("hlt #0xf000" : "+r"(r0) : "r"(r1) : "memory");
#elif defined(__riscv)
    register uintptr_t r0 __asm__("a0") = operation;
    register const void *r1 __asm__("a1") = argument;
    __asm__ volatile(".balign 16\n.option push\n.option norvc\nslli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                     : "+r"(r0)
                     : "r"(r1)
                     : "memory");
#else
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
    __asm__ volatile("bkpt #0xab" : "+r"(r0) : "r"(r1) : "memory", "lr");
#else
    __asm__ volatile("svc #0x123456" : "+r"(r0) : "r"(r1) : "memory", "lr");
#endif
#endif
    return r0;
}

static void write_number(int32_t number)
{
    char text[12];
    char *at = text + sizeof text - 1;
    uint32_t rest = number < 0 ? 0u - (uint32_t)number : (uint32_t)number;
    *at = 0;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        *--at = '-';
    ask(4, at); /* SYS_WRITE0 */
}

int main(void)
{
    int32_t logits[CLASSIFIER_CLASSES];
    classifier_start();
    for (size_t i = 0; i < PICTURES; i++) {
        classifier_run(pictures + i * CLASSIFIER_PICTURE_BYTES, logits);
        for (size_t k = 0; k < CLASSIFIER_CLASSES; k++) {
            write_number(logits[k]);
            ask(4, k + 1 < CLASSIFIER_CLASSES ? " " : "\n");
        }
    }
    return 0;
}

static void leave(void)
{
    const uintptr_t reason[2] = {0x20026, 0}; /* ADP_Stopped_ApplicationExit */
#if defined(__aarch64__) || defined(__riscv)
    ask(0x18, reason); /* SYS_EXIT */
#else
    ask(0x18, (const void *)reason[0]);
#endif
    for (;;)
        ;
}

#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
extern uint32_t data_from[], data_begin[], data_end[], bss_begin[], bss_end[], stack_top[];
void reset(void);

void reset(void)
{
    for (size_t i = 0; data_begin + i < data_end; i++)
        data_begin[i] = data_from[i];
    for (uint32_t *at = bss_begin; at < bss_end; at++)
        *at = 0;
    main();
    leave();
}

/* The processor begins with this stack, there; a fault ends the program in a loop that the test's time limit ends. */
static const struct {
    const void *stack;
    void (*handlers[15])(void);
} vectors __attribute__((section(".vectors"), used)) = {stack_top, {reset, leave, leave}};
#else
void _start(void);

void _start(void)
{
    main();
    leave();
}
#endif
