/* pycnn.h: the public header of the kernel library.
 *
 * Every kernel is a *step*: a function and its arguments, prepared once, run many times. A step's work is
 * cut into `tasks` that may run in any order and on any thread; the cut never depends on the number of
 * threads, so neither does a single bit of the result.
 *
 * A kernel is written once over the type `real` and a vector of V reals, and compiled once per instruction set
 * and type. `pycnn_kernels_for` gives the table of one such variant.
 *
 * Tensors come in three layouts (S stands for all spatial positions, row by row):
 *
 *   PLAIN      (N, C, S)             as NumPy has them
 *   SAMPLES    (N/V, C, S, V)        the lanes of a vector are V samples
 *   CHANNELS   (N, C/V, S, V)        the lanes of a vector are V channels
 *
 * N/V and C/V round up. Lanes beyond N or C may hold any finite number, except in gradients, where they are zero.
 */
#ifndef PYCNN_H
#define PYCNN_H

#include <stddef.h>
#include <stdint.h>

typedef struct pycnn_step pycnn_step;

/* Does the tasks begin <= task < end; `scratch` is memory of this thread, 64-byte aligned. */
typedef void pycnn_run_tasks(const void *args, int64_t begin, int64_t end, void *scratch);

struct pycnn_step {
    pycnn_run_tasks *run;
    void *args;             /* owned by the step */
    void (*release)(void *args);    /* frees what args own beside themselves, or NULL */
    int64_t tasks;
    size_t scratch;         /* bytes of scratch that a thread needs */
};

/* The prepare functions below fill a step and return PYCNN_OK or why they could not. */
enum { PYCNN_OK = 0, PYCNN_NO_MEMORY = -1, PYCNN_TOO_LARGE = -2 };

typedef enum { PYCNN_PLAIN, PYCNN_SAMPLES, PYCNN_CHANNELS } pycnn_layout;

typedef enum {
    PYCNN_IDENTITY, PYCNN_RELU, PYCNN_LEAKY_RELU, PYCNN_ELU, PYCNN_SIGMOID, PYCNN_TANH, PYCNN_SCALED_TANH,
    PYCNN_SOFTPLUS, PYCNN_SELU
} pycnn_activation_kind;

typedef struct {
    pycnn_activation_kind kind;
    double alpha;           /* slope of LEAKY_RELU, scale of ELU */
} pycnn_activation;

/* Functions of x whose slope needs x: x Phi(x) with the normal distribution Phi, the same with a tanh for it,
   x / (1 + e^-x), a x + b within 0 and 1, x times that of x/6 + 1/2, x tanh(log(1 + e^x)), x / (1 + |x|), x within a and b. */
typedef enum {
    PYCNN_GELU, PYCNN_GELU_TANH, PYCNN_SILU, PYCNN_HARD_SIGMOID, PYCNN_HARD_SWISH, PYCNN_MISH, PYCNN_SOFTSIGN, PYCNN_CLIP
} pycnn_pointwise_kind;

typedef struct {
    pycnn_pointwise_kind kind;
    double a, b;            /* of HARD_SIGMOID and CLIP */
} pycnn_pointwise;

/* The response of a window of `size` channels around each: (size - 1) / 2 of them before it, rounded down. */
typedef struct {
    int64_t size;
    double alpha, beta, k;
} pycnn_response;

/* A window that slides over a volume. Axes are depth, height, width; a lower rank has leading ones. */
typedef struct {
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3];
    int64_t before[3];      /* padding before the first input; the padding after follows from `out` */
} pycnn_window;

/* A convolution of n samples from c to k channels. `window` maps its input to its output. */
typedef struct {
    pycnn_window window;
    int64_t n, c, k, groups;
    int winograd;           /* whether that algorithm, which rounds otherwise: 0 never, 1 where it pays, 2 where it can */
} pycnn_conv;

/* Map `map` reads map `source` below. */
typedef struct { int64_t map, source; } pycnn_connection;

/* Connections between c and k maps of n samples; all have the same window. `learns`, of each connection and then of each
   map's bias, may be NULL: all do. */
typedef struct {
    pycnn_window window;
    int64_t n, c, k, count;
    const pycnn_connection *connection;
    const uint8_t *learns;
} pycnn_connections;

/* Local connections from c to k maps of n samples: the outputs are cut along each axis into so many sections, almost equal
   ones, and each section has weights of its own. One along every axis makes it a convolution. */
typedef struct {
    pycnn_window window;
    int64_t n, c, k;
    int64_t sections[3];
} pycnn_local;
/* Routing by agreement: `inputs` capsules of in_size coordinates vote for `outputs` capsules of out_size. */
typedef struct { int64_t n, inputs, in_size, outputs, out_size, iterations; } pycnn_routing;

/* What the sum over a window of pooling is divided by: its taps inside the input, those on padding too, or nothing. */
typedef enum { PYCNN_TAPS, PYCNN_TAPS_AND_PADDING, PYCNN_ONE } pycnn_divisor;

/* How a grid reads maps: the nearest position, or the 2 or 4 nearest along each axis; and what lies outside them. */
typedef enum { PYCNN_SAMPLE_NEAREST, PYCNN_SAMPLE_LINEAR, PYCNN_SAMPLE_CUBIC } pycnn_sample_mode;
typedef enum { PYCNN_OUTSIDE_ZERO, PYCNN_OUTSIDE_BORDER, PYCNN_OUTSIDE_REFLECTED } pycnn_outside;

/* Maps x (n, c, in) read at the `positions` of a grid (n, positions, rank) for y (n, c, positions). A coordinate goes from -1
   to 1 along its axis, from edge to edge, or with align_corners from middle to middle of the outermost positions; the last
   axis comes first. CUBIC has at most two axes. */
typedef struct {
    int64_t n, c, in[3], positions;
    int rank;
    pycnn_sample_mode mode;
    pycnn_outside outside;
    int align_corners;
} pycnn_sampling;
/* A sparse matrix along an axis: output o is the sum of weight[t] x[index[t]] over begin[o] <= t < begin[o + 1]. */
typedef struct {
    int64_t in, out;
    const int64_t *begin, *index;
    const double *weight;
} pycnn_taps;

/* How results are written: as usual, past the caches, or over what was just read. */
typedef enum { PYCNN_PLAIN_STORES, PYCNN_STREAMED, PYCNN_IN_PLACE } pycnn_stores;

/* A half-open range of a flat parameter vector. */
typedef struct { int64_t begin, end; } pycnn_range;

/* Where a pointer to an array will be when the step runs, so that the array may change from run to run. All other
   pointers are fixed when the step is prepared. */
typedef const void *const *pycnn_slot;
typedef const int64_t *const *pycnn_index_slot;
typedef const uint64_t *const *pycnn_state_slot;       /* of random draws: a key and the number of the run */

/* The kernels of one variant. Buffers hold at least one vector more than their tensor. */
typedef struct {
    const char *isa;
    int64_t lanes;          /* V */
    size_t real_size;

    /* ---- reorder.h: between layouts ------------------------------------------------------------------- */
    /* x (N, C, S) in a caller's array -> y. With rows_slot, sample i is row (*rows_slot)[i] of the array. */
    int (*import_tensor)(pycnn_step *, pycnn_layout to, int64_t n, int64_t c, int64_t s,
                         pycnn_slot x_slot, pycnn_index_slot rows_slot, void *y);
    /* x -> y (N, C, S) in a caller's array. */
    int (*export_tensor)(pycnn_step *, pycnn_layout from, int64_t n, int64_t c, int64_t s,
                         const void *x, void *const *y_slot);
    /* One of `from` and `to` is PLAIN, or both. */
    int (*reorder)(pycnn_step *, pycnn_layout from, pycnn_layout to, int gradient, int64_t n, int64_t c, int64_t s,
                   const void *x, void *y);

    /* ---- convolution.h: convolution, by one of several algorithms ---------------------------------------- */
    /* `layout` is that of y and dy, x_layout that of x and dx. They are the same, but with one group a side of few channels may
       be PLAIN: x, whatever layout y has (CHANNELS or PLAIN), and the y of a forward pass. dy is not PLAIN unless dx is. */
    /* About how many cycles a pass takes (0 forward, 1 backward_data, 2 backward_weights): for who chooses layouts. */
    double (*conv_cycles)(const pycnn_conv *, pycnn_layout layout, pycnn_layout x_layout, int pass);
    /* Elements of the packed weights of conv_forward and conv_backward_data. */
    int64_t (*conv_packed_size)(const pycnn_conv *, pycnn_layout layout, pycnn_layout x_layout, int backward);
    /* w (K, C/groups, kernel) and bias (K) or NULL -> packed. */
    int (*conv_pack)(pycnn_step *, const pycnn_conv *, pycnn_layout layout, pycnn_layout x_layout, int backward,
                     const void *w, const void *bias, void *packed);
    /* Whether conv_forward takes that pool. */
    int (*conv_fuses_pool)(const pycnn_conv *, pycnn_layout layout, pycnn_layout x_layout, const pycnn_window *pool);
    /* y = f(b + w * x + added); `added` is like y, or NULL. With pool, and then nothing added, y is the maximum of f over the
       windows of pool and indices as in max_pool_forward; y is then not PLAIN. */
    int (*conv_forward)(pycnn_step *, const pycnn_conv *, pycnn_layout layout, pycnn_layout x_layout,
                        pycnn_activation, const pycnn_window *pool,
                        const void *x, const void *packed, const void *added, void *y, void *indices);
    /* dx = f'(x) . (w^T * dy + added), with f the activation that made x; `added` is like dx, or NULL. A bias in packed is
       added to it: the forward pass of a transposed convolution, followed by its activation `forward`. */
    int (*conv_backward_data)(pycnn_step *, const pycnn_conv *, pycnn_layout layout, pycnn_layout x_layout,
                              pycnn_activation forward, pycnn_activation backward,
                              const void *dy, const void *packed, const void *x, const void *added, void *dx);
    /* Elements of the partial sums that conv_backward_weights leaves for conv_reduce_weights. */
    int64_t (*conv_partial_size)(const pycnn_conv *, pycnn_layout layout, pycnn_layout x_layout);
    /* `learns`, of each filter, may be NULL: all do. The gradient of one that does not is unspecified. */
    int (*conv_backward_weights)(pycnn_step *, const pycnn_conv *, pycnn_layout layout, pycnn_layout x_layout,
                                 const uint8_t *learns, const void *dy, const void *x, void *partial);
    /* partial -> dw (K, C/groups, kernel) and db (K) or NULL; `accumulate` adds to what is there. */
    int (*conv_reduce_weights)(pycnn_step *, const pycnn_conv *, pycnn_layout layout, pycnn_layout x_layout,
                               int accumulate, const void *partial, void *dw, void *db);

    /* ---- planes.h: depthwise convolution, groups = c, depth 1, of PLAIN arrays of the caller's ------------ */
    /* y = b + w * x, with w (K, 1, kernel) and bias (K), a slot or NULL. */
    int (*planes_forward)(pycnn_step *, const pycnn_conv *, pycnn_slot x, pycnn_slot w, pycnn_slot bias, void *const *y);
    /* dx = b + w^T * dy, bias (C). */
    int (*planes_backward_data)(pycnn_step *, const pycnn_conv *, pycnn_slot dy, pycnn_slot w, pycnn_slot bias,
                                void *const *dx);
    /* dw, and db unless it is NULL. */
    int (*planes_backward_weights)(pycnn_step *, const pycnn_conv *, pycnn_slot dy, pycnn_slot x, void *const *dw,
                                   void *const *db);

    /* ---- dense.h: x (N, C) and y (N, K) are PLAIN, w is (K, C) ----------------------------------------- */
    int (*dense_forward)(pycnn_step *, int64_t n, int64_t c, int64_t k, pycnn_activation,
                         const void *x, const void *w, const void *bias, void *y);
    int (*dense_backward_data)(pycnn_step *, int64_t n, int64_t c, int64_t k, pycnn_activation backward,
                               const void *dy, const void *w, const void *x, void *dx);
    int (*dense_backward_weights)(pycnn_step *, int64_t n, int64_t c, int64_t k, int accumulate,
                                  const uint8_t *learns, const void *dy, const void *x, void *dw, void *db);

    /* ---- pool.h: x is (planes, in, V) and y (planes, out, V), any layout but PLAIN ---------------------- */
    /* indices: for each y, the number of its tap in the window, row by row, as an integer as wide as a real. */
    int (*max_pool_forward)(pycnn_step *, const pycnn_window *, int64_t planes, const void *x, void *y, void *indices);
    int (*max_pool_backward)(pycnn_step *, const pycnn_window *, int64_t planes, const void *dy, const void *indices,
                             void *dx);
    /* `after` is the padding after, which the divisor may count and a ceil_mode overhang is not part of; `squared` divides
       by the square of the divisor. */
    int (*avg_pool_forward)(pycnn_step *, const pycnn_window *, const int64_t after[3], pycnn_divisor,
                            int64_t planes, const void *x, void *y);
    int (*avg_pool_backward)(pycnn_step *, const pycnn_window *, const int64_t after[3], pycnn_divisor, int squared,
                             int64_t planes, const void *dy, void *dx);

    /* ---- plane_pool.h: x is (planes, in) and y (planes, out), both PLAIN, in a caller's arrays ------------ */
    /* positions: for each y, the position in its plane that it came from. */
    int (*max_pool_planes)(pycnn_step *, const pycnn_window *, int64_t planes, pycnn_slot x_slot, void *const *y_slot,
                           int64_t *const *positions_slot);
    /* The windows of averages have no dilation. *astray, a real, becomes 1 if a position is none of the taps of its window. */
    int (*max_pool_planes_backward)(pycnn_step *, const pycnn_window *, int64_t planes, pycnn_slot dy_slot,
                                    pycnn_index_slot positions_slot, void *const *dx_slot, void *astray);
    int (*avg_pool_planes)(pycnn_step *, const pycnn_window *, const int64_t after[3], pycnn_divisor, int64_t planes,
                           pycnn_slot x_slot, void *const *y_slot);
    int (*avg_pool_planes_backward)(pycnn_step *, const pycnn_window *, const int64_t after[3], pycnn_divisor,
                                    int64_t planes, pycnn_slot dy_slot, void *const *dx_slot);

    /* ---- lp_pool.h: y = (sum |x|^p)^(1/p) over each window, p finite and at least 1; planes as in pool.h --- */
    int (*lp_pool_forward)(pycnn_step *, const pycnn_window *, double p, int64_t planes, const void *x, void *y);
    /* `squared` sums the squares of the derivatives. */
    int (*lp_pool_backward)(pycnn_step *, const pycnn_window *, double p, int squared, int64_t planes, const void *dy,
                            const void *x, const void *y, void *dx);

    /* ---- unpool.h: max_pool_backward the other way round; planes and indices as in pool.h ----------------- */
    /* dx[o] = dy at the tap of window o that its index names. */
    int (*max_unpool_backward)(pycnn_step *, const pycnn_window *, int64_t planes, const void *dy, const void *indices,
                               void *dx);

    /* ---- resample.h: x is (planes, in, V) and y (planes, out, V), any layout but PLAIN -------------------- */
    /* y = (A_0 x A_1 x A_2) x, the matrices along depth, height and width; `empty` where an axis has no tap. */
    int (*resample)(pycnn_step *, const pycnn_taps axes[3], double empty, int64_t planes, const void *x, void *y);

    /* ---- permute.h: samples of four axes, of reals in PLAIN, else of vectors ------------------------------ */
    /* n samples x of the given size -> y, whose axis a is axis axes[a] of x. */
    int (*permute)(pycnn_step *, pycnn_layout, int64_t n, const int64_t size[4], const int axes[4], const void *x, void *y);

    /* ---- connected.h: maps that read some of the maps below; x and y in SAMPLES ------------------------- */
    /* y = f(b + w * x); w is (connections, kernel), bias (k) or NULL. */
    int (*connected_forward)(pycnn_step *, const pycnn_connections *, pycnn_activation,
                             const void *x, const void *w, const void *bias, void *y);
    int (*connected_backward_data)(pycnn_step *, const pycnn_connections *, pycnn_activation backward,
                                   const void *dy, const void *w, const void *x, void *dx);
    /* db may be NULL; the gradient of what does not learn stays as it was. */
    int (*connected_backward_weights)(pycnn_step *, const pycnn_connections *, int accumulate,
                                      const void *dy, const void *x, void *dw, void *db);
    /* y[k] = sum over connections of the average of each window weighted by softmax(sharpness x). `squared` sums the
       squares of the derivatives. */
    int (*softmax_pool_forward)(pycnn_step *, const pycnn_connections *, const void *x, const void *sharpness, void *y);
    int (*softmax_pool_backward_data)(pycnn_step *, const pycnn_connections *, int squared,
                                      const void *dy, const void *x, const void *sharpness, void *dx);
    int (*softmax_pool_backward_weights)(pycnn_step *, const pycnn_connections *, int accumulate, int squared,
                                         const void *dy, const void *x, const void *sharpness, void *d_sharpness);

    /* ---- local.h: weights that are not the same everywhere; x and y in SAMPLES ---------------------------- */
    /* y = f(b + w * x), with w (k, sections, c, kernel) and bias (k, sections) or NULL. */
    int (*local_forward)(pycnn_step *, const pycnn_local *, pycnn_activation,
                         const void *x, const void *w, const void *bias, void *y);
    int (*local_backward_data)(pycnn_step *, const pycnn_local *, pycnn_activation backward,
                               const void *dy, const void *w, const void *x, void *dx);
    /* db may be NULL. `learns`, of each filter, may be NULL: all do. The gradient of one that does not stays as it was. */
    int (*local_backward_weights)(pycnn_step *, const pycnn_local *, int accumulate, const uint8_t *learns,
                                  const void *dy, const void *x, void *dw, void *db);

    /* ---- scale_maps.h: y = f(a_c x + b_c), any layout but PLAIN ----------------------------------------- */
    int (*scale_maps_forward)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions, pycnn_activation,
                              const void *x, const void *a, const void *b, void *y);
    int (*scale_maps_backward_data)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions,
                                    const void *dy, const void *a, void *dx);
    int (*scale_maps_backward_weights)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions,
                                       int accumulate, const void *dy, const void *x, void *da, void *db);

    /* ---- bias.h: y_ni = f(x_ni + b_i) of n samples of so many elements, PLAIN or SAMPLES ------------------ */
    int (*bias_forward)(pycnn_step *, pycnn_layout, int64_t n, int64_t elements, pycnn_activation,
                        const void *x, const void *b, void *y);
    int (*bias_backward_weights)(pycnn_step *, pycnn_layout, int64_t n, int64_t elements, int accumulate,
                                 const void *dy, void *db);

    /* ---- random.h: draws that depend on state, stream, sample and place in the sample only --------------------- */
    /* y = 0 with probability p, else scale x: each value for itself, or with `maps` each map as a whole. Its gradient is the same
       step on dy. */
    int (*dropout)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t s, int maps, double p, double scale,
                   uint32_t stream, pycnn_state_slot, const void *x, void *y);
    /* y = x + deviation times draws of the normal distribution. */
    int (*gaussian_noise)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t s, double deviation, uint32_t stream,
                          pycnn_state_slot, const void *x, void *y);

    /* ---- batch_norm.h: maps of n samples and c channels, in any layout, PLAIN with one position -------------- */
    /* x -> partial sums, of batch_norm_partial_size reals. */
    int64_t (*batch_norm_partial_size)(pycnn_layout, int64_t n, int64_t c, int64_t positions);
    int (*batch_norm_sums)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions, const void *x,
                           void *partial);
    /* partial -> statistics: mean, 1 / sqrt(variance + epsilon) and unbiased variance, c rounded up to V of each. */
    int (*batch_norm_statistics)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions, double epsilon,
                                 const void *partial, void *statistics);
    /* running += momentum (statistics - running), of statistics over `values` values a map; nothing while *guard or
       *scale is not finite. */
    int (*batch_norm_running)(pycnn_step *, int64_t c, int64_t values, double momentum, const void *statistics,
                              const double *guard, const double *scale, void *running_mean, void *running_var);
    /* running averages -> the first two of the statistics. */
    int (*batch_norm_known)(pycnn_step *, int64_t c, double epsilon, const void *running_mean, const void *running_var,
                            void *statistics);
    /* y = f(gamma (x - mean) / sqrt(variance + epsilon) + beta + added); added may be NULL. */
    int (*batch_norm_forward)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions, pycnn_activation,
                              const void *x, const void *statistics, const void *gamma, const void *beta,
                              const void *added, void *y);
    /* dy -> partial sums. `rectified`: y was rectified, and dy is not yet multiplied by [y > 0]. */
    int (*batch_norm_backward_sums)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions, int rectified,
                                    const void *dy, const void *x, const void *statistics, const void *gamma,
                                    const void *beta, void *partial);
    /* partial -> sums: dbeta and dgamma, c rounded up to V of each; stored or added to dgamma and dbeta (c) too, unless
       those are NULL. */
    int (*batch_norm_backward_weights)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions, int accumulate,
                                       const void *partial, const void *statistics, void *sums, void *dgamma, void *dbeta);
    /* dx may be dy. */
    int (*batch_norm_backward_data)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions, int rectified,
                                    const void *dy, const void *x, const void *statistics, const void *gamma,
                                    const void *beta, const void *sums, void *dx);
    /* Weights w (k, per_filter) and bias (k) or NULL of a linear layer -> those of the layer with the normalisation. */
    int (*batch_norm_fold)(pycnn_step *, int64_t k, int64_t per_filter, const void *statistics, const void *gamma,
                           const void *beta, const void *w, const void *bias, void *folded_w, void *folded_bias);

    /* ---- embedding.h: y[n][.][s] = w[ids[n][s]], with ids (N, S) PLAIN and w (vocabulary, dimension) ---------- */
    /* Ids are cut to whole numbers, and beyond the table count as its nearest row. */
    int (*embedding_forward)(pycnn_step *, pycnn_layout, int64_t n, int64_t s, int64_t vocabulary, int64_t dimension,
                             const void *ids, const void *w, void *y);
    /* Adds to dw, but for the row `padding`; negative, there is none. */
    int (*embedding_backward)(pycnn_step *, pycnn_layout, int64_t n, int64_t s, int64_t vocabulary, int64_t dimension,
                              int64_t padding, const void *dy, const void *ids, void *dw);

    /* ---- group_norm.h: groups of the maps of n samples, in any layout, PLAIN with one position ------------- */
    int64_t (*group_norm_statistics_size)(pycnn_layout, int64_t n, int64_t c, int64_t groups, int64_t positions);
    /* y = f(gamma_c (x - mean) / sqrt(variance + epsilon) + beta_c), with mean and variance of each sample's group, which are
       left in statistics. */
    int (*group_norm_forward)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t groups, int64_t positions,
                              double epsilon, pycnn_activation, const void *x, const void *gamma, const void *beta,
                              void *statistics, void *y);
    /* dx may be dy. */
    int (*group_norm_backward_data)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t groups, int64_t positions,
                                    const void *dy, const void *x, const void *statistics, const void *gamma, void *dx);
    /* Elements of the partial sums that group_norm_backward_weights leaves for group_norm_reduce_weights. */
    int64_t (*group_norm_partial_size)(pycnn_layout, int64_t n, int64_t c, int64_t groups, int64_t positions);
    int (*group_norm_backward_weights)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t groups, int64_t positions,
                                       const void *dy, const void *x, const void *statistics, void *partial);
    int (*group_norm_reduce_weights)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t groups, int64_t positions,
                                     int accumulate, const void *partial, void *dgamma, void *dbeta);

    /* ---- local_response.h: x and y are (outer, channels, inner) -------------------------------------------- */
    /* y_c = x_c (k + alpha / size sum of x^2 over the window of c)^-beta */
    int (*local_response_forward)(pycnn_step *, const pycnn_response *, int64_t outer, int64_t channels, int64_t inner,
                                  const void *x, void *y);
    int (*local_response_backward)(pycnn_step *, const pycnn_response *, int64_t outer, int64_t channels, int64_t inner,
                                   const void *dy, const void *x, void *dx);

    /* ---- prelu.h: y = x or slope_c x, of n samples and c channels, in any layout, PLAIN with one position ---- */
    int (*prelu_forward)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions, const void *x,
                         const void *slope, void *y);
    /* dx, which may be dy, and partial sums for prelu_reduce_weights, of prelu_partial_size reals; either may be NULL. */
    int64_t (*prelu_partial_size)(pycnn_layout, int64_t n, int64_t c, int64_t positions);
    int (*prelu_backward)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions, const void *dy,
                          const void *x, const void *slope, void *dx, void *partial);
    int (*prelu_reduce_weights)(pycnn_step *, pycnn_layout, int64_t n, int64_t c, int64_t positions, int accumulate,
                                const void *partial, void *dslope);

    /* ---- pointwise.h: n reals each, any layout ------------------------------------------------------------- */
    int (*pointwise_forward)(pycnn_step *, pycnn_pointwise, int64_t n, const void *x, void *y);
    /* dx = f'(x) dy; dx may be dy. */
    int (*pointwise_backward)(pycnn_step *, pycnn_pointwise, int64_t n, const void *dy, const void *x, void *dx);

    /* ---- rbf.h: y[k] = |x - w[k]|^2; x (N, C), y (N, K) and w (K, C) are PLAIN --------------------------- */
    int (*rbf_forward)(pycnn_step *, int64_t n, int64_t c, int64_t k, const void *x, const void *w, void *y);
    /* With `squared` dy are second derivatives, and `slope` the first ones, or NULL. */
    int (*rbf_backward_data)(pycnn_step *, int64_t n, int64_t c, int64_t k, int squared,
                             const void *dy, const void *slope, const void *x, const void *w, void *dx);
    int (*rbf_backward_weights)(pycnn_step *, int64_t n, int64_t c, int64_t k, int accumulate, int squared,
                                const void *dy, const void *x, const void *w, void *dw);

    /* ---- affine_grid.h: grid[q] = theta (base(q), 1); theta (N, rank, rank + 1), grid (N, size, rank), PLAIN ---------- */
    /* `size` is that of the grid, base(q) goes from -1 to 1 as the coordinates of a pycnn_sampling. */
    int (*affine_grid_forward)(pycnn_step *, int64_t n, int64_t rank, const int64_t size[3], int align_corners,
                               const void *theta, void *grid);
    int (*affine_grid_backward)(pycnn_step *, int64_t n, int64_t rank, const int64_t size[3], int align_corners,
                                const void *dgrid, void *dtheta);

    /* ---- grid_sample.h: maps read at the positions of a grid, PLAIN --------------------------------------------- */
    int (*grid_sample_forward)(pycnn_step *, const pycnn_sampling *, const void *x, const void *grid, void *y);
    int (*grid_sample_backward_data)(pycnn_step *, const pycnn_sampling *, const void *dy, const void *grid, void *dx);
    /* Zero for NEAREST. */
    int (*grid_sample_backward_grid)(pycnn_step *, const pycnn_sampling *, const void *dy, const void *x,
                                     const void *grid, void *dgrid);

    /* ---- elementwise.h: n reals each, any layout -------------------------------------------------------- */
    int (*activation_forward)(pycnn_step *, pycnn_activation, int64_t n, const void *x, void *y);
    /* dx = f'(y) dy; dx may be dy. */
    int (*activation_backward)(pycnn_step *, pycnn_activation, int64_t n, const void *dy, const void *y, void *dx);
    int (*sum)(pycnn_step *, int64_t n, int64_t count, const void *const *xs, void *y);
    int (*multiply)(pycnn_step *, int64_t n, const void *a, const void *b, void *y);
    int (*fill)(pycnn_step *, int64_t n, double value, void *y);
    /* Copies `blocks` runs of `length` reals, `from_stride` and `to_stride` reals apart. */
    int (*copy_blocks)(pycnn_step *, int64_t blocks, int64_t length, int64_t from_stride, int64_t to_stride,
                       const void *from, void *to);

    /* ---- stream.h: the measure of kernels that are bound by memory --------------------------------------- */
    /* Reads so many reals of x and writes so many of y (with PYCNN_IN_PLACE, reads them too), and does nothing else. */
    int (*traffic)(pycnn_step *, int64_t reads, int64_t writes, pycnn_stores, const void *x, void *y);

    /* ---- softmax.h: x and y are (outer, axis, inner) ----------------------------------------------------- */
    int (*softmax_forward)(pycnn_step *, int log, int64_t outer, int64_t axis, int64_t inner, const void *x, void *y);
    int (*softmax_backward)(pycnn_step *, int log, int64_t outer, int64_t axis, int64_t inner,
                            const void *dy, const void *y, void *dx);

    /* ---- capsules.h: vectors whose length counts ---------------------------------------------------------- */
    /* y = |x|^2 / (1 + |x|^2) x / |x|; x is (groups, size, positions, V), y and dy are (groups, positions, size, V). */
    int (*squash_forward)(pycnn_step *, int64_t groups, int64_t size, int64_t positions, const void *x, void *y);
    int (*squash_backward)(pycnn_step *, int64_t groups, int64_t size, int64_t positions, const void *dy, const void *x,
                           void *dx);
    /* y = |x|; x is (groups, size, V), y is (groups, V). */
    int (*length_forward)(pycnn_step *, int64_t groups, int64_t size, const void *x, void *y);
    int (*length_backward)(pycnn_step *, int64_t groups, int64_t size, const void *dy, const void *x, void *dx);
    /* x (n, capsules, size) and y in SAMPLES. Of each sample y is x in the capsule where target (n, capsules) is greatest,
       or in the longest where no target is above zero or `target` is NULL, and zero in the others. kept: for each sample,
       the number of that capsule, as an integer as wide as a real. */
    int (*mask_forward)(pycnn_step *, int64_t n, int64_t capsules, int64_t size, const void *x, const void *target,
                        void *y, void *kept);
    int (*mask_backward)(pycnn_step *, int64_t n, int64_t capsules, int64_t size, const void *dy, const void *kept,
                         void *dx);

    /* ---- routing.h: u (n, inputs, in_size) and v (n, outputs, out_size) in SAMPLES ------------------------ */
    /* w is (inputs, outputs, out_size, in_size). What the backward pass reads stays in `sums`, `iterations` times the size
       of v, and in `traces`, twice that. */
    int (*route_forward)(pycnn_step *, const pycnn_routing *, const void *u, const void *w, void *sums, void *traces,
                         void *v);
    /* Adds to the traces what route_gradients needs. */
    int (*route_backward)(pycnn_step *, const pycnn_routing *, const void *dv, const void *u, const void *w,
                          const void *sums, void *traces);
    /* du or dw may be NULL. */
    int (*route_gradients)(pycnn_step *, const pycnn_routing *, int accumulate, const void *u, const void *w,
                           const void *traces, void *du, void *dw);

    /* ---- losses.h: scores and targets are PLAIN; dscores may be NULL ------------------------------------- */
    /* result[0] = weight * loss, result[1] = correct predictions; the gradient is that of weight * loss. */
    int (*softmax_cross_entropy)(pycnn_step *, int64_t n, int64_t classes, int64_t positions, double weight,
                                 const void *scores, pycnn_index_slot labels_slot,
                                 pycnn_slot class_weights_slot, void *dscores, double *result);
    int (*mean_squared_error)(pycnn_step *, int64_t n, double weight, const void *y, pycnn_slot target_slot,
                              void *dy, double *result);
    /* `logits`: y are scores before the sigmoid. */
    int (*binary_cross_entropy)(pycnn_step *, int logits, int64_t n, double weight, const void *y,
                                pycnn_slot target_slot, void *dy, double *result);

    /* Of distances y (n, classes): y_label + log(e^-margin + sum e^-y). With `second`, dy are second derivatives. */
    int (*distance_loss)(pycnn_step *, int64_t n, int64_t classes, double weight, double margin, int second,
                         const void *y, pycnn_index_slot labels_slot, void *dy, double *result);
    /* Of lengths y (n, classes): max(0, present - y_label)^2 + share times the sum over the others of
       max(0, y_k - absent)^2. */
    int (*margin_loss)(pycnn_step *, int64_t n, int64_t classes, double weight, double present, double absent,
                       double share, const void *y, pycnn_index_slot labels_slot, void *dy, double *result);

    /* total[0], total[1] = the sums of `count` results of two. */
    int (*total_loss)(pycnn_step *, int64_t count, const double *results, double *total);

    /* ---- optimizers.h: one pass over the given ranges of flat vectors ------------------------------------- */
    /* They do nothing while *guard (the loss) or hyper[0] is not finite. `hyper` is read when the step runs; gradients are
       multiplied by hyper[0] first (1, or what clip_norm left there).
       sgd:     hyper = {scale, lr, momentum, dampening, weight_decay, nesterov}
       sdlm:    hyper = {scale, eta, mu}
       adam:    hyper = {scale, lr, beta1, beta2, eps, weight_decay, decoupled, t}
       rmsprop: hyper = {scale, lr, alpha, eps, weight_decay, momentum} */
    int (*sgd)(pycnn_step *, const pycnn_range *, int64_t ranges, const double *hyper, const double *guard,
               void *w, const void *g, void *velocity);
    int (*sdlm)(pycnn_step *, const pycnn_range *, int64_t ranges, const double *hyper, const double *guard,
                void *w, const void *g, const void *curvature);
    int (*adam)(pycnn_step *, const pycnn_range *, int64_t ranges, const double *hyper, const double *guard,
                void *w, const void *g, void *m, void *v);
    int (*rmsprop)(pycnn_step *, const pycnn_range *, int64_t ranges, const double *hyper, const double *guard,
                   void *w, const void *g, void *square, void *velocity);
    /* *scale = min(1, limit / |g| over the ranges), NaN where |g| is not finite; |g| is left in *norm. */
    int (*clip_norm)(pycnn_step *, const pycnn_range *, int64_t ranges, const double *limit,
                     const void *g, double *scale, double *norm);
} pycnn_kernels;

/* "avx512", "avx2", "neon" or "generic": the best that this CPU and this build have. */
const char *pycnn_best_isa(void);
/* The variant of that name, for float (real_size 4) or double (8); NULL when this CPU or build lacks it. */
const pycnn_kernels *pycnn_kernels_for(const char *isa, size_t real_size);

/* Runs the steps in order on up to `threads` threads, denormals flushed to zero. */
void pycnn_run(const pycnn_step *steps, int64_t count, int threads, void *scratch, size_t scratch_per_thread);
void pycnn_step_free(pycnn_step *);

int pycnn_max_threads(void);        /* what OpenMP (or whoever limits it) allows the calling thread; 1 without OpenMP */
void pycnn_set_max_threads(int);
int pycnn_has_openmp(void);
const char *pycnn_compiler(void);

#endif
