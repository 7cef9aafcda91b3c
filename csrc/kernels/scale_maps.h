/* A coefficient and a bias for each map: y = f(a_c x + b_c), on planes whose lanes are samples or channels.
 *
 *     dx = a_c dy,    da_c = sum over samples and positions of dy x,    db_c = sum of dy
 *
 * Bound by memory. */
typedef struct {
    pycnn_layout layout;
    int64_t c, planes, blocks, positions;   /* planes of a block of samples; blocks of samples, or samples */
    pycnn_activation activation;
    int accumulate;
    const real *x, *a, *b, *dy;
    real *y, *dx, *da, *db;
} scale_args;

static scale_args scale_of(pycnn_layout layout, int64_t n, int64_t c, int64_t positions)
{
    const int samples = layout == PYCNN_SAMPLES;
    return (scale_args){.layout = layout, .c = c, .positions = positions, .planes = samples ? c : ceil_div(c, V),
                        .blocks = samples ? ceil_div(n, V) : n};
}

/* The values of a parameter for the lanes of a plane. */
INLINE vec of_plane(const scale_args *s, const real *parameter, int64_t plane)
{
    if (!parameter) return vset1(0);
    return s->layout == PYCNN_SAMPLES ? vset1(parameter[plane]) : vload_upto(parameter + plane * V, s->c - plane * V);
}

static void run_scale_maps_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const scale_args *s = args;
    const int64_t size = s->positions * V;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const vec a = of_plane(s, s->a, task % s->planes), b = of_plane(s, s->b, task % s->planes);
        real *y = s->y + task * size;
        for (int64_t i = 0; i < size; i += V) vstore(y + i, vfma(a, vload(s->x + task * size + i), b));
        activate(s->activation, y, size);
    }
}

static int scale_maps_forward(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions,
                              pycnn_activation activation, const void *x, const void *a, const void *b, void *y)
{
    scale_args s = scale_of(layout, n, c, positions);
    s.activation = activation, s.x = x, s.a = a, s.b = b, s.y = y;
    return PREPARE(step, run_scale_maps_forward, s.blocks * s.planes, 0, s);
}

static void run_scale_maps_backward_data(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const scale_args *s = args;
    const int64_t size = s->positions * V;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const vec a = of_plane(s, s->a, task % s->planes);
        for (int64_t i = task * size; i < (task + 1) * size; i += V) vstore(s->dx + i, a * vload(s->dy + i));
    }
}

static int scale_maps_backward_data(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions,
                                    const void *dy, const void *a, void *dx)
{
    scale_args s = scale_of(layout, n, c, positions);
    s.dy = dy, s.a = a, s.dx = dx;
    return PREPARE(step, run_scale_maps_backward_data, s.blocks * s.planes, 0, s);
}

/* Stores or adds the sums of a plane: of its lanes together, or of each for itself. */
INLINE void put_plane(const scale_args *s, vec sums, int64_t plane, real *to)
{
    if (!to) return;
    if (s->layout == PYCNN_SAMPLES) {
        to[plane] = vsum_lanes(sums) + (s->accumulate ? to[plane] : 0);
    } else {
        const int64_t lanes = s->c - plane * V;
        if (s->accumulate) sums += vload_upto(to + plane * V, lanes);
        vstore_upto(to + plane * V, sums, lanes);
    }
}

static void run_scale_maps_backward_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const scale_args *s = args;
    const int64_t size = s->positions * V;
    (void)scratch;
    for (int64_t plane = begin; plane < end; plane++) {
        vec da = vset1(0), db = vset1(0);
        for (int64_t block = 0; block < s->blocks; block++) {
            const real *dy = s->dy + (block * s->planes + plane) * size, *x = s->x + (block * s->planes + plane) * size;
            for (int64_t i = 0; i < size; i += V) {
                const vec g = vload(dy + i);
                da = vfma(g, vload(x + i), da);
                db += g;
            }
        }
        put_plane(s, da, plane, s->da);
        put_plane(s, db, plane, s->db);
    }
}

static int scale_maps_backward_weights(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions,
                                       int accumulate, const void *dy, const void *x, void *da, void *db)
{
    scale_args s = scale_of(layout, n, c, positions);
    s.accumulate = accumulate, s.dy = dy, s.x = x, s.da = da, s.db = db;
    return PREPARE(step, run_scale_maps_backward_weights, s.planes, 0, s);
}
