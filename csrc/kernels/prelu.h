/* Rectifiers with a learned slope below zero for each map (He et al. 2015, "Delving deep into rectifiers", arXiv:1502.01852).
 *
 *     y = x where x > 0, else a_c x,   dx = dy or a_c dy,   da_c = sum of dy x where x <= 0
 *
 * Tasks are the chunks of batch_norm.h; the sums that they leave are added up in double by one task for each plane. dx and
 * sums come from one pass. Bound by memory. */
typedef struct {
    norm_maps maps;
    int accumulate;
    const real *x, *dy, *slope;
    real *y, *partial, *dslope;
} prelu_args;

static void run_prelu_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const prelu_args *a = args;
    const norm_maps *m = &a->maps;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const norm_chunk k = chunk_of(m, task, NULL);
        const vec slope = norm_parameter(m, a->slope, k.plane);
        const int64_t lanes = norm_lanes(m, k.plane);
        for (int64_t b = k.block; b < k.block_end; b++) {
            const int64_t at = chunk_offset(m, &k, b);
            for (int64_t i = at; i < at + k.size; i += V) {
                const vec x = vload_upto(a->x + i, lanes);
                vstore_upto(a->y + i, vselect(vgt(x, vset1(0)), x, slope * x), lanes);
            }
        }
    }
}

static int prelu_forward(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, const void *x,
                         const void *slope, void *y)
{
    const prelu_args a = {.maps = norm_maps_of(layout, n, c, positions), .x = x, .slope = slope, .y = y};
    return PREPARE(step, run_prelu_forward, norm_tasks(&a.maps), 0, a);
}

static int64_t prelu_partial_size(pycnn_layout layout, int64_t n, int64_t c, int64_t positions)
{
    return batch_norm_partial_size(layout, n, c, positions);
}

/* Of n reals: their dx, and what they add to the sum of dy x. */
INLINE vec prelu_backward_row(const real *dy, const real *x, real *dx, int64_t n, vec slope, int64_t lanes)
{
    const vec zero = vset1(0);
    vec sum = zero;
    for (int64_t i = 0; i < n; i += V) {
        const vec b = vload_upto(x + i, lanes), g = vload_upto(dy + i, lanes);
        const vmask positive = vgt(b, zero);
        sum += vselect(positive, zero, g * b);
        if (dx) vstore_upto(dx + i, vselect(positive, g, slope * g), lanes);
    }
    return sum;
}

static void run_prelu_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const prelu_args *a = args;
    const norm_maps *m = &a->maps;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const norm_chunk k = chunk_of(m, task, a->partial);
        const vec slope = norm_parameter(m, a->slope, k.plane);
        const int64_t lanes = norm_lanes(m, k.plane);
        vec sum = vset1(0);
        for (int64_t b = k.block; b < k.block_end; b++) {
            const int64_t at = chunk_offset(m, &k, b);
            sum += prelu_backward_row(a->dy + at, a->x + at, a->y ? a->y + at : NULL, k.size, slope, lanes);
        }
        if (a->partial) vstore(k.partial, sum);
    }
}

static int prelu_backward(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, const void *dy,
                          const void *x, const void *slope, void *dx, void *partial)
{
    const prelu_args a = {.maps = norm_maps_of(layout, n, c, positions), .dy = dy, .x = x, .slope = slope, .y = dx,
                          .partial = partial};
    return PREPARE(step, run_prelu_backward, norm_tasks(&a.maps), 0, a);
}

static void run_prelu_reduce_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const prelu_args *a = args;
    const norm_maps *m = &a->maps;
    (void)scratch;
    for (int64_t plane = begin; plane < end; plane++) {
        const int64_t first = m->layout == PYCNN_SAMPLES ? plane : plane * V;
        const int64_t maps = m->layout == PYCNN_SAMPLES ? 1 : min64(V, m->c - first);
        double sums[V] = {0};
        for (int64_t i = 0; i < plane_chunks(m); i++) add_lanes(sums, vload(chunk_of_plane(m, plane, i, a->partial).partial));
        join_lanes(m, sums);
        for (int64_t l = 0; l < maps && a->accumulate; l++) sums[l] += (double)a->dslope[first + l];
        put_maps(m, plane, sums, a->dslope);
    }
}

static int prelu_reduce_weights(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions,
                                int accumulate, const void *partial, void *dslope)
{
    const prelu_args a = {.maps = norm_maps_of(layout, n, c, positions), .accumulate = accumulate,
                          .partial = (real *)partial, .dslope = dslope};
    return PREPARE(step, run_prelu_reduce_weights, a.maps.planes, 0, a);
}
