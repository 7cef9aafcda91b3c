/* What the tests of the kernels share: pseudo-random numbers, tensors in every layout, running steps, and comparing.
 *
 * A test draws numbers as doubles that a float holds exactly, hands them to kernels of either type, and compares with
 * loops over the doubles. Every buffer starts as NaN and ends in a fence; all of a case are freed with it. */
#ifndef PYCNN_TESTS_CHECK_H
#define PYCNN_TESTS_CHECK_H

#include "../pycnn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const pycnn_kernels *kernels;        /* under test */
extern int64_t passed, failed;

/* ---- numbers ---- */
double draw(double low, double high);
int64_t draw_int(int64_t low, int64_t high);            /* both ends included */
double *numbers(int64_t n, double low, double high);    /* n of draw() */
double *zeros(int64_t n);
double *magnitudes(const double *a, int64_t n);         /* |a| */

/* ---- a case: `text`, as of printf, says which; it ends by checking fences and freeing all that it made ---- */
void begin_case(const char *text, ...);
void end_case(void);
void *fenced(size_t bytes);

/* ---- buffers of the kernels' type ---- */
void *buffer(int64_t n);                                /* NaN, with a vector of room beyond n */
void *buffer_of(const double *a, int64_t n);
double *read_buffer(const void *b, int64_t n);
int64_t read_index(const void *b, int64_t i);           /* an integer as wide as a real */

/* (n, c, s) in a layout, its size, and where an element is. Lanes beyond n or c are zero in a gradient, else drawn. */
int64_t tensor_size(pycnn_layout, int64_t n, int64_t c, int64_t s);
int64_t tensor_at(pycnn_layout, int64_t c_count, int64_t s_count, int64_t n, int64_t c, int64_t s);
void *tensor_of(const double *a, pycnn_layout, int64_t n, int64_t c, int64_t s, int gradient);
/* Back again; checks that the lanes beyond are zero, or finite. */
double *read_tensor(const void *b, pycnn_layout, int64_t n, int64_t c, int64_t s, int gradient);

/* Planes of vectors hold lanes x positions reals each: tensors (planes, lanes, positions) in CHANNELS. */
void *planes_of(const double *a, int64_t planes, int64_t positions);
double *read_planes(const void *b, int64_t planes, int64_t positions);

/* ---- running and comparing ---- */
/* Runs a step on one thread, on several, or task by task from the last to the first, and frees it. */
void run(const char *kernel, int status, pycnn_step *);
#define RUN(kernel, ...) do { pycnn_step s_; run(#kernel, kernels->kernel(&s_, __VA_ARGS__), &s_); } while (0)

double epsilon(void);                                   /* of the kernels' type */
/* 4 eps sqrt(terms) + 2 eps times each magnitude, in place: what rounding may do to sums of so many terms. */
double *rounding(double *magnitude, int64_t n, double terms);
/* One check: |got - want| <= bound, or both NaN, everywhere. */
void compare(const char *what, const double *got, const double *want, const double *bound, int64_t n);
void check(int holds, const char *what);

#endif
