/* Which algorithm does a pass of a convolution.
 *
 *     direct      a sum over taps and channels on the register tile                   conv.h, conv_weights.h
 *     lanes       the same to a PLAIN target, in lanes that are source channels       conv_lanes.h
 *     columns     the same from PLAIN to PLAIN, in lanes that are columns             conv_columns.h
 *     grouped     groups that are not whole vectors, lane by lane                     grouped.h
 *     winograd    fewer multiplications, between transforms of 6 x 6 tiles            winograd.h, winograd_weights.h
 *
 * The choice follows from the descriptor alone, so that who packs weights and who reads them agree. */

typedef struct {
    int64_t (*packed_size)(const pycnn_conv *, pycnn_layout, pycnn_layout, int backward);
    int (*pack)(pycnn_step *, const pycnn_conv *, pycnn_layout, pycnn_layout, int backward, const void *w, const void *bias,
                void *packed);
    int (*forward)(pycnn_step *, const pycnn_conv *, pycnn_layout, pycnn_layout, pycnn_activation, const pycnn_window *pool,
                   const void *x, const void *packed, const void *added, void *y, void *indices);
    int (*backward_data)(pycnn_step *, const pycnn_conv *, pycnn_layout, pycnn_layout, pycnn_activation forward,
                         pycnn_activation backward, const void *dy, const void *packed, const void *x, const void *added, void *dx);
    int64_t (*partial_size)(const pycnn_conv *, pycnn_layout, pycnn_layout);
    int (*backward_weights)(pycnn_step *, const pycnn_conv *, pycnn_layout, pycnn_layout, const uint8_t *learns,
                            const void *dy, const void *x, void *partial);
    int (*reduce_weights)(pycnn_step *, const pycnn_conv *, pycnn_layout, pycnn_layout, int accumulate, const void *partial,
                          void *dw, void *db);
} conv_algorithm;

#define ALGORITHM(name, of_weights)                                                                                    \
    static const conv_algorithm name##_algorithm = {                                                                   \
        name##_packed_size, name##_pack, name##_forward, name##_backward_data,                                         \
        of_weights##_partial_size, of_weights##_backward_weights, of_weights##_reduce_weights};
ALGORITHM(direct, direct)
ALGORITHM(lanes, direct)
ALGORITHM(columns, direct)
ALGORITHM(grouped, grouped)
ALGORITHM(winograd, winograd)

typedef enum { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS } conv_kind;

/* Whether winograd.h can do it: in CHANNELS, without groups or strides, with 2 to 5 taps along both axes or along one. */
static int winograd_applies(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout)
{
    const pycnn_window *w = &c->window;
    const int64_t rows = w->kernel[1], columns = w->kernel[2];
    if (!c->winograd || c->groups > 1 || layout != PYCNN_CHANNELS || x_layout != PYCNN_CHANNELS) return 0;
    if (w->kernel[0] != 1 || w->in[0] != 1 || w->out[0] != 1 || w->stride[1] != 1 || w->stride[2] != 1) return 0;
    return rows <= 5 && columns <= 5 && rows * columns > 1 && (rows == columns || rows == 1 || columns == 1);
}

/* What a pass takes, in cycles of a core with two multiply-adds of vectors a cycle. All factors were measured. */

/* By the sum over taps: lanes are samples, channels of the target, or, with a PLAIN target, channels of the source. */
static double direct_cycles(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, conv_kind pass)
{
    const pycnn_window *w = &c->window;
    const int backward = pass == BACKWARD_DATA;
    const int64_t sources = backward ? c->k : c->c, targets = backward ? c->c : c->k;
    const double taps = (double)(w->kernel[0] * w->kernel[1] * w->kernel[2] * w->out[0] * w->out[1] * w->out[2]);
    const double in_group = (double)(sources / c->groups);
    if (layout == PYCNN_SAMPLES) return 0.6 * (double)ceil_div(c->n, V) * taps * in_group * (double)targets;
    if (pass != BACKWARD_WEIGHTS && (backward ? x_layout : layout) == PYCNN_PLAIN)
        return 0.9 * (double)c->n * taps * (double)ceil_div(sources, V) * (double)targets;
    return (is_grouped(c, layout, x_layout, backward) ? 0.65 : 0.52) * (double)c->n * taps * in_group * (double)ceil_div(targets, V);
}

/* By Winograd's algorithm: products, transforms of tiles of V channels, and those of V x V weights. */
static double winograd_cycles(const pycnn_conv *c, conv_kind pass)
{
    const winograd_axis rows = winograd_axis_of(&c->window, 1, pass == BACKWARD_DATA);
    const winograd_axis columns = winograd_axis_of(&c->window, 2, pass == BACKWARD_DATA);
    const int64_t in = pass == BACKWARD_DATA ? c->k : c->c, out = pass == BACKWARD_DATA ? c->c : c->k;
    const double vectors = (double)(ceil_div(in, V) + ceil_div(out, V)), pairs = (double)in * (double)ceil_div(out, V);
    const double tiles = (double)(c->n * rows.phases * rows.tiles * columns.phases * columns.tiles);
    return (double)(rows.points * columns.points) * (0.55 * tiles * pairs + 8.0 * tiles * vectors + 5.0 * pairs);
}

/* `layout` is that of y, x_layout that of x. */
static const conv_algorithm *choose_algorithm(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, conv_kind pass)
{
    const int backward = pass == BACKWARD_DATA;
    if (pass != BACKWARD_WEIGHTS && (backward ? x_layout : layout) == PYCNN_PLAIN)
        return layout == x_layout ? &columns_algorithm : &lanes_algorithm;
    if (is_grouped(c, layout, x_layout, backward)) return &grouped_algorithm;
    if (winograd_applies(c, layout, x_layout)
        && (c->winograd == 2 || winograd_cycles(c, pass) < direct_cycles(c, layout, x_layout, pass)))
        return &winograd_algorithm;
    return &direct_algorithm;
}

/* What the chosen algorithm takes. */
static double conv_cycles(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, int pass)
{
    const int by_winograd = choose_algorithm(c, layout, x_layout, (conv_kind)pass) == &winograd_algorithm;
    return by_winograd ? winograd_cycles(c, (conv_kind)pass) : direct_cycles(c, layout, x_layout, (conv_kind)pass);
}

INLINE conv_kind kind_of(int backward) { return backward ? BACKWARD_DATA : FORWARD; }

static int conv_fuses_pool(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, const pycnn_window *pool)
{
    const conv_algorithm *algorithm = choose_algorithm(c, layout, x_layout, FORWARD);
    if (algorithm == &winograd_algorithm) return winograd_fuses_pool(c, pool);
    return algorithm != &lanes_algorithm && algorithm != &columns_algorithm;
}

static int64_t conv_packed_size(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, int backward)
{
    return choose_algorithm(c, layout, x_layout, kind_of(backward))->packed_size(c, layout, x_layout, backward);
}

static int conv_pack(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, int backward,
                     const void *w, const void *bias, void *packed)
{
    return choose_algorithm(c, layout, x_layout, kind_of(backward))
        ->pack(step, c, layout, x_layout, backward, w, bias, packed);
}

static int conv_forward(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                        pycnn_activation activation, const pycnn_window *pool,
                        const void *x, const void *packed, const void *added, void *y, void *indices)
{
    return choose_algorithm(c, layout, x_layout, FORWARD)
        ->forward(step, c, layout, x_layout, activation, pool, x, packed, added, y, indices);
}

static int conv_backward_data(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                              pycnn_activation forward, pycnn_activation backward,
                              const void *dy, const void *packed, const void *x, const void *added, void *dx)
{
    return choose_algorithm(c, layout, x_layout, BACKWARD_DATA)
        ->backward_data(step, c, layout, x_layout, forward, backward, dy, packed, x, added, dx);
}

static int64_t conv_partial_size(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout)
{
    return choose_algorithm(c, layout, x_layout, BACKWARD_WEIGHTS)->partial_size(c, layout, x_layout);
}

static int conv_backward_weights(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                                 const uint8_t *learns, const void *dy, const void *x, void *partial)
{
    return choose_algorithm(c, layout, x_layout, BACKWARD_WEIGHTS)
        ->backward_weights(step, c, layout, x_layout, learns, dy, x, partial);
}

static int conv_reduce_weights(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                               int accumulate, const void *partial, void *dw, void *db)
{
    return choose_algorithm(c, layout, x_layout, BACKWARD_WEIGHTS)
        ->reduce_weights(step, c, layout, x_layout, accumulate, partial, dw, db);
}
