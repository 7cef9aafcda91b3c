/* Which algorithm does a convolution. */

typedef struct {
    int64_t (*packed_size)(const pycnn_conv *, pycnn_layout, pycnn_layout, int backward);
    int (*pack)(pycnn_step *, const pycnn_conv *, pycnn_layout, pycnn_layout, int backward, const void *w, const void *bias,
                void *packed);
    int (*forward)(pycnn_step *, const pycnn_conv *, pycnn_layout, pycnn_layout, pycnn_activation, const pycnn_window *pool,
                   const void *x, const void *packed, void *y, void *indices);
    int (*backward_data)(pycnn_step *, const pycnn_conv *, pycnn_layout, pycnn_activation forward, pycnn_activation backward,
                         const void *dy, const void *packed, const void *x, void *dx);
    int64_t (*partial_size)(const pycnn_conv *, pycnn_layout, pycnn_layout);
    int (*backward_weights)(pycnn_step *, const pycnn_conv *, pycnn_layout, pycnn_layout, const uint8_t *learns,
                            const void *dy, const void *x, void *partial);
    int (*reduce_weights)(pycnn_step *, const pycnn_conv *, pycnn_layout, pycnn_layout, int accumulate, const void *partial,
                          void *dw, void *db);
} conv_algorithm;

#define ALGORITHM(name)                                                                                                \
    static const conv_algorithm name##_algorithm = {name##_packed_size, name##_pack, name##_forward, name##_backward_data, \
                                                    name##_partial_size, name##_backward_weights, name##_reduce_weights};
ALGORITHM(direct)
ALGORITHM(grouped)

static const conv_algorithm *choose_algorithm(const pycnn_conv *c, pycnn_layout layout, pycnn_layout source_layout,
                                              int backward)
{
    if (is_grouped(c, layout, source_layout, backward)) return &grouped_algorithm;
    return &direct_algorithm;
}

static int64_t conv_packed_size(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, int backward)
{
    return choose_algorithm(c, layout, x_layout, backward)->packed_size(c, layout, x_layout, backward);
}

static int conv_pack(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout, int backward,
                     const void *w, const void *bias, void *packed)
{
    return choose_algorithm(c, layout, x_layout, backward)->pack(step, c, layout, x_layout, backward, w, bias, packed);
}

static int conv_forward(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                        pycnn_activation activation, const pycnn_window *pool,
                        const void *x, const void *packed, void *y, void *indices)
{
    return choose_algorithm(c, layout, x_layout, 0)->forward(step, c, layout, x_layout, activation, pool, x, packed, y, indices);
}

static int conv_backward_data(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout,
                              pycnn_activation forward, pycnn_activation backward,
                              const void *dy, const void *packed, const void *x, void *dx)
{
    return choose_algorithm(c, layout, layout, 1)->backward_data(step, c, layout, forward, backward, dy, packed, x, dx);
}

static int64_t conv_partial_size(const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout)
{
    return choose_algorithm(c, layout, x_layout, 0)->partial_size(c, layout, x_layout);
}

static int conv_backward_weights(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                                 const uint8_t *learns, const void *dy, const void *x, void *partial)
{
    return choose_algorithm(c, layout, x_layout, 0)->backward_weights(step, c, layout, x_layout, learns, dy, x, partial);
}

static int conv_reduce_weights(pycnn_step *step, const pycnn_conv *c, pycnn_layout layout, pycnn_layout x_layout,
                               int accumulate, const void *partial, void *dw, void *db)
{
    return choose_algorithm(c, layout, x_layout, 0)->reduce_weights(step, c, layout, x_layout, accumulate, partial, dw, db);
}
