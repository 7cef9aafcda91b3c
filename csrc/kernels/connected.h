/* Maps that read some of the maps below, each connection with its own weights; the lanes are samples.
 *
 *     y[k][o]      = f(bias[k] + sum over connections e into k, over taps t, of w[e][t] x[source e][o stride - before + t dilation])
 *     dx[c][i]     = sum over connections e from c of w[e][t] dy[map e][o],   i = o stride - before + t dilation
 *     dw[e][t]     = sum over samples and o of dy[map e][o] x[source e][o stride - before + t dilation]
 *
 * What is not connected is not computed, and what does not learn has no gradient. A tile is a row of up to 14 positions
 * of one map: 14 multiply-adds for as many loads of x and one broadcast weight. Bound by arithmetic. */
#define CONNECTED_TILE 14

typedef struct {
    pycnn_window window;
    int64_t n, blocks, sources, maps, count;
    pycnn_connection *connection;       /* as given, sorted by map */
    int64_t *by_map, *map_begin;        /* numbers of the connections into each map */
    int64_t *by_source, *source_begin;  /* and from each source */
    uint8_t *learns;                    /* count connections, then maps biases */
} connection_table;

typedef struct {
    connection_table table;
    pycnn_activation activation;
    int accumulate, squared;
    const real *x, *w, *bias, *dy;
    real *y, *dx, *dw, *db;
} connected_args;

static void release_table(connection_table *t)
{
    free(t->connection);
    free(t->by_map);
    free(t->by_source);
    free(t->map_begin);
    free(t->source_begin);
    free(t->learns);
}

static void release_connected(void *args) { release_table(&((connected_args *)args)->table); }

/* Numbers of the connections in the order of one of their ends, stable; begin[i] is where those of end i begin. */
static void sort_connections(const connection_table *t, int by_source, int64_t ends, int64_t *sorted, int64_t *begin)
{
    memset(begin, 0, (size_t)(ends + 2) * sizeof *begin);
#define END_OF(e) (by_source ? t->connection[e].source : t->connection[e].map)
    for (int64_t e = 0; e < t->count; e++) begin[END_OF(e) + 2]++;
    for (int64_t i = 0; i < ends; i++) begin[i + 2] += begin[i + 1];
    for (int64_t e = 0; e < t->count; e++) sorted[begin[END_OF(e) + 1]++] = e;
#undef END_OF
}

static int build_table(connection_table *t, const pycnn_connections *c)
{
    *t = (connection_table){.window = c->window, .n = c->n, .blocks = ceil_div(c->n, V), .sources = c->c, .maps = c->k,
                            .count = c->count};
    const size_t count = (size_t)c->count + 1;
    t->connection = malloc(count * sizeof *t->connection);
    t->by_map = malloc(count * sizeof(int64_t));
    t->by_source = malloc(count * sizeof(int64_t));
    t->map_begin = malloc((size_t)(c->k + 2) * sizeof(int64_t));
    t->source_begin = malloc((size_t)(c->c + 2) * sizeof(int64_t));
    t->learns = malloc(count + (size_t)c->k);
    if (!t->connection || !t->by_map || !t->by_source || !t->map_begin || !t->source_begin || !t->learns) {
        release_table(t);
        return PYCNN_NO_MEMORY;
    }
    memcpy(t->connection, c->connection, (size_t)c->count * sizeof *t->connection);
    sort_connections(t, 0, c->k, t->by_map, t->map_begin);
    sort_connections(t, 1, c->c, t->by_source, t->source_begin);
    if (c->learns) memcpy(t->learns, c->learns, (size_t)(c->count + c->k));
    else memset(t->learns, 1, (size_t)(c->count + c->k));
    return PYCNN_OK;
}

static int prepare_connected(pycnn_step *step, pycnn_run_tasks *run, int64_t tasks, const pycnn_connections *c,
                             connected_args a)
{
    int status = build_table(&a.table, c);
    if (status) return status;
    status = PREPARE(step, run, tasks, 0, a);
    if (status) release_table(&a.table);
    else step->release = release_connected;
    return status;
}

INLINE int64_t volume_of(const int64_t size[3]) { return size[0] * size[1] * size[2]; }
INLINE int inside(int64_t i, int64_t size) { return i >= 0 && i < size; }

/* ---- a row tile of a correlation ----------------------------------------------------------------------------------- */

/* The inputs of a tile: of row (d, h) of the result, positions from `first` on. `weights[e]` and `plane[e]` belong
   together; tap t of a row of weights lies `tap_step` reals from tap t - 1. */
typedef struct {
    const pycnn_window *window;
    const connection_table *table;
    const int64_t *list;                /* connections, and how many */
    int64_t list_count;
    const real *weights, *planes;       /* those of all connections; the planes of a block of samples */
    int by_source, flipped;
    int64_t taps, plane_size;
} correlation;

INLINE void correlate(const int J, const int edge, const correlation *c, const int64_t od, const int64_t oh,
                      const int64_t ow, vec init, real *y)
{
    const pycnn_window *w = c->window;
    const int64_t *in = w->in, *kernel = w->kernel, step = w->stride[2] * V;
    static const real zero[V] = {0};
    vec acc[CONNECTED_TILE];
#pragma GCC unroll 14
    for (int j = 0; j < J; j++) acc[j] = init;
    for (int64_t l = 0; l < c->list_count; l++) {
        const int64_t e = c->list[l];
        const pycnn_connection ends = c->table->connection[e];
        const real *plane = c->planes + (c->by_source ? ends.map : ends.source) * c->plane_size;
        const real *weight = c->weights + e * c->taps + (c->flipped ? c->taps - 1 : 0);
        const int64_t next = c->flipped ? -1 : 1;
        for (int64_t kd = 0; kd < kernel[0]; kd++)
            for (int64_t kh = 0; kh < kernel[1]; kh++, weight += next * kernel[2]) {
                const int64_t id = od * w->stride[0] - w->before[0] + kd * w->dilation[0];
                const int64_t ih = oh * w->stride[1] - w->before[1] + kh * w->dilation[1];
                if (!inside(id, in[0]) || !inside(ih, in[1])) continue;
                const real *row = plane + (id * in[1] + ih) * in[2] * V;
                for (int64_t kw = 0; kw < kernel[2]; kw++) {
                    const vec a = vset1(weight[next * kw]);
                    const int64_t iw = ow * w->stride[2] - w->before[2] + kw * w->dilation[2];
#pragma GCC unroll 14
                    for (int j = 0; j < J; j++) {
                        const real *x = row + iw * V + j * step;
                        if (edge) x = inside(iw + j * w->stride[2], in[2]) ? x : zero;
                        acc[j] = vfma(a, vload(x), acc[j]);
                    }
                }
            }
    }
#pragma GCC unroll 14
    for (int j = 0; j < J; j++) vstore(y + j * V, acc[j]);
}

typedef void correlate_function(const correlation *, int64_t, int64_t, int64_t, real, real *);

#define CORRELATES(M) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14)
#define DEFINE_CORRELATE(J)                                                                                            \
    static void correlate_##J(const correlation *c, int64_t d, int64_t h, int64_t w, real init, real *y)               \
    {                                                                                                                  \
        correlate(J, 0, c, d, h, w, vset1(init), y);                                                                   \
    }                                                                                                                  \
    static void correlate_edge_##J(const correlation *c, int64_t d, int64_t h, int64_t w, real init, real *y)          \
    {                                                                                                                  \
        correlate(J, 1, c, d, h, w, vset1(init), y);                                                                   \
    }
CORRELATES(DEFINE_CORRELATE)
#define NAME_CORRELATE(J) correlate_##J,
#define NAME_CORRELATE_EDGE(J) correlate_edge_##J,
static correlate_function *const correlate_tiles[CONNECTED_TILE] = {CORRELATES(NAME_CORRELATE)};
static correlate_function *const correlate_edge_tiles[CONNECTED_TILE] = {CORRELATES(NAME_CORRELATE_EDGE)};

/* All positions of one map of one block of samples. */
static void correlate_plane(const correlation *c, real init, real *y)
{
    const pycnn_window *w = c->window;
    const int64_t width = w->out[2], tiles = ceil_div(width, CONNECTED_TILE), reach = (w->kernel[2] - 1) * w->dilation[2];
    for (int64_t d = 0; d < w->out[0]; d++)
        for (int64_t h = 0; h < w->out[1]; h++)
            for (int64_t t = 0; t < tiles; t++) {
                const int64_t first = part_begin(width, tiles, t), last = part_begin(width, tiles, t + 1) - 1;
                const int whole = first * w->stride[2] >= w->before[2]
                               && last * w->stride[2] - w->before[2] + reach < w->in[2];
                (whole ? correlate_tiles : correlate_edge_tiles)[last - first](
                    c, d, h, first, init, y + ((d * w->out[1] + h) * width + first) * V);
            }
}

/* ---- forward ------------------------------------------------------------------------------------------------------- */

static void run_connected_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const connected_args *a = args;
    const connection_table *t = &a->table;
    const int64_t size = volume_of(t->window.out), in_size = volume_of(t->window.in);
    correlation c = {.window = &t->window, .table = t, .weights = a->w, .taps = volume_of(t->window.kernel),
                     .plane_size = in_size * V};
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const int64_t block = task / t->maps, map = task % t->maps;
        real *y = a->y + task * size * V;
        c.planes = a->x + block * t->sources * in_size * V;
        c.list = t->by_map + t->map_begin[map];
        c.list_count = t->map_begin[map + 1] - t->map_begin[map];
        correlate_plane(&c, a->bias ? a->bias[map] : 0, y);
        activate(a->activation, y, size * V);
    }
}

static int connected_forward(pycnn_step *step, const pycnn_connections *c, pycnn_activation activation,
                             const void *x, const void *w, const void *bias, void *y)
{
    return prepare_connected(step, run_connected_forward, ceil_div(c->n, V) * c->k, c,
                             (connected_args){.activation = activation, .x = x, .w = w, .bias = bias, .y = y});
}

/* ---- backward_data ------------------------------------------------------------------------------------------------- */

/* The window by which dx reads dy, turned round: that of a correlation, where the stride is 1. */
static pycnn_window turned_window(const pycnn_window *w)
{
    pycnn_window t = *w;
    for (int i = 0; i < 3; i++) {
        t.in[i] = w->out[i], t.out[i] = w->in[i];
        t.before[i] = (w->kernel[i] - 1) * w->dilation[i] - w->before[i];
    }
    return t;
}

INLINE int has_stride(const pycnn_window *w) { return w->stride[0] > 1 || w->stride[1] > 1 || w->stride[2] > 1; }

/* dx[i] += w[t] dy[o], for the positions of the plane that tap t of one connection reaches. */
static void spread_connection(const pycnn_window *w, const real *weight, const real *dy, real *dx)
{
    for (int64_t kd = 0; kd < w->kernel[0]; kd++)
        for (int64_t kh = 0; kh < w->kernel[1]; kh++, weight += w->kernel[2])
            for (int64_t od = 0; od < w->out[0]; od++)
                for (int64_t oh = 0; oh < w->out[1]; oh++) {
                    const int64_t id = od * w->stride[0] - w->before[0] + kd * w->dilation[0];
                    const int64_t ih = oh * w->stride[1] - w->before[1] + kh * w->dilation[1];
                    if (!inside(id, w->in[0]) || !inside(ih, w->in[1])) continue;
                    const real *from = dy + (od * w->out[1] + oh) * w->out[2] * V;
                    real *to = dx + (id * w->in[1] + ih) * w->in[2] * V;
                    for (int64_t kw = 0; kw < w->kernel[2]; kw++)
                        for (int64_t ow = 0; ow < w->out[2]; ow++) {
                            const int64_t iw = ow * w->stride[2] - w->before[2] + kw * w->dilation[2];
                            if (!inside(iw, w->in[2])) continue;
                            vstore(to + iw * V, vfma(vset1(weight[kw]), vload(from + ow * V), vload(to + iw * V)));
                        }
                }
}

static void run_connected_backward_data(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const connected_args *a = args;
    const connection_table *t = &a->table;
    const pycnn_window turned = turned_window(&t->window);
    const int64_t size = volume_of(t->window.in), out_size = volume_of(t->window.out);
    correlation c = {.window = &turned, .table = t, .weights = a->w, .taps = volume_of(t->window.kernel),
                     .plane_size = out_size * V, .by_source = 1, .flipped = 1};
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const int64_t block = task / t->sources, source = task % t->sources;
        real *dx = a->dx + task * size * V;
        c.planes = a->dy + block * t->maps * out_size * V;
        c.list = t->by_source + t->source_begin[source];
        c.list_count = t->source_begin[source + 1] - t->source_begin[source];
        if (has_stride(&t->window)) {
            memset(dx, 0, (size_t)(size * V) * sizeof(real));
            for (int64_t l = 0; l < c.list_count; l++)
                spread_connection(&t->window, a->w + c.list[l] * c.taps,
                                  c.planes + t->connection[c.list[l]].map * c.plane_size, dx);
        } else {
            correlate_plane(&c, 0, dx);
        }
        if (a->activation.kind != PYCNN_IDENTITY)
            activation_gradient(a->activation, dx, a->x + task * size * V, dx, size * V);
    }
}

static int connected_backward_data(pycnn_step *step, const pycnn_connections *c, pycnn_activation backward,
                                   const void *dy, const void *w, const void *x, void *dx)
{
    return prepare_connected(step, run_connected_backward_data, ceil_div(c->n, V) * c->c, c,
                             (connected_args){.activation = backward, .dy = dy, .w = w, .x = x, .dx = dx});
}

/* ---- backward_weights ---------------------------------------------------------------------------------------------- */

#define CONNECTED_TAPS 8        /* of a row, summed in one go, over two positions at a time */

/* sums[s] += sum over the n positions of a row of dy[o] x[o stride + s dilation], for S taps that are all inside. */
INLINE void sum_taps(const int S, const pycnn_window *w, const real *dy, const real *x, int64_t n, real *sums)
{
    const int64_t step = w->stride[2] * V, tap = w->dilation[2] * V;
    vec even[CONNECTED_TAPS], odd[CONNECTED_TAPS];
#pragma GCC unroll 8
    for (int s = 0; s < S; s++) even[s] = vload(sums + s * V), odd[s] = vset1(0);
    int64_t o = 0;
    for (; o + 2 <= n; o += 2) {
        const vec first = vload(dy + o * V), second = vload(dy + (o + 1) * V);
#pragma GCC unroll 8
        for (int s = 0; s < S; s++) {
            even[s] = vfma(first, vload(x + o * step + s * tap), even[s]);
            odd[s] = vfma(second, vload(x + (o + 1) * step + s * tap), odd[s]);
        }
    }
    if (o < n) {
        const vec first = vload(dy + o * V);
#pragma GCC unroll 8
        for (int s = 0; s < S; s++) even[s] = vfma(first, vload(x + o * step + s * tap), even[s]);
    }
#pragma GCC unroll 8
    for (int s = 0; s < S; s++) vstore(sums + s * V, even[s] + odd[s]);
}

static void sum_taps_of_row(int64_t taps, const pycnn_window *w, const real *dy, const real *x, int64_t n, real *sums)
{
    switch (taps) {
    case 1: sum_taps(1, w, dy, x, n, sums); break;
    case 2: sum_taps(2, w, dy, x, n, sums); break;
    case 3: sum_taps(3, w, dy, x, n, sums); break;
    case 4: sum_taps(4, w, dy, x, n, sums); break;
    case 5: sum_taps(5, w, dy, x, n, sums); break;
    case 6: sum_taps(6, w, dy, x, n, sums); break;
    case 7: sum_taps(7, w, dy, x, n, sums); break;
    default: sum_taps(8, w, dy, x, n, sums);
    }
}

/* sums += what the rows of one plane of dy and one of x come to, for row (kd, kh) of taps kw .. kw + taps - 1. */
static void sum_plane(const pycnn_window *w, int64_t kd, int64_t kh, int64_t kw, int64_t taps, const real *dy,
                      const real *x, real *sums)
{
    const int64_t stride = w->stride[2], offset = kw * w->dilation[2] - w->before[2];
    const int64_t last = offset + (taps - 1) * w->dilation[2];
    const int64_t whole_begin = min64(w->out[2], offset < 0 ? ceil_div(-offset, stride) : 0);
    const int64_t whole_end = last < w->in[2] ? min64(w->out[2], (w->in[2] - 1 - last) / stride + 1) : 0;
    for (int64_t od = 0; od < w->out[0]; od++)
        for (int64_t oh = 0; oh < w->out[1]; oh++) {
            const int64_t id = od * w->stride[0] - w->before[0] + kd * w->dilation[0];
            const int64_t ih = oh * w->stride[1] - w->before[1] + kh * w->dilation[1];
            if (!inside(id, w->in[0]) || !inside(ih, w->in[1])) continue;
            const real *dy_row = dy + (od * w->out[1] + oh) * w->out[2] * V, *x_row = x + (id * w->in[1] + ih) * w->in[2] * V;
            if (whole_begin < whole_end)
                sum_taps_of_row(taps, w, dy_row + whole_begin * V, x_row + (whole_begin * stride + offset) * V,
                                whole_end - whole_begin, sums);
            for (int64_t o = 0; o < w->out[2]; o++) {
                if (o == whole_begin && whole_begin < whole_end) o = whole_end;
                if (o >= w->out[2]) break;
                for (int64_t s = 0; s < taps; s++) {
                    const int64_t iw = o * stride + offset + s * w->dilation[2];
                    if (inside(iw, w->in[2]))
                        vstore(sums + s * V, vfma(vload(dy_row + o * V), vload(x_row + iw * V), vload(sums + s * V)));
                }
            }
        }
}

INLINE void put_sum(int accumulate, real *to, real value) { *to = accumulate ? *to + value : value; }

/* A task is a connection, or behind those the bias of a map. */
static void run_connected_backward_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const connected_args *a = args;
    const connection_table *t = &a->table;
    const pycnn_window *w = &t->window;
    const int64_t in_size = volume_of(w->in) * V, out_size = volume_of(w->out) * V, taps = volume_of(w->kernel);
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        if (!t->learns[task]) continue;
        if (task >= t->count) {
            const int64_t map = task - t->count;
            vec total = vset1(0);
            for (int64_t block = 0; block < t->blocks; block++) {
                const real *dy = a->dy + (block * t->maps + map) * out_size;
                for (int64_t i = 0; i < out_size; i += V) total += vload(dy + i);
            }
            if (a->db) put_sum(a->accumulate, a->db + map, vsum_lanes(total));
            continue;
        }
        const pycnn_connection ends = t->connection[task];
        real *dw = a->dw + task * taps;
        for (int64_t row = 0; row < taps / w->kernel[2]; row++)
            for (int64_t kw = 0; kw < w->kernel[2]; kw += CONNECTED_TAPS) {
                const int64_t count = min64(CONNECTED_TAPS, w->kernel[2] - kw);
                real sums[CONNECTED_TAPS * V] = {0};
                for (int64_t block = 0; block < t->blocks; block++)
                    sum_plane(w, row / w->kernel[1], row % w->kernel[1], kw, count,
                              a->dy + (block * t->maps + ends.map) * out_size,
                              a->x + (block * t->sources + ends.source) * in_size, sums);
                for (int64_t s = 0; s < count; s++)
                    put_sum(a->accumulate, dw + row * w->kernel[2] + kw + s, vsum_lanes(vload(sums + s * V)));
            }
    }
}

static int connected_backward_weights(pycnn_step *step, const pycnn_connections *c, int accumulate, const void *dy,
                                      const void *x, void *dw, void *db)
{
    return prepare_connected(step, run_connected_backward_weights, c->count + c->k, c,
                             (connected_args){.accumulate = accumulate, .dy = dy, .x = x, .dw = dw, .db = db});
}

/* ---- softmax pooling: y[k][o] = sum over connections e into k of F(x[source e] in the window of o, a[e]) ------------- */

/* F(x, a) = sum_i p_i x_i with p = softmax(a x) (N. Chumerin's myCNN): dF/dx_i = p_i (1 + a (x_i - F)) and
   dF/da = sum_i p_i (x_i - F)^2. Bound by exp. */

/* The first tap of output (d, h, w). Windows have no padding. */
INLINE const real *window_of(const pycnn_window *w, const real *plane, int64_t o)
{
    const int64_t ow = o % w->out[2], oh = o / w->out[2] % w->out[1], od = o / w->out[2] / w->out[1];
    return plane + ((od * w->stride[0] * w->in[1] + oh * w->stride[1]) * w->in[2] + ow * w->stride[2]) * V;
}

#define FOR_WINDOW(w, offset)                                                                                          \
    for (int64_t kd = 0; kd < (w)->kernel[0]; kd++)                                                                    \
        for (int64_t kh = 0; kh < (w)->kernel[1]; kh++)                                                                \
            for (int64_t kw = 0, offset = (kd * (w)->in[1] + kh) * (w)->in[2] * V; kw < (w)->kernel[2]; kw++, offset += V)

/* The greatest a x of a window, the sum of exp(a x - greatest), and F. */
typedef struct { vec greatest, total, value; } soft_maximum;

INLINE soft_maximum soft_maximum_of(const pycnn_window *w, const real *x, vec a)
{
    soft_maximum m = {vset1(-(real)INFINITY), vset1(0), vset1(0)};
    FOR_WINDOW(w, at) m.greatest = vmax_or_nan(m.greatest, a * vload(x + at));
    FOR_WINDOW(w, at) {
        const vec p = vexp(a * vload(x + at) - m.greatest);
        m.total += p;
        m.value = vfma(p, vload(x + at), m.value);
    }
    m.value = m.value / m.total;
    return m;
}

static void run_softmax_pool_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const connected_args *a = args;
    const connection_table *t = &a->table;
    const pycnn_window *w = &t->window;
    const int64_t size = volume_of(w->out), in_size = volume_of(w->in);
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const int64_t block = task / t->maps, map = task % t->maps;
        for (int64_t o = 0; o < size; o++) {
            vec total = vset1(0);
            for (int64_t l = t->map_begin[map]; l < t->map_begin[map + 1]; l++) {
                const int64_t e = t->by_map[l];
                const real *plane = a->x + (block * t->sources + t->connection[e].source) * in_size * V;
                total += soft_maximum_of(w, window_of(w, plane, o), vset1(a->w[e])).value;
            }
            vstore(a->y + (task * size + o) * V, total);
        }
    }
}

static int softmax_pool_forward(pycnn_step *step, const pycnn_connections *c, const void *x, const void *sharpness, void *y)
{
    return prepare_connected(step, run_softmax_pool_forward, ceil_div(c->n, V) * c->k, c,
                             (connected_args){.x = x, .w = sharpness, .y = y});
}

static void run_softmax_pool_backward_data(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const connected_args *a = args;
    const connection_table *t = &a->table;
    const pycnn_window *w = &t->window;
    const int64_t size = volume_of(w->out), in_size = volume_of(w->in);
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const int64_t block = task / t->sources, source = task % t->sources;
        const real *x = a->x + task * in_size * V;
        real *dx = a->dx + task * in_size * V;
        memset(dx, 0, (size_t)(in_size * V) * sizeof(real));
        for (int64_t l = t->source_begin[source]; l < t->source_begin[source + 1]; l++) {
            const int64_t e = t->by_source[l];
            const vec sharpness = vset1(a->w[e]);
            const real *dy = a->dy + (block * t->maps + t->connection[e].map) * size * V;
            for (int64_t o = 0; o < size; o++) {
                const real *from = window_of(w, x, o);
                real *to = dx + (from - x);
                const soft_maximum m = soft_maximum_of(w, from, sharpness);
                FOR_WINDOW(w, at) {
                    const vec xi = vload(from + at), p = vexp(sharpness * xi - m.greatest) / m.total;
                    vec slope = p * (vset1(1) + sharpness * (xi - m.value));
                    if (a->squared) slope *= slope;
                    vstore(to + at, vfma(vload(dy + o * V), slope, vload(to + at)));
                }
            }
        }
    }
}

static int softmax_pool_backward_data(pycnn_step *step, const pycnn_connections *c, int squared, const void *dy,
                                      const void *x, const void *sharpness, void *dx)
{
    return prepare_connected(step, run_softmax_pool_backward_data, ceil_div(c->n, V) * c->c, c,
                             (connected_args){.squared = squared, .dy = dy, .x = x, .w = sharpness, .dx = dx});
}

static void run_softmax_pool_backward_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const connected_args *a = args;
    const connection_table *t = &a->table;
    const pycnn_window *w = &t->window;
    const int64_t size = volume_of(w->out), in_size = volume_of(w->in);
    (void)scratch;
    for (int64_t e = begin; e < end; e++) {
        if (!t->learns[e]) continue;
        const vec sharpness = vset1(a->w[e]);
        vec total = vset1(0);
        for (int64_t block = 0; block < t->blocks; block++) {
            const real *x = a->x + (block * t->sources + t->connection[e].source) * in_size * V;
            const real *dy = a->dy + (block * t->maps + t->connection[e].map) * size * V;
            for (int64_t o = 0; o < size; o++) {
                const real *from = window_of(w, x, o);
                const soft_maximum m = soft_maximum_of(w, from, sharpness);
                vec slope = vset1(0);
                FOR_WINDOW(w, at) {
                    const vec xi = vload(from + at), p = vexp(sharpness * xi - m.greatest) / m.total;
                    slope = vfma(p * (xi - m.value), xi - m.value, slope);
                }
                if (a->squared) slope *= slope;
                total = vfma(vload(dy + o * V), slope, total);
            }
        }
        put_sum(a->accumulate, a->dw + e, vsum_lanes(total));
    }
}

static int softmax_pool_backward_weights(pycnn_step *step, const pycnn_connections *c, int accumulate, int squared,
                                         const void *dy, const void *x, const void *sharpness, void *d_sharpness)
{
    return prepare_connected(step, run_softmax_pool_backward_weights, c->count, c,
                             (connected_args){.accumulate = accumulate, .squared = squared, .dy = dy, .x = x,
                                              .w = sharpness, .dw = d_sharpness});
}
