/* What every kernel file uses: sizes, shares of work, and a step's arguments. */
#ifndef PYCNN_KERNELS_COMMON_H
#define PYCNN_KERNELS_COMMON_H

#include "../pycnn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/* The i-th of `parts` almost equal, contiguous parts of 0 .. n-1 begins here and ends where the next begins. */
INLINE int64_t part_begin(int64_t n, int64_t parts, int64_t i) { return n * i / parts; }

/* A half-open range of rows, tiles or channels. */
typedef struct { int64_t begin, end; } row_span;

/* Elements that a task of a memory-bound kernel handles: enough to pay for handing it out, few enough to share. */
#define ELEMENTS_PER_TASK (16384 / (int64_t)sizeof(real))

/* A copy of n flags. */
INLINE uint8_t *copied_flags(const uint8_t *flags, int64_t n)
{
    uint8_t *copy = malloc((size_t)n + 1);
    if (copy) memcpy(copy, flags, (size_t)n);
    return copy;
}

/* The next run of filters from..end-1 that learn, empty if there is none. Without flags all learn. */
INLINE row_span learning_run(const uint8_t *learns, int64_t from, int64_t end)
{
    row_span run = {from, end};
    if (!learns) return run;
    while (run.begin < end && !learns[run.begin]) run.begin++;
    for (run.end = run.begin; run.end < end && learns[run.end];) run.end++;
    return run;
}

/* Fills a step with a copy of `args`. */
INLINE int prepare(pycnn_step *step, pycnn_run_tasks *run, int64_t tasks, size_t scratch, const void *args, size_t size)
{
    step->run = run;
    step->release = NULL;
    step->tasks = tasks;
    step->scratch = scratch;
    step->args = malloc(size);
    if (!step->args) return PYCNN_NO_MEMORY;
    memcpy(step->args, args, size);
    return PYCNN_OK;
}

#define FLOPS_PER_TASK 5e5              /* enough work to pay for handing it to a thread */
#define MOST_TASKS 256

#define PREPARE(step, run, tasks, scratch, args) prepare(step, run, tasks, scratch, &(args), sizeof(args))

#endif
