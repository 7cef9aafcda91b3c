/* Embedding: a position of a sample holds the number of a word, and becomes that word's row of a table.
 *
 *     y[n][d][s] = w[id][d] with id = ids[n][s],     dw[i][d] += sum over the n, s with ids[n][s] = i of dy[n][d][s]
 *
 * Ids are reals (N, S), cut to whole numbers; beyond the table they count as its nearest row. In CHANNELS a row is a
 * column of y, vector by vector. Else V positions, or V samples, are taken together, and their rows transposed.
 *
 * Backward, a task has V dimensions of the whole table to itself, and goes through all positions in order. Only rows
 * of words that occur are touched, that of `padding` never. */
typedef struct {
    pycnn_layout layout;
    int64_t n, s, vocabulary, dimension, padding;
    const real *ids, *w, *dy;
    real *y, *dw;
} embedding_args;

/* Up to V positions that lie side by side in y: their ids, and where their first dimension is. */
typedef struct { const real *ids; int64_t id_stride, at, lanes; } id_bunch;

INLINE int64_t chunks_of_positions(const embedding_args *e) { return ceil_div(e->s, V); }

static int64_t count_bunches(const embedding_args *e)
{
    return e->layout == PYCNN_SAMPLES ? ceil_div(e->n, V) * e->s : e->n * chunks_of_positions(e);
}

INLINE id_bunch find_bunch(const embedding_args *e, int64_t i)
{
    if (e->layout == PYCNN_SAMPLES) {
        const int64_t block = i / e->s, s = i % e->s;
        return (id_bunch){e->ids + block * V * e->s + s, e->s, (block * e->dimension * e->s + s) * V,
                          min64(V, e->n - block * V)};
    }
    const int64_t n = i / chunks_of_positions(e), s = i % chunks_of_positions(e) * V;
    return (id_bunch){e->ids + n * e->s + s, 1, n * e->dimension * e->s + s, min64(V, e->s - s)};
}

/* Reals from one dimension of a bunch to the next. */
INLINE int64_t dimension_stride(const embedding_args *e) { return e->layout == PYCNN_SAMPLES ? e->s * V : e->s; }

INLINE int64_t row_of(const embedding_args *e, real id)
{
    return id >= 0 ? id < (real)e->vocabulary ? (int64_t)id : e->vocabulary - 1 : 0;
}

/* Lanes of y that no sample fills repeat the last one. */
static void run_embedding_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const embedding_args *e = args;
    const int64_t stride = dimension_stride(e);
    real *columns = scratch;
    for (int64_t task = begin; task < end; task++) {
        const id_bunch b = find_bunch(e, task);
        const real *rows[V];
        for (int64_t l = 0; l < V; l++)
            rows[l] = e->w + row_of(e, b.ids[min64(l, b.lanes - 1) * b.id_stride]) * e->dimension;
        rows_to_lanes(rows, e->dimension, columns);
        const int64_t lanes = e->layout == PYCNN_SAMPLES ? V : b.lanes;
        for (int64_t d = 0; d < e->dimension; d++) vstore_upto(e->y + b.at + d * stride, vload(columns + d * V), lanes);
    }
}

static void run_embedding_forward_channels(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const embedding_args *e = args;
    const int64_t blocks = ceil_div(e->dimension, V);
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int64_t s = 0; s < e->s; s++) {
            const real *row = e->w + row_of(e, e->ids[n * e->s + s]) * e->dimension;
            real *y = e->y + (n * blocks * e->s + s) * V;
            for (int64_t d = 0; d < e->dimension; d += V) vstore(y + d * e->s, vload_upto(row + d, e->dimension - d));
        }
}

static int embedding_forward(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t s, int64_t vocabulary,
                             int64_t dimension, const void *ids, const void *w, void *y)
{
    const embedding_args e = {.layout = layout, .n = n, .s = s, .vocabulary = vocabulary, .dimension = dimension,
                              .ids = ids, .w = w, .y = y};
    if (layout == PYCNN_CHANNELS) return PREPARE(step, run_embedding_forward_channels, n, 0, e);
    return PREPARE(step, run_embedding_forward, count_bunches(&e), (size_t)(dimension * V) * sizeof(real), e);
}

/* Adds dimensions d .. d + V - 1 of one position. */
INLINE void add_to_row(const embedding_args *e, real id, int64_t d, vec dy)
{
    const int64_t row = row_of(e, id), lanes = e->dimension - d;
    if (row == e->padding) return;
    real *dw = e->dw + row * e->dimension + d;
    vstore_upto(dw, vload_upto(dw, lanes) + dy, lanes);
}

static void run_embedding_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const embedding_args *e = args;
    const int64_t stride = dimension_stride(e), bunches = count_bunches(e);
    (void)scratch;
    for (int64_t d = begin * V; d < end * V; d += V)
        for (int64_t i = 0; i < bunches; i++) {
            const id_bunch b = find_bunch(e, i);
            vec t[V];
            for (int64_t j = 0; j < V; j++)
                t[j] = vload_upto(e->dy + b.at + min64(d + j, e->dimension - 1) * stride, b.lanes);
            transpose_vectors(t);
            for (int64_t l = 0; l < b.lanes; l++) add_to_row(e, b.ids[l * b.id_stride], d, t[l]);
        }
}

static void run_embedding_backward_channels(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const embedding_args *e = args;
    const int64_t blocks = ceil_div(e->dimension, V);
    (void)scratch;
    for (int64_t block = begin; block < end; block++)
        for (int64_t n = 0; n < e->n; n++) {
            const real *dy = e->dy + (n * blocks + block) * e->s * V;
            for (int64_t s = 0; s < e->s; s++) add_to_row(e, e->ids[n * e->s + s], block * V, vload(dy + s * V));
        }
}

static int embedding_backward(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t s, int64_t vocabulary,
                              int64_t dimension, int64_t padding, const void *dy, const void *ids, void *dw)
{
    const embedding_args e = {.layout = layout, .n = n, .s = s, .vocabulary = vocabulary, .dimension = dimension,
                              .padding = padding, .ids = ids, .dy = dy, .dw = dw};
    pycnn_run_tasks *run = layout == PYCNN_CHANNELS ? run_embedding_backward_channels : run_embedding_backward;
    return PREPARE(step, run, ceil_div(dimension, V), 0, e);
}
