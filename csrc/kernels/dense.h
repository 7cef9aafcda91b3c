/* Dense layers on PLAIN matrices, x (N, C), w (K, C), y (N, K); nothing is packed.
 *
 *     forward              y[n][k] = f(b[k] + sum over c of x[n][c] w[k][c])      lanes are n, or share the sum over c
 *     backward_data       dx[n][c] = f'(x) sum over k of dy[n][k] w[k][c]         lanes are c
 *     backward_weights    dw[k][c] =       sum over n of dy[n][k]  x[n][c]        lanes are c
 *
 * A task is a block of rows and columns of the result. With few samples the weights' bandwidth binds, else
 * arithmetic. */

typedef struct {
    int64_t n, c, k;
    pycnn_activation activation;
    int accumulate;
    const real *x, *w, *bias, *dy;
    real *y, *dx, *dw, *db;
    int64_t i_tiles, j_tiles;               /* register tiles along the two sides of the result */
    int64_t i_tasks, j_tasks;               /* and tasks */
    int64_t i_most;                         /* rows of a task, at most */
    uint8_t *learns;                        /* of each k, or NULL for all */
} dense_args;

/* Cuts a result of m x n tiles whose sums have `depth` steps. */
static void divide_dense(dense_args *a, int64_t m, int64_t n, int64_t depth)
{
    const brgemm_cut cut = brgemm_choose_cut(m, n, depth);
    const double flops = 2.0 * (double)a->n * (double)a->c * (double)a->k;
    const int64_t wanted = max64(1, (int64_t)fmin(MOST_TASKS, flops / FLOPS_PER_TASK));
    a->i_tiles = cut.i_parts;
    a->j_tiles = cut.j_parts;
    a->i_tasks = min64(cut.i_parts, wanted);
    a->j_tasks = min64(cut.j_parts, ceil_div(wanted, a->i_tasks));
}

/* The tiles [begin, end) of a task along one side. */
INLINE row_span tiles_of_task(int64_t tiles, int64_t tasks, int64_t task)
{
    return (row_span){part_begin(tiles, tasks, task), part_begin(tiles, tasks, task + 1)};
}

/* A tile whose last vector of columns may be incomplete. */
static void brgemm_ragged(int64_t i, int64_t columns, const brgemm_args *g)
{
    const int64_t j = ceil_div(columns, V);
    if (columns % V == 0) {
        brgemm(i, j, g);
        return;
    }
    real tile[TILE_VECTORS * V];
    brgemm_args ragged = *g;
    ragged.c = tile, ragged.c_i = j * V, ragged.c_j = V;
    if (g->init == g->c) {
        for (int64_t r = 0; r < i; r++) memcpy(tile + r * j * V, g->c + r * g->c_i, (size_t)columns * sizeof(real));
        ragged.init = tile, ragged.init_i = j * V, ragged.init_j = V;
    }
    brgemm(i, j, &ragged);
    for (int64_t r = 0; r < i; r++) memcpy(g->c + r * g->c_i, tile + r * j * V, (size_t)columns * sizeof(real));
}

/* ---- forward ------------------------------------------------------------------------------------------- */

/* The last C % V columns of `rows` rows of a matrix -> rows of one vector, zeros behind them. */
static void copy_tails(const real *m, int64_t c, int64_t rows, real *tails)
{
    for (int64_t r = 0; r < rows; r++) vstore(tails + r * V, vload_first(m + r * c + c / V * V, c % V));
}

/* Lanes share the sum over c, which ends with the sum of the lanes. i is n, j is k: a few samples are one tile, which
   reads each weight once. */
static void run_dense_forward_by_features(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const dense_args *a = args;
    const int64_t c = a->c;
    const brgemm_run whole = {.length = (int32_t)(c / V)}, tail = {.length = 1};
    const real zero[V] = {0};
    real *x_tails = scratch, *w_tails = x_tails + a->n * V, tile[TILE_VECTORS * V], sums[TILE_VECTORS + V];
    for (int64_t task = begin; task < end; task++) {
        const row_span n_tiles = tiles_of_task(a->i_tiles, a->i_tasks, task % a->i_tasks);
        const row_span k_tiles = tiles_of_task(a->j_tiles, a->j_tasks, task / a->i_tasks);
        const int64_t n_begin = part_begin(a->n, a->i_tiles, n_tiles.begin);
        const int64_t n_end = part_begin(a->n, a->i_tiles, n_tiles.end);
        const int64_t k_begin = part_begin(a->k, a->j_tiles, k_tiles.begin);
        const int64_t k_end = part_begin(a->k, a->j_tiles, k_tiles.end);
        if (c % V) copy_tails(a->x + n_begin * c, c, n_end - n_begin, x_tails);
        for (int64_t kt = k_tiles.begin; kt < k_tiles.end; kt++) {
            const int64_t k = part_begin(a->k, a->j_tiles, kt), ks = part_begin(a->k, a->j_tiles, kt + 1) - k;
            if (c % V) copy_tails(a->w + k * c, c, ks, w_tails);
            for (int64_t nt = n_tiles.begin; nt < n_tiles.end; nt++) {
                const int64_t n = part_begin(a->n, a->i_tiles, nt), ns = part_begin(a->n, a->i_tiles, nt + 1) - n;
                brgemm_lanewise(ns, ks, &(brgemm_args){
                    .a = a->x + n * c, .a_i = c, .a_k = V, .b = a->w + k * c, .b_j = c, .b_k = V, .init = zero,
                    .c = tile, .c_i = ks * V, .c_j = V, .runs = &whole, .run_count = 1, .floor = -INFINITY});
                if (c % V)
                    brgemm_lanewise(ns, ks, &(brgemm_args){
                        .a = x_tails + (n - n_begin) * V, .a_i = V, .b = w_tails, .b_j = V,
                        .init = tile, .init_i = ks * V, .init_j = V, .c = tile, .c_i = ks * V, .c_j = V,
                        .runs = &tail, .run_count = 1, .floor = -INFINITY});
                sum_lanes(tile, ns * ks, sums);
                for (int64_t i = 0; i < ns; i++)
                    for (int64_t j = 0; j < ks; j++)
                        a->y[(n + i) * a->k + k + j] = sums[i * ks + j] + (a->bias ? a->bias[k + j] : 0);
            }
        }
        if (a->activation.kind != PYCNN_IDENTITY)
            for (int64_t n = n_begin; n < n_end; n++)
                activate(a->activation, a->y + n * a->k + k_begin, k_end - k_begin);
    }
}

/* Lanes are samples; i is k, j is n in vectors. A tile of samples is transposed once, for all tasks of a run that read
   it, and each task transposes its part of y back. The sum over c goes in pieces of DENSE_DEPTH, whose samples stay in
   the second-level cache. */
#define DENSE_TILES_PER_TASK 4          /* of register tiles, at least, so that a transposed tile of samples pays */
#define DENSE_DEPTH (1024 * 4 / (int64_t)sizeof(real))

static void run_dense_forward_by_samples(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const dense_args *a = args;
    const int64_t c = a->c, vectors = ceil_div(a->n, V), most = ceil_div(vectors, a->j_tiles);
    real *x_lanes = scratch, *y_lanes = x_lanes + most * V * c, *bias = y_lanes + most * V * a->i_most;
    for (int64_t task = begin, before = -1; task < end; task++) {
        const int64_t nt = task / a->i_tasks, j = part_begin(vectors, a->j_tiles, nt);
        const int64_t js = part_begin(vectors, a->j_tiles, nt + 1) - j;
        const row_span k_tiles = tiles_of_task(a->i_tiles, a->i_tasks, task % a->i_tasks);
        const int64_t k_begin = part_begin(a->k, a->i_tiles, k_tiles.begin);
        const int64_t k_count = part_begin(a->k, a->i_tiles, k_tiles.end) - k_begin;
        for (int64_t v = j; v < j + js && before != nt; v++) {
            const real *rows[V];
            for (int64_t l = 0; l < V; l++) rows[l] = a->x + min64(v * V + l, a->n - 1) * c;
            rows_to_lanes(rows, c, x_lanes + (v - j) * c * V);
        }
        before = nt;
        for (int64_t i = 0; i < k_count; i++) vstore(bias + i * V, vset1(a->bias ? a->bias[k_begin + i] : 0));
        for (int64_t from = 0; from < c; from += DENSE_DEPTH) {
            const brgemm_run run = {.length = (int32_t)min64(DENSE_DEPTH, c - from)};
            const int last = from + run.length == c;
            for (int64_t kt = k_tiles.begin; kt < k_tiles.end; kt++) {
                const int64_t k = part_begin(a->k, a->i_tiles, kt), ks = part_begin(a->k, a->i_tiles, kt + 1) - k;
                brgemm_args g = {
                    .a = a->w + k * c + from, .a_i = c, .a_k = 1, .b = x_lanes + from * V, .b_j = c * V, .b_k = V,
                    .c = y_lanes + (k - k_begin) * V, .c_i = V, .c_j = k_count * V, .runs = &run, .run_count = 1,
                    .floor = last && a->activation.kind == PYCNN_RELU ? 0 : -INFINITY};
                g.init = g.c, g.init_i = g.c_i, g.init_j = g.c_j;
                if (!from) g.init = bias + (k - k_begin) * V, g.init_j = 0;
                brgemm(ks, js, &g);
            }
        }
        for (int64_t v = j; v < j + js; v++) {
            const int64_t lanes = min64(V, a->n - v * V);
            real *rows[V];
            for (int64_t l = 0; l < V; l++) rows[l] = a->y + (v * V + min64(l, lanes - 1)) * a->k + k_begin;
            lanes_to_rows(y_lanes + (v - j) * k_count * V, k_count, rows, lanes);
            for (int64_t l = 0; l < lanes; l++)
                if (a->activation.kind != PYCNN_RELU) activate(a->activation, rows[l], k_count);
        }
    }
}

/* Whether lanes should be samples. Cycles for each result: of its sum, which where lanes share it waits for the loads
   of two vectors a product, of transposing its share of x, and of adding lanes. */
INLINE int dense_by_samples(int64_t n, int64_t c, int64_t k)
{
    const double sum = (double)c / (2 * V), padded = (double)(round_up(n, V)) / (double)n;
    return padded * sum + 6.0 / V * (double)c / (double)k < 1.3 * sum + 5;
}

static int dense_forward(pycnn_step *step, int64_t n, int64_t c, int64_t k, pycnn_activation activation,
                         const void *x, const void *w, const void *bias, void *y)
{
    dense_args a = {.n = n, .c = c, .k = k, .activation = activation, .x = x, .w = w, .bias = bias, .y = y};
    if (c > INT32_MAX) return PYCNN_TOO_LARGE;
    if (!dense_by_samples(n, c, k)) {
        divide_dense(&a, n, k, max64(1, c / V));
        return PREPARE(step, run_dense_forward_by_features, a.i_tasks * a.j_tasks,
                       (size_t)(n + TILE_VECTORS) * V * sizeof(real), a);
    }
    divide_dense(&a, k, ceil_div(n, V), c);
    a.i_tasks = max64(1, min64(a.i_tasks, a.i_tiles / DENSE_TILES_PER_TASK));
    a.i_most = ceil_div(k, a.i_tiles) * ceil_div(a.i_tiles, a.i_tasks);
    const int64_t most = ceil_div(ceil_div(n, V), a.j_tiles) * V;
    return PREPARE(step, run_dense_forward_by_samples, a.i_tasks * a.j_tiles,
                   (size_t)(most * (c + a.i_most) + a.i_most * V) * sizeof(real), a);
}

/* ---- backward_data: i is n, j is c in vectors -------------------------------------------------------------------- */

static void run_dense_backward_data(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const dense_args *a = args;
    const int64_t c = a->c, vectors = ceil_div(c, V);
    const brgemm_run run = {.length = (int32_t)a->k};
    const real zero[V] = {0};
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const row_span n_tiles = tiles_of_task(a->i_tiles, a->i_tasks, task % a->i_tasks);
        const row_span c_tiles = tiles_of_task(a->j_tiles, a->j_tasks, task / a->i_tasks);
        for (int64_t ct = c_tiles.begin; ct < c_tiles.end; ct++) {
            const int64_t c0 = part_begin(vectors, a->j_tiles, ct) * V;
            const int64_t columns = min64(c, part_begin(vectors, a->j_tiles, ct + 1) * V) - c0;
            for (int64_t nt = n_tiles.begin; nt < n_tiles.end; nt++) {
                const int64_t n = part_begin(a->n, a->i_tiles, nt), ns = part_begin(a->n, a->i_tiles, nt + 1) - n;
                real *dx = a->dx + n * c + c0;
                brgemm_ragged(ns, columns, &(brgemm_args){
                    .a = a->dy + n * a->k, .a_i = a->k, .a_k = 1, .b = a->w + c0, .b_j = V, .b_k = c, .init = zero,
                    .c = dx, .c_i = c, .c_j = V, .runs = &run, .run_count = 1, .floor = -INFINITY});
                if (a->activation.kind != PYCNN_IDENTITY)
                    for (int64_t i = 0; i < ns; i++)
                        activation_gradient(a->activation, dx + i * c, a->x + (n + i) * c + c0, dx + i * c, columns);
            }
        }
    }
}

static int dense_backward_data(pycnn_step *step, int64_t n, int64_t c, int64_t k, pycnn_activation backward,
                               const void *dy, const void *w, const void *x, void *dx)
{
    dense_args a = {.n = n, .c = c, .k = k, .activation = backward, .x = x, .w = w, .dy = dy, .dx = dx};
    if (k > INT32_MAX) return PYCNN_TOO_LARGE;
    divide_dense(&a, n, ceil_div(c, V), k);
    return PREPARE(step, run_dense_backward_data, a.i_tasks * a.j_tasks, 0, a);
}

/* ---- backward_weights: i is k, j is c in vectors ----------------------------------------------------------------- */

static void release_dense(void *args) { free(((dense_args *)args)->learns); }

#define DENSE_NEAR_BYTES (24 * 1024)            /* of the first-level cache, for x */

static void run_dense_backward_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const dense_args *a = args;
    const int64_t c = a->c, vectors = ceil_div(c, V);
    const brgemm_run run = {.length = (int32_t)a->n};
    const real zero[V] = {0};
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const row_span k_tiles = tiles_of_task(a->i_tiles, a->i_tasks, task % a->i_tasks);
        const row_span c_tiles = tiles_of_task(a->j_tiles, a->j_tasks, task / a->i_tasks);
        /* Whole rows of dw one after another, as memory likes it, if x stays in the nearest cache; else columns. */
        const int64_t k_count = k_tiles.end - k_tiles.begin, c_count = c_tiles.end - c_tiles.begin;
        const int by_rows = a->n * c * (int64_t)sizeof(real) <= DENSE_NEAR_BYTES;
        for (int64_t tile = 0; tile < k_count * c_count; tile++) {
            const int64_t ct = c_tiles.begin + (by_rows ? tile % c_count : tile / k_count);
            const int64_t kt = k_tiles.begin + (by_rows ? tile / c_count : tile % k_count);
            const int64_t c0 = part_begin(vectors, a->j_tiles, ct) * V;
            const int64_t columns = min64(c, part_begin(vectors, a->j_tiles, ct + 1) * V) - c0;
            const int64_t k = part_begin(a->k, a->i_tiles, kt), ks = part_begin(a->k, a->i_tiles, kt + 1) - k;
            for (row_span r = learning_run(a->learns, k, k + ks); r.begin < r.end;
                 r = learning_run(a->learns, r.end, k + ks)) {
                brgemm_args g = {.a = a->dy + r.begin, .a_i = 1, .a_k = a->k, .b = a->x + c0, .b_j = V, .b_k = c,
                                 .init = zero, .c = a->dw + r.begin * c + c0, .c_i = c, .c_j = V, .runs = &run,
                                 .run_count = 1, .floor = -INFINITY};
                if (a->accumulate) g.init = g.c, g.init_i = c, g.init_j = V;
                brgemm_ragged(r.end - r.begin, columns, &g);
            }
        }
        if (c_tiles.begin || !a->db) continue;
        const int64_t k_end = part_begin(a->k, a->i_tiles, k_tiles.end);
        for (int64_t k = part_begin(a->k, a->i_tiles, k_tiles.begin); k < k_end; k += V) {
            const int64_t lanes = min64(V, k_end - k);
            real sums[V];
            vec total = vset1(0);
            for (int64_t n = 0; n < a->n; n++) total += vload_upto(a->dy + n * a->k + k, lanes);
            vstore(sums, total);
            for (int64_t l = 0; l < lanes; l++)
                if (!a->learns || a->learns[k + l]) a->db[k + l] = sums[l] + (a->accumulate ? a->db[k + l] : 0);
        }
    }
}

static int dense_backward_weights(pycnn_step *step, int64_t n, int64_t c, int64_t k, int accumulate,
                                  const uint8_t *learns, const void *dy, const void *x, void *dw, void *db)
{
    dense_args a = {.n = n, .c = c, .k = k, .accumulate = accumulate, .x = x, .dy = dy, .dw = dw, .db = db};
    if (n > INT32_MAX) return PYCNN_TOO_LARGE;
    divide_dense(&a, k, ceil_div(c, V), n);
    if (learns && !(a.learns = copied_flags(learns, k))) return PYCNN_NO_MEMORY;
    const int status = PREPARE(step, run_dense_backward_weights, a.i_tasks * a.j_tasks, 0, a);
    if (status == PYCNN_OK) step->release = release_dense;
    else free(a.learns);
    return status;
}
