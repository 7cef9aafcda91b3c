/* Between layouts, and between a caller's arrays and the arena: rows of samples or channels become lanes.
 *
 * PLAIN -> SAMPLES turns V samples of C S reals, PLAIN -> CHANNELS V channels of S reals, into vectors. Lanes beyond
 * the last sample repeat it, so that no arithmetic meets numbers that a sample could not hold, or are zero in a
 * gradient; lanes beyond the last channel are zero.
 *
 * Bound by memory; what is large is streamed. Rows of lanes are whole lines; those of a plain array begin anywhere,
 * so pieces of V of them are gathered in scratch, and go out from there row by row. */
typedef struct {
    pycnn_layout layout;            /* that of the side which is not PLAIN */
    int to_lanes, gradient, streamed;
    int64_t n, c, s;
    const void *x;                  /* or behind x_slot */
    void *y;                        /* or behind y_slot */
    pycnn_slot x_slot;
    void *const *y_slot;
    pycnn_index_slot rows_slot;
} reorder_args;

#define SAMPLES_COLUMNS (4 * ELEMENTS_PER_TASK / V)     /* of the C S columns of a block of samples, in one task */

INLINE int64_t reorder_tasks(pycnn_layout layout, int64_t n, int64_t c, int64_t s)
{
    switch (layout) {
    case PYCNN_SAMPLES: return ceil_div(n, V) * ceil_div(c * s, SAMPLES_COLUMNS);
    case PYCNN_CHANNELS: return n * ceil_div(c, V);
    default: return n;
    }
}

#define PIECE_COLUMNS (4096 / V)        /* of V rows on their way out, in the nearest cache */

/* The rows of one task: `rows` of them, `length` long; row l is plain[l], and their vectors begin at `vectors`. */
typedef struct { int64_t rows, length, vectors; int64_t plain[V]; } reorder_block;

static reorder_block block_of_task(const reorder_args *r, const int64_t *rows, int64_t task)
{
    reorder_block b;
    const int64_t n = r->n, c = r->c, s = r->s, size = c * s;
    if (r->layout == PYCNN_SAMPLES) {
        int64_t chunks = ceil_div(size, SAMPLES_COLUMNS), block = task / chunks;
        int64_t column = task % chunks * SAMPLES_COLUMNS;
        b.rows = min64(V, n - block * V);
        b.length = min64(SAMPLES_COLUMNS, size - column);
        b.vectors = (block * size + column) * V;
        for (int64_t l = 0; l < V; l++) {
            int64_t i = block * V + min64(l, b.rows - 1);
            b.plain[l] = (rows ? rows[i] : i) * size + column;
        }
    } else {
        int64_t blocks = ceil_div(c, V), i = task / blocks, block = task % blocks;
        b.rows = min64(V, c - block * V);
        b.length = s;
        b.vectors = task * s * V;
        for (int64_t l = 0; l < V; l++)
            b.plain[l] = (rows ? rows[i] : i) * size + (block * V + min64(l, b.rows - 1)) * s;
    }
    return b;
}

/* Sets the lanes from `from` on to zero in n vectors. */
static void clear_lanes(real *y, int64_t n, int64_t from)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t l = from; l < V; l++) y[i * V + l] = 0;
}

/* Streams n vectors out to rows of n reals, by way of `scratch`. */
static void stream_lanes_to_rows(const real *x, int64_t n, real *const rows[V], int64_t lanes, real *scratch)
{
    real *piece[V];
    for (int l = 0; l < V; l++) piece[l] = scratch + l * PIECE_COLUMNS;
    for (int64_t s = 0; s < n; s += PIECE_COLUMNS) {
        const int64_t m = min64(PIECE_COLUMNS, n - s);
        lanes_to_rows(x + s * V, m, piece, lanes);
        for (int64_t l = 0; l < lanes; l++) stream_reals(rows[l] + s, piece[l], m);
    }
}

static void run_reorder(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const reorder_args *r = args;
    const real *x = r->x_slot ? *r->x_slot : r->x;
    real *y = r->y_slot ? *r->y_slot : r->y;
    const int64_t *rows = r->rows_slot ? *r->rows_slot : NULL;
    for (int64_t task = begin; task < end; task++) {
        if (r->layout == PYCNN_PLAIN) {
            int64_t size = r->c * r->s;
            const real *from = x + (rows ? rows[task] : task) * size;
            if (r->streamed) stream_reals(y + task * size, from, size);
            else memcpy(y + task * size, from, (size_t)size * sizeof(real));
            continue;
        }
        reorder_block b = block_of_task(r, rows, task);
        if (r->to_lanes) {
            const real *plain[V];
            for (int l = 0; l < V; l++) plain[l] = x + b.plain[l];
            const int clears = b.rows < V && (r->gradient || r->layout == PYCNN_CHANNELS);
            if (r->streamed && !clears) rows_into_lanes(1, plain, b.length, y + b.vectors);
            else rows_to_lanes(plain, b.length, y + b.vectors);
            if (clears) clear_lanes(y + b.vectors, b.length, b.rows);
        } else {
            real *plain[V];
            for (int l = 0; l < V; l++) plain[l] = y + b.plain[l];
            if (r->streamed) stream_lanes_to_rows(x + b.vectors, b.length, plain, b.rows, scratch);
            else lanes_to_rows(x + b.vectors, b.length, plain, b.rows);
        }
    }
    if (r->streamed) stream_fence();
}

static int prepare_reorder(pycnn_step *step, reorder_args r)
{
    r.streamed = is_far(2 * r.n * r.c * r.s);
    if (r.to_lanes && r.layout != PYCNN_PLAIN) r.streamed = is_streamable(r.y, 2 * r.n * r.c * r.s);
    const size_t scratch = r.streamed ? PIECE_COLUMNS * V * sizeof(real) : 0;
    return PREPARE(step, run_reorder, reorder_tasks(r.layout, r.n, r.c, r.s), scratch, r);
}

static int import_tensor(pycnn_step *step, pycnn_layout to, int64_t n, int64_t c, int64_t s,
                         pycnn_slot x_slot, pycnn_index_slot rows_slot, void *y)
{
    return prepare_reorder(step, (reorder_args){.layout = to, .to_lanes = 1, .n = n, .c = c, .s = s, .y = y,
                                                .x_slot = x_slot, .rows_slot = rows_slot});
}

static int export_tensor(pycnn_step *step, pycnn_layout from, int64_t n, int64_t c, int64_t s,
                         const void *x, void *const *y_slot)
{
    return prepare_reorder(step, (reorder_args){.layout = from, .n = n, .c = c, .s = s, .x = x, .y_slot = y_slot});
}

static int reorder(pycnn_step *step, pycnn_layout from, pycnn_layout to, int gradient, int64_t n, int64_t c, int64_t s,
                   const void *x, void *y)
{
    return prepare_reorder(step, (reorder_args){.layout = to == PYCNN_PLAIN ? from : to, .to_lanes = to != PYCNN_PLAIN,
                                                .gradient = gradient, .n = n, .c = c, .s = s, .x = x, .y = y});
}
