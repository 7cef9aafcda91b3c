/* The loops that the kernels are compared with: one term after another, in double. */
#ifndef PYCNN_TESTS_NAIVE_H
#define PYCNN_TESTS_NAIVE_H

#include "check.h"

typedef enum { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS } direction;

/* A window of the sizes given; `out` follows from the padding, and with `ceil_mode` rounds up. */
pycnn_window make_window(const int64_t in[3], const int64_t kernel[3], const int64_t stride[3],
                         const int64_t dilation[3], const int64_t before[3], const int64_t after[3], int ceil_mode);
int64_t volume(const int64_t size[3]);

/* Adds to one array what the other two make of it: each output o of a window, connection e and tap t that falls on an
   input i gives the term y[n][map e][o] += w[e][t] x[n][source e][i], or dx += w dy, or dw += dy x. */
void correlate(const pycnn_connections *, direction, double *x, double *w, double *y);

/* The input at tap t of output o, counted from the first, or -1 outside. */
int64_t input_of(const pycnn_window *, int64_t o, int64_t t);

double activation_value(pycnn_activation, double x);
/* The derivative, taken from the value. */
double activation_slope(pycnn_activation, double y);
pycnn_activation draw_activation(void);

#endif
