/* Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167): every map c is shifted and scaled to mean beta_c and
 * standard deviation gamma_c over the m values that a batch has of it, and may be rectified, or another tensor added.
 *
 *     xhat  = (x - mean_c) inverse_c,   inverse_c = 1 / sqrt(variance_c + epsilon)
 *     y     = f(gamma_c xhat + beta_c + added)
 *     dbeta = sum g,   dgamma = sum g xhat,   dx = gamma_c inverse_c (g - dbeta / m - xhat dgamma / m)
 *
 * with g = dy, or, where f is the rectifier and nothing was added, [y > 0] dy: y is then computed again from x.
 *
 * A task is a chunk: up to CHUNK_VECTORS vectors of one plane, from one block of samples or, where planes are smaller,
 * from several. Chunks leave sums, which one task for each plane adds up in double. A chunk's sum of squares is taken
 * around its own mean, while it is in the first-level cache: two passes over memory forward, two backward. */
#define CHUNK_VECTORS (ELEMENTS_PER_TASK / V)

/* Maps as planes of vectors; in PLAIN there is one position, and vectors of V channels lie side by side. */
typedef struct {
    pycnn_layout layout;
    int64_t n, c;
    int64_t blocks, planes;                     /* blocks of samples, or samples; planes of one of them */
    int64_t block_stride, plane_stride, size;   /* in reals; size: of a plane */
    int64_t chunk_blocks, chunk_size;           /* blocks and reals of each that make a chunk */
    int64_t block_chunks, size_chunks;          /* chunks of all blocks, and of a plane */
} norm_maps;

typedef struct { int64_t plane, block, block_end, begin, size; real *partial; } norm_chunk;

static norm_maps norm_maps_of(pycnn_layout layout, int64_t n, int64_t c, int64_t positions)
{
    const int samples = layout == PYCNN_SAMPLES;
    norm_maps m = {.layout = layout, .n = n, .c = c, .blocks = samples ? ceil_div(n, V) : n,
                   .planes = samples ? c : ceil_div(c, V), .plane_stride = positions * V, .size = positions * V};
    m.block_stride = layout == PYCNN_PLAIN ? c : m.planes * m.plane_stride;
    m.chunk_size = V * min64(positions, CHUNK_VECTORS);
    m.chunk_blocks = min64(m.blocks, max64(1, CHUNK_VECTORS / positions));
    m.block_chunks = ceil_div(m.blocks, m.chunk_blocks), m.size_chunks = ceil_div(m.size, m.chunk_size);
    return m;
}

INLINE int64_t norm_tasks(const norm_maps *m) { return m->block_chunks * m->planes * m->size_chunks; }

/* Chunk `task`, whose sums are two vectors of `partial`. */
INLINE norm_chunk chunk_of(const norm_maps *m, int64_t task, real *partial)
{
    const int64_t begin = task % m->size_chunks * m->chunk_size;
    const int64_t block = task / m->size_chunks / m->planes * m->chunk_blocks;
    return (norm_chunk){.plane = task / m->size_chunks % m->planes, .block = block,
                        .block_end = min64(block + m->chunk_blocks, m->blocks), .begin = begin,
                        .size = min64(m->chunk_size, m->size - begin), .partial = partial + task * 2 * V};
}

/* Where a chunk's part of a block begins in x. */
INLINE int64_t chunk_offset(const norm_maps *m, const norm_chunk *k, int64_t block)
{
    return block * m->block_stride + k->plane * m->plane_stride + k->begin;
}

/* Reals of a vector of a plane that are there. */
INLINE int64_t norm_lanes(const norm_maps *m, int64_t plane)
{
    return m->layout == PYCNN_PLAIN ? min64(V, m->c - plane * V) : V;
}

/* Lanes of a block that are samples of the batch; all where they are channels. */
INLINE int64_t block_samples(const norm_maps *m, int64_t block)
{
    return m->layout == PYCNN_SAMPLES ? min64(V, m->n - block * V) : V;
}

/* How many values each lane of a chunk has. */
INLINE vec chunk_count(const norm_maps *m, const norm_chunk *k)
{
    vec count = vset1(0);
    for (int64_t block = k->block; block < k->block_end; block++)
        count += vkeep_first(vset1((real)(k->size / V)), block_samples(m, block), 0);
    return count;
}

/* The values of a parameter for the lanes of a plane. */
INLINE vec norm_parameter(const norm_maps *m, const real *parameter, int64_t plane)
{
    return m->layout == PYCNN_SAMPLES ? vset1(parameter[plane]) : vload_upto(parameter + plane * V, m->c - plane * V);
}

typedef struct {
    norm_maps maps;
    int rectified, accumulate;
    pycnn_activation f;
    double epsilon;
    const real *x, *dy, *added, *gamma, *beta;
    real *statistics, *partial, *sums, *y, *dx, *dgamma, *dbeta;
} norm_args;

/* Statistics are three vectors of round_up(c, V): the mean, the inverse deviation, and the unbiased variance. */
INLINE const real *inverse_of(const norm_args *a) { return a->statistics + round_up(a->maps.c, V); }

/* ---- sums of chunks -------------------------------------------------------------------------------------------------- */

enum { NORM_SUMS = 4 };     /* that are under way at a time */

/* Sum of (x - center), or of its square, over n reals. */
INLINE vec sum_around(const real *x, int64_t n, int64_t lanes, vec center, const int squared)
{
    vec sums[NORM_SUMS] = {{0}};
    int64_t i = 0;
#define ADD(j, at)                                                                                                     \
    do {                                                                                                               \
        const vec d = vload_upto(x + (at), lanes) - center;                                                            \
        sums[j] = squared ? vfma(d, d, sums[j]) : sums[j] + d;                                                         \
    } while (0)
    for (; i + NORM_SUMS * V <= n; i += NORM_SUMS * V)
        for (int j = 0; j < NORM_SUMS; j++) ADD(j, i + j * V);
    for (; i < n; i += V) ADD(0, i);
#undef ADD
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* The mean of each lane of a chunk, and the sum of its squared distances from it. */
static void run_batch_norm_sums(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const norm_args *a = args;
    const norm_maps *m = &a->maps;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const norm_chunk k = chunk_of(m, task, a->partial);
        const int64_t lanes = norm_lanes(m, k.plane);
        const vec first = vload_upto(a->x + chunk_offset(m, &k, k.block), lanes);   /* nearer to the mean than zero is */
        vec sum = vset1(0), squares = vset1(0);
        for (int64_t b = k.block; b < k.block_end; b++)
            sum += vkeep_first(sum_around(a->x + chunk_offset(m, &k, b), k.size, lanes, first, 0),
                               block_samples(m, b), 0);
        const vec count = chunk_count(m, &k), mean = first + sum / vmax(count, vset1(1));
        for (int64_t b = k.block; b < k.block_end; b++)
            squares += vkeep_first(sum_around(a->x + chunk_offset(m, &k, b), k.size, lanes, mean, 1),
                                   block_samples(m, b), 0);
        vstore(k.partial, mean);
        vstore(k.partial + V, squares);
    }
}

static int64_t batch_norm_partial_size(pycnn_layout layout, int64_t n, int64_t c, int64_t positions)
{
    const norm_maps m = norm_maps_of(layout, n, c, positions);
    return 2 * V * norm_tasks(&m);
}

static int batch_norm_sums(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, const void *x,
                           void *partial)
{
    const norm_args a = {.maps = norm_maps_of(layout, n, c, positions), .x = x, .partial = partial};
    return PREPARE(step, run_batch_norm_sums, norm_tasks(&a.maps), 0, a);
}

/* ---- statistics of maps ---------------------------------------------------------------------------------------------- */

INLINE int64_t plane_chunks(const norm_maps *m) { return m->block_chunks * m->size_chunks; }

/* The i-th chunk of a plane. */
INLINE norm_chunk chunk_of_plane(const norm_maps *m, int64_t plane, int64_t i, real *partial)
{
    return chunk_of(m, (i / m->size_chunks * m->planes + plane) * m->size_chunks + i % m->size_chunks, partial);
}

/* Sums of lanes belong to one map where lanes are samples. */
INLINE void join_lanes(const norm_maps *m, double sums[V])
{
    if (m->layout == PYCNN_SAMPLES) {
        const double sum = sum_of_lanes(sums);
        for (int l = 0; l < V; l++) sums[l] = sum;
    }
}

/* Stores the value of each of a plane's maps. */
INLINE void put_maps(const norm_maps *m, int64_t plane, const double values[V], real *to)
{
    if (m->layout == PYCNN_SAMPLES) to[plane] = (real)values[0];
    else for (int64_t l = 0; l < min64(V, m->c - plane * V); l++) to[plane * V + l] = (real)values[l];
}

static void run_batch_norm_statistics(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const norm_args *a = args;
    const norm_maps *m = &a->maps;
    const int64_t width = round_up(m->c, V);
    const double values = (double)m->n * (double)(m->size / V);
    (void)scratch;
    for (int64_t plane = begin; plane < end; plane++) {
        double mean[V] = {0}, squares[V] = {0}, inverse[V], unbiased[V];
        real count[V];
        for (int64_t i = 0; i < plane_chunks(m); i++) {
            const norm_chunk k = chunk_of_plane(m, plane, i, a->partial);
            vstore(count, chunk_count(m, &k));
            for (int l = 0; l < V; l++) mean[l] += (double)count[l] * (double)k.partial[l];
        }
        join_lanes(m, mean);
        for (int l = 0; l < V; l++) mean[l] /= values;
        for (int64_t i = 0; i < plane_chunks(m); i++) {
            const norm_chunk k = chunk_of_plane(m, plane, i, a->partial);
            vstore(count, chunk_count(m, &k));
            for (int l = 0; l < V; l++) {
                const double d = (double)k.partial[l] - mean[l];
                squares[l] += (double)k.partial[V + l] + (double)count[l] * d * d;
            }
        }
        join_lanes(m, squares);
        for (int l = 0; l < V; l++) {
            inverse[l] = 1 / sqrt(squares[l] / values + a->epsilon);
            unbiased[l] = squares[l] / fmax(1, values - 1);
        }
        put_maps(m, plane, mean, a->statistics);
        put_maps(m, plane, inverse, a->statistics + width);
        put_maps(m, plane, unbiased, a->statistics + 2 * width);
    }
}

static int batch_norm_statistics(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions,
                                 double epsilon, const void *partial, void *statistics)
{
    const norm_args a = {.maps = norm_maps_of(layout, n, c, positions), .epsilon = epsilon, .partial = (real *)partial,
                         .statistics = statistics};
    return PREPARE(step, run_batch_norm_statistics, a.maps.planes, 0, a);
}

typedef struct {
    int64_t c, values;
    double number;          /* momentum, or epsilon */
    const double *guard, *scale;
    real *statistics, *mean, *variance;
} running_args;

static void run_batch_norm_running(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const running_args *a = args;
    const int64_t width = round_up(a->c, V);
    const real momentum = (real)a->number;
    (void)begin, (void)end, (void)scratch;
    if (!isfinite(*a->guard) || !isfinite(*a->scale)) return;
    for (int64_t c = 0; c < a->c; c++) {
        a->mean[c] += momentum * (a->statistics[c] - a->mean[c]);
        if (a->values > 1) a->variance[c] += momentum * (a->statistics[2 * width + c] - a->variance[c]);
    }
}

static int batch_norm_running(pycnn_step *step, int64_t c, int64_t values, double momentum, const void *statistics,
                              const double *guard, const double *scale, void *running_mean, void *running_var)
{
    const running_args a = {.c = c, .values = values, .number = momentum, .guard = guard, .scale = scale,
                            .statistics = (real *)statistics, .mean = running_mean, .variance = running_var};
    return PREPARE(step, run_batch_norm_running, 1, 0, a);
}

static void run_batch_norm_known(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const running_args *a = args;
    const int64_t width = round_up(a->c, V);
    (void)begin, (void)end, (void)scratch;
    for (int64_t c = 0; c < a->c; c++) {
        a->statistics[c] = a->mean[c];
        a->statistics[width + c] = (real)(1 / sqrt((double)a->variance[c] + a->number));
    }
}

static int batch_norm_known(pycnn_step *step, int64_t c, double epsilon, const void *running_mean, const void *running_var,
                            void *statistics)
{
    const running_args a = {.c = c, .number = epsilon, .statistics = statistics, .mean = (real *)running_mean,
                            .variance = (real *)running_var};
    return PREPARE(step, run_batch_norm_known, 1, 0, a);
}

/* ---- y ------------------------------------------------------------------------------------------------------------- */

INLINE void normalise(const real *x, const real *added, real *y, int64_t n, int64_t lanes, vec mean, vec scale, vec beta,
                      vec floor)
{
    for (int64_t i = 0; i < n; i += V) {
        vec v = vfma(vload_upto(x + i, lanes) - mean, scale, beta);
        if (added) v += vload_upto(added + i, lanes);
        vstore_upto(y + i, vmax(floor, v), lanes);
    }
}

static void run_batch_norm_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const norm_args *a = args;
    const norm_maps *m = &a->maps;
    const vec floor = vset1(a->f.kind == PYCNN_RELU ? 0 : -INFINITY);
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const norm_chunk k = chunk_of(m, task, NULL);
        const int64_t lanes = norm_lanes(m, k.plane);
        const vec mean = norm_parameter(m, a->statistics, k.plane), beta = norm_parameter(m, a->beta, k.plane);
        const vec scale = norm_parameter(m, a->gamma, k.plane) * norm_parameter(m, inverse_of(a), k.plane);
        for (int64_t b = k.block; b < k.block_end; b++) {
            const int64_t at = chunk_offset(m, &k, b), samples = block_samples(m, b);
            real *y = a->y + at;
            normalise(a->x + at, a->added ? a->added + at : NULL, y, k.size, lanes, mean, scale, beta, floor);
            if (a->f.kind != PYCNN_RELU) activate(a->f, y, min64(k.size, k.size / V * lanes));
            for (int64_t i = 0; i < k.size && samples < V; i += V) vstore(y + i, vkeep_first(vload(y + i), samples, 0));
        }
    }
}

static int batch_norm_forward(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions,
                              pycnn_activation f, const void *x, const void *statistics, const void *gamma,
                              const void *beta, const void *added, void *y)
{
    const norm_args a = {.maps = norm_maps_of(layout, n, c, positions), .f = f, .x = x, .statistics = (real *)statistics,
                         .gamma = gamma, .beta = beta, .added = added, .y = y};
    return PREPARE(step, run_batch_norm_forward, norm_tasks(&a.maps), 0, a);
}

/* ---- gradients ------------------------------------------------------------------------------------------------------- */

/* What all chunks of a plane need. */
typedef struct { vec mean, inverse, gamma, scale, beta; int64_t lanes; } norm_plane;

INLINE norm_plane plane_of(const norm_args *a, int64_t plane)
{
    const norm_maps *m = &a->maps;
    norm_plane p = {.mean = norm_parameter(m, a->statistics, plane), .inverse = norm_parameter(m, inverse_of(a), plane),
                    .gamma = norm_parameter(m, a->gamma, plane), .beta = norm_parameter(m, a->beta, plane),
                    .lanes = norm_lanes(m, plane)};
    p.scale = p.gamma * p.inverse;
    return p;
}

/* g, given d = x - mean. */
INLINE vec norm_gradient(const real *dy, vec d, const norm_plane *p, const int rectified)
{
    const vec g = vload_upto(dy, p->lanes), zero = vset1(0);
    return rectified ? vselect(vgt(vfma(d, p->scale, p->beta), zero), g, zero) : g;
}

typedef struct { vec g, gd; } gradient_sums;

INLINE gradient_sums sum_gradients(const real *dy, const real *x, int64_t n, const norm_plane *p, const int rectified)
{
    vec g[2] = {{0}}, gd[2] = {{0}};
    int64_t i = 0;
#define ADD(j, at)                                                                                                     \
    do {                                                                                                               \
        const vec d = vload_upto(x + (at), p->lanes) - p->mean, gradient = norm_gradient(dy + (at), d, p, rectified);   \
        g[j] += gradient, gd[j] = vfma(gradient, d, gd[j]);                                                            \
    } while (0)
    for (; i + 2 * V <= n; i += 2 * V) {
        ADD(0, i);
        ADD(1, i + V);
    }
    for (; i < n; i += V) ADD(0, i);
#undef ADD
    return (gradient_sums){g[0] + g[1], gd[0] + gd[1]};
}

/* The sums of g and of g (x - mean) in each lane of a chunk. */
static void run_batch_norm_backward_sums(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const norm_args *a = args;
    const norm_maps *m = &a->maps;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const norm_chunk k = chunk_of(m, task, a->partial);
        const norm_plane p = plane_of(a, k.plane);
        vec g = vset1(0), gd = vset1(0);
        for (int64_t b = k.block; b < k.block_end; b++) {
            const int64_t at = chunk_offset(m, &k, b);
            const gradient_sums s = a->rectified ? sum_gradients(a->dy + at, a->x + at, k.size, &p, 1)
                                                 : sum_gradients(a->dy + at, a->x + at, k.size, &p, 0);
            g += s.g, gd += s.gd;
        }
        vstore(k.partial, g);
        vstore(k.partial + V, gd);
    }
}

static int batch_norm_backward_sums(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions,
                                    int rectified, const void *dy, const void *x, const void *statistics,
                                    const void *gamma, const void *beta, void *partial)
{
    const norm_args a = {.maps = norm_maps_of(layout, n, c, positions), .rectified = rectified, .dy = dy, .x = x,
                         .statistics = (real *)statistics, .gamma = gamma, .beta = beta, .partial = partial};
    return PREPARE(step, run_batch_norm_backward_sums, norm_tasks(&a.maps), 0, a);
}

static void run_batch_norm_backward_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const norm_args *a = args;
    const norm_maps *m = &a->maps;
    const int64_t width = round_up(m->c, V);
    (void)scratch;
    for (int64_t plane = begin; plane < end; plane++) {
        double g[V] = {0}, gd[V] = {0};
        real inverse[V];
        vstore(inverse, norm_parameter(m, inverse_of(a), plane));
        for (int64_t i = 0; i < plane_chunks(m); i++) {
            const norm_chunk k = chunk_of_plane(m, plane, i, a->partial);
            for (int l = 0; l < V; l++) g[l] += (double)k.partial[l], gd[l] += (double)k.partial[V + l];
        }
        join_lanes(m, g);
        join_lanes(m, gd);
        for (int l = 0; l < V; l++) gd[l] *= (double)inverse[l];
        put_maps(m, plane, g, a->sums);
        put_maps(m, plane, gd, a->sums + width);
        const int64_t first = m->layout == PYCNN_SAMPLES ? plane : plane * V;
        const int64_t maps = m->layout == PYCNN_SAMPLES ? 1 : min64(V, m->c - first);
        for (int64_t l = 0; l < maps && a->dgamma; l++) {
            const int64_t c = first + l;
            a->dgamma[c] = a->sums[width + c] + (a->accumulate ? a->dgamma[c] : 0);
            a->dbeta[c] = a->sums[c] + (a->accumulate ? a->dbeta[c] : 0);
        }
    }
}

static int batch_norm_backward_weights(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions,
                                       int accumulate, const void *partial, const void *statistics, void *sums,
                                       void *dgamma, void *dbeta)
{
    const norm_args a = {.maps = norm_maps_of(layout, n, c, positions), .accumulate = accumulate,
                         .partial = (real *)partial, .statistics = (real *)statistics, .sums = sums, .dgamma = dgamma,
                         .dbeta = dbeta};
    return PREPARE(step, run_batch_norm_backward_weights, a.maps.planes, 0, a);
}

/* dx of n reals; g_mean and gx_mean are dbeta / m and inverse dgamma / m. */
INLINE void backward_row(const real *dy, const real *x, real *dx, int64_t n, const norm_plane *p, vec g_mean, vec gx_mean,
                         int64_t samples, const int rectified)
{
    for (int64_t i = 0; i < n; i += V) {
        const vec d = vload_upto(x + i, p->lanes) - p->mean, g = norm_gradient(dy + i, d, p, rectified);
        vstore_upto(dx + i, vkeep_first(p->scale * (g - vfma(d, gx_mean, g_mean)), samples, 0), p->lanes);
    }
}

static void run_batch_norm_backward_data(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const norm_args *a = args;
    const norm_maps *m = &a->maps;
    const vec share = vset1((real)(1 / ((double)m->n * (double)(m->size / V))));
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const norm_chunk k = chunk_of(m, task, NULL);
        const norm_plane p = plane_of(a, k.plane);
        const vec g_mean = share * norm_parameter(m, a->sums, k.plane);
        const vec gx_mean = share * p.inverse * norm_parameter(m, a->sums + round_up(m->c, V), k.plane);
        for (int64_t b = k.block; b < k.block_end; b++) {
            const int64_t at = chunk_offset(m, &k, b), samples = block_samples(m, b);
            if (a->rectified) backward_row(a->dy + at, a->x + at, a->dx + at, k.size, &p, g_mean, gx_mean, samples, 1);
            else backward_row(a->dy + at, a->x + at, a->dx + at, k.size, &p, g_mean, gx_mean, samples, 0);
        }
    }
}

static int batch_norm_backward_data(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t positions,
                                    int rectified, const void *dy, const void *x, const void *statistics,
                                    const void *gamma, const void *beta, const void *sums, void *dx)
{
    const norm_args a = {.maps = norm_maps_of(layout, n, c, positions), .rectified = rectified, .dy = dy, .x = x,
                         .statistics = (real *)statistics, .gamma = gamma, .beta = beta, .sums = (real *)sums, .dx = dx};
    return PREPARE(step, run_batch_norm_backward_data, norm_tasks(&a.maps), 0, a);
}

/* ---- folded into the weights of a linear layer before it --------------------------------------------------------------- */

typedef struct {
    int64_t k, per_filter;
    const real *statistics, *gamma, *beta, *w, *bias;
    real *folded_w, *folded_bias;
} fold_args;

/* A task is a filter. */
static void run_batch_norm_fold(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const fold_args *a = args;
    (void)scratch;
    for (int64_t k = begin; k < end; k++) {
        const real scale = a->gamma[k] * a->statistics[round_up(a->k, V) + k];
        const real *w = a->w + k * a->per_filter;
        real *folded = a->folded_w + k * a->per_filter;
        for (int64_t i = 0; i < a->per_filter; i++) folded[i] = scale * w[i];
        a->folded_bias[k] = a->beta[k] + scale * ((a->bias ? a->bias[k] : 0) - a->statistics[k]);
    }
}

static int batch_norm_fold(pycnn_step *step, int64_t k, int64_t per_filter, const void *statistics, const void *gamma,
                           const void *beta, const void *w, const void *bias, void *folded_w, void *folded_bias)
{
    const fold_args a = {.k = k, .per_filter = per_filter, .statistics = statistics, .gamma = gamma, .beta = beta, .w = w,
                         .bias = bias, .folded_w = folded_w, .folded_bias = folded_bias};
    return PREPARE(step, run_batch_norm_fold, k, 0, a);
}
