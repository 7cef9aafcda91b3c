/* Which algorithm makes a pass of a convolution, and the entries of the table that hand it to that algorithm.
 *
 *     DIRECT      a sum over taps and channels on the register tile               conv.h, conv_weights.h              anything
 *     WINOGRAD    fewer multiplications between transforms of 6 x 6 tiles         winograd.h, winograd_weights.h      winograd_applies
 *
 * The choice follows from the descriptor alone, so that who packs weights and who reads them agree. */

typedef enum { DIRECT, WINOGRAD } conv_algorithm;
typedef enum { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS } conv_pass_kind;

/* Whether winograd.h can do it: in CHANNELS, without groups or strides, with 2 to 5 taps along both axes or along one. */
static int winograd_applies(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout)
{
    const pycnn_window *w = &c->window;
    const int64_t rows = w->kernel[1], columns = w->kernel[2];
    if (c->direct || c->groups > 1 || layout != PYCNN_CHANNELS || x_layout != PYCNN_CHANNELS) return 0;
    if (w->kernel[0] != 1 || w->in[0] != 1 || w->out[0] != 1 || w->stride[1] != 1 || w->stride[2] != 1) return 0;
    return rows <= 5 && columns <= 5 && rows * columns > 1 && (rows == columns || rows == 1 || columns == 1);
}

/* Whether it takes less time. Cycles of a vector unit with two multiply-adds a cycle; all but the products was measured: the
   transforms of a tile of V channels, and those of V x V weights, each for a pair of points. */
static int winograd_pays(const pycnn_conv *c, conv_pass_kind pass)
{
    const winograd_axis rows = winograd_axis_of(&c->window, 1, pass == BACKWARD_DATA);
    const winograd_axis columns = winograd_axis_of(&c->window, 2, pass == BACKWARD_DATA);
    const double sources = (double)ceil_div(c->c, V), targets = (double)ceil_div(c->k, V), pairs = sources * targets * V;
    const double points = (double)(rows.points * columns.points), taps = (double)(rows.taps * columns.taps);
    const double tiles = (double)(c->n * rows.phases * rows.tiles * columns.phases * columns.tiles);
    const double direct = 0.52 * (double)(c->n * rows.target * columns.target) * taps * pairs;
    const double products = 0.55 * tiles * points * pairs, transforms = 5.0 * tiles * points * (sources + targets);
    return products + transforms + 5.0 * points * pairs < direct;
}

static conv_algorithm conv_algorithm_of(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                                        conv_pass_kind pass)
{
    return winograd_applies(c, layout, x_layout) && winograd_pays(c, pass) ? WINOGRAD : DIRECT;
}

/* ---- the table's entries -------------------------------------------------------------------------------------------- */

INLINE conv_pass_kind pass_kind(int backward) { return backward ? BACKWARD_DATA : FORWARD; }

static int64_t conv_packed_size(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, int backward)
{
    switch (conv_algorithm_of(c, layout, x_layout, pass_kind(backward))) {
    case WINOGRAD: return winograd_packed_size(c, backward);
    default: return direct_packed_size(c, layout, x_layout, backward);
    }
}

static int conv_pack(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, int backward,
                     const void *w, const void *bias, void *packed)
{
    switch (conv_algorithm_of(c, layout, x_layout, pass_kind(backward))) {
    case WINOGRAD: return winograd_pack(step, c, backward, w, bias, packed);
    default: return direct_pack(step, c, layout, x_layout, backward, w, bias, packed);
    }
}

static int conv_fuses_pool(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, const pycnn_window *pool)
{
    return conv_algorithm_of(c, layout, x_layout, FORWARD) != WINOGRAD || winograd_fuses_pool(c, pool);
}

static int conv_forward(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                        pycnn_activation activation, const pycnn_window *pool,
                        const void *x, const void *packed, const void *added, void *y, void *indices)
{
    switch (conv_algorithm_of(c, layout, x_layout, FORWARD)) {
    case WINOGRAD: return winograd_forward(step, c, activation, pool, x, packed, added, y, indices);
    default: return direct_forward(step, c, layout, x_layout, activation, pool, x, packed, added, y, indices);
    }
}

static int conv_backward_data(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout,
                              pycnn_activation forward, pycnn_activation backward,
                              const void *dy, const void *packed, const void *x, const void *added, void *dx)
{
    switch (conv_algorithm_of(c, layout, layout, BACKWARD_DATA)) {
    case WINOGRAD: return winograd_backward_data(step, c, forward, backward, dy, packed, x, added, dx);
    default: return direct_backward_data(step, c, layout, forward, backward, dy, packed, x, added, dx);
    }
}

static int64_t conv_partial_size(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout)
{
    switch (conv_algorithm_of(c, layout, x_layout, BACKWARD_WEIGHTS)) {
    case WINOGRAD: return winograd_partial_size(c);
    default: return direct_partial_size(c, layout, x_layout);
    }
}

static int conv_backward_weights(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                                 const uint8_t *learns, const void *dy, const void *x, void *partial)
{
    switch (conv_algorithm_of(c, layout, x_layout, BACKWARD_WEIGHTS)) {
    case WINOGRAD: return winograd_backward_weights(step, c, learns, dy, x, partial);
    default: return direct_backward_weights(step, c, layout, x_layout, learns, dy, x, partial);
    }
}

static int conv_reduce_weights(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                               int accumulate, const void *partial, void *dw, void *db)
{
    switch (conv_algorithm_of(c, layout, x_layout, BACKWARD_WEIGHTS)) {
    case WINOGRAD: return winograd_reduce_weights(step, c, accumulate, partial, dw, db);
    default: return direct_reduce_weights(step, c, layout, x_layout, accumulate, partial, dw, db);
    }
}
