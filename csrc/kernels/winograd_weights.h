/* The gradient of a convolution of stride one to its weights with fewer multiplications: the adjoint of winograd.h.
 *
 *     dw[k][c] = G^T [ sum over tiles of (A dY A^T)[k] . (B^T d B)[c] ] G        db[k] = sum of dY[k]
 *
 * The tiles are those of the forward pass: d, 6 x 6 of x, and dY, the m x m of dy that they make. Between the brackets is a
 * product of matrices for each pair of points, whose sum runs over tiles:
 *
 *     S[p][c][k] += sum over t of U[p][t][c] D[p][t][k]       A = U (broadcast), B = D, lanes are V filters
 *
 * A task is a chunk of the tiles and a share of the filters. It transforms a block of tiles of x and dy into U and D and adds their
 * products to the partial sum of its chunk, S followed by [V] of the bias a unit. winograd_reduce_weights adds the chunks in
 * their order and transforms the sum into dw. Where one block has all tiles and S would be large, S is made piece by piece and
 * transformed at once: the only partial sum is then dw as [unit][channel][tap][V]. */

typedef struct {
    pycnn_conv shape;
    winograd_axis axis[2];
    int64_t points, units, tiles;
    int64_t chunks, unit_splits;                /* tasks along the tiles and the filters */
    int64_t block;                              /* tiles transformed at a time */
    int64_t units_of_task;                      /* at most */
    int64_t source_tile, unit_tiles;            /* channels of a register tile; register tiles of a task's filters */
    int64_t u_row, u_point, d_point;            /* strides of U and D, in reals */
    int64_t s_row, s_point;                     /* of S, or of a piece of it */
    int whole;                                  /* one block has all tiles: S in pieces of `run` channels and a tile of units */
    int64_t run;
    int64_t weights_size, partial_size;         /* of a partial sum: without and with the bias */
} winograd_gradient;

#define WINOGRAD_GRADIENT_BYTES (960 * 1024)    /* of U and D, in the second-level cache */
#define WINOGRAD_PARTIAL_BYTES (20 * 1024 * 1024)  /* of all partial sums, where there is a choice */
#define WINOGRAD_UNITS_PER_TASK 4               /* at least: a task transforms all of x */
#define WINOGRAD_WHOLE_TILES 128                /* of a block, at most, where S is made in pieces */

static winograd_gradient build_winograd_gradient(const pycnn_conv *shape)
{
    winograd_gradient c = {.shape = *shape, .units = ceil_div(shape->k, V)};
    for (int a = 0; a < 2; a++) c.axis[a] = winograd_axis_of(&shape->window, a + 1, 0);
    c.points = c.axis[0].points * c.axis[1].points;
    c.tiles = shape->n * winograd_tiles_of_sample(c.axis);
    c.u_row = round_up(shape->c, V);
    c.s_row = c.units * V;
    c.s_point = odd_vectors(shape->c * c.s_row);
    const int64_t sum_bytes = c.points * c.s_point * (int64_t)sizeof(real);
    c.whole = c.tiles <= WINOGRAD_WHOLE_TILES && sum_bytes > WINOGRAD_FAR_BYTES;
    c.chunks = c.whole ? 1 : min64(8, min64(WINOGRAD_PARTIAL_BYTES / sum_bytes, c.tiles / WINOGRAD_MOST_TILES));
    c.chunks = max64(1, c.chunks - c.chunks % 2);
    c.unit_splits = min64(ceil_div(WINOGRAD_FEWEST_TASKS, c.chunks), max64(1, c.units / WINOGRAD_UNITS_PER_TASK));
    c.units_of_task = ceil_div(c.units, c.unit_splits);

    const int64_t tile_bytes = c.points * (c.u_row + c.units_of_task * V) * (int64_t)sizeof(real);
    c.block = max64(WINOGRAD_FEWEST_TILES, min64(2 * WINOGRAD_MOST_TILES, WINOGRAD_GRADIENT_BYTES / tile_bytes));
    if (sum_bytes > WINOGRAD_FAR_BYTES) c.block = max64(c.block, WINOGRAD_MOST_TILES);
    const int64_t of_chunk = ceil_div(c.tiles, c.chunks);
    c.block = c.whole ? c.tiles : ceil_div(of_chunk, ceil_div(of_chunk, c.block));
    c.u_point = odd_vectors(c.block * c.u_row);
    c.d_point = odd_vectors(c.block * c.units_of_task * V);
    const brgemm_cut cut = brgemm_choose_cut(shape->c, c.units_of_task, c.block);
    c.source_tile = ceil_div(shape->c, cut.i_parts), c.unit_tiles = cut.j_parts;
    c.run = shape->c;
    c.weights_size = c.points * c.s_point;
    if (c.whole) {
        c.s_row = ceil_div(c.units_of_task, c.unit_tiles) * V;
        const int64_t wanted = WINOGRAD_WEIGHT_BYTES / (c.points * c.s_row * (int64_t)sizeof(real));
        c.run = min64(shape->c, max64(1, wanted / c.source_tile) * c.source_tile);
        c.s_point = odd_vectors(c.run * c.s_row);
        c.weights_size = c.units * shape->c * c.axis[0].taps * c.axis[1].taps * V;
    }
    c.partial_size = c.weights_size + c.units * V;
    return c;
}

static int64_t winograd_partial_size(const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout)
{
    (void)layout, (void)x_layout;
    const winograd_gradient c = build_winograd_gradient(shape);
    return c.chunks * c.partial_size;
}

typedef struct {
    winograd_gradient pass;
    const real *dy, *x;
    real *partial;
    uint8_t *learns;                            /* of each filter, or NULL for all */
} winograd_gradient_args;

static void release_winograd_gradient(void *args) { free(((winograd_gradient_args *)args)->learns); }

/* The tiles of dy of the units begin .. end-1 -> D, and their sums -> the bias. */
static void winograd_gradients(const winograd_gradient_args *a, const winograd_tile *tiles, int64_t count, row_span units,
                               real *d, real *bias)
{
    const winograd_gradient *c = &a->pass;
    const winograd_axis *axis = c->axis;
    const int64_t plane = axis[0].target * axis[1].target * V, rows = axis[0].outputs, columns = axis[1].outputs;
    const int64_t row = axis[0].dilation * axis[1].target * V, column = axis[1].dilation * V;
    real copy[WINOGRAD_MOST * WINOGRAD_MOST * V];
    for (int64_t unit = units.begin; unit < units.end; unit++) {
        vec total = vload(bias + unit * V);
        for (int64_t t = 0; t < count; t++) {
            const winograd_tile *tile = &tiles[t], *next = &tiles[min64(t + WINOGRAD_AHEAD, count - 1)];
            const real *dy = a->dy + unit * plane;
            winograd_fetch(dy + (next->sample * c->units * axis[0].target * axis[1].target
                                 + next->row.target * axis[1].target + next->column.target) * V,
                           row, column, rows, columns, 0);
            const winograd_values y = winograd_tile_values(axis, dy + tile->sample * c->units * plane, axis[0].target,
                                                           axis[1].target, tile->row.target, tile->column.target,
                                                           rows, columns, copy);
            for (int64_t i = 0; i < tile->row.count; i++)
                for (int64_t j = 0; j < tile->column.count; j++) total += vload(y.at + i * y.row + j * y.column);
            transform_values(rows, columns, 0, y.at, y.row, y.column,
                             d + t * (units.end - units.begin) * V + (unit - units.begin) * V, c->d_point);
        }
        vstore(bias + unit * V, total);
    }
}

/* Channels begin .. end-1 of a tile of units: S += the products of U and D, or S = them if `first`. */
static void winograd_outer_products(const winograd_gradient *c, row_span channels, int64_t units, int64_t count, const real *u,
                                    const real *d, int64_t d_row, real *s, int first)
{
    static const real zero[V];
    const brgemm_run run = {.length = (int32_t)count};
    const int64_t parts = ceil_div(channels.end - channels.begin, c->source_tile);
    for (int64_t p = 0; p < c->points; p++)
        for (int64_t i = 0; i < parts; i++) {
            const int64_t begin = part_begin(channels.end - channels.begin, parts, i);
            brgemm_args g = {.a = u + p * c->u_point + channels.begin + begin, .a_i = 1, .a_k = c->u_row,
                             .b = d + p * c->d_point, .b_j = V, .b_k = d_row, .init = zero,
                             .c = s + p * c->s_point + begin * c->s_row, .c_i = c->s_row, .c_j = V,
                             .runs = &run, .run_count = 1, .floor = -INFINITY};
            if (!first) g.init = g.c, g.init_i = g.c_i, g.init_j = g.c_j;
            brgemm(part_begin(channels.end - channels.begin, parts, i + 1) - begin, units, &g);
        }
}

static void run_winograd_gradient(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const winograd_gradient_args *a = args;
    const winograd_gradient *c = &a->pass;
    const int64_t rows = c->axis[0].taps, columns = c->axis[1].taps, channels = c->shape.c;
    real *u = scratch, *d = u + c->points * c->u_point, *piece = d + c->points * c->d_point;
    winograd_tile *tiles = (winograd_tile *)(piece + (c->whole ? c->points * c->s_point : 0));
    for (int64_t task = begin; task < end; task++) {
        const int64_t chunk = task / c->unit_splits, split = task % c->unit_splits;
        const row_span units = {part_begin(c->units, c->unit_splits, split), part_begin(c->units, c->unit_splits, split + 1)};
        const int64_t width = (units.end - units.begin) * V;
        const int64_t tile_begin = part_begin(c->tiles, c->chunks, chunk), tile_end = part_begin(c->tiles, c->chunks, chunk + 1);
        real *partial = a->partial + chunk * c->partial_size, *bias = partial + c->weights_size;
        memset(bias + units.begin * V, 0, (size_t)width * sizeof(real));
        const row_span learning = learning_run(a->learns, units.begin * V, min64(c->shape.k, units.end * V));
        if (learning.begin == learning.end) continue;
        for (int64_t t0 = tile_begin; t0 < tile_end; t0 += c->block) {
            const int64_t count = min64(c->block, tile_end - t0);
            for (int64_t t = 0; t < count; t++) tiles[t] = winograd_tile_of(c->axis, t0 + t);
            winograd_sources(c->axis, channels, a->x, tiles, count, u, c->u_row, c->u_point);
            winograd_gradients(a, tiles, count, units, d, bias);
            for (int64_t j = 0; j < c->unit_tiles; j++) {
                const int64_t unit = part_begin(width / V, c->unit_tiles, j), last = part_begin(width / V, c->unit_tiles, j + 1);
                if (unit == last) continue;
                for (int64_t ch = 0; ch < channels; ch += c->run) {
                    const row_span of_run = {ch, min64(ch + c->run, channels)};
                    real *s = c->whole ? piece : partial + (units.begin + unit) * V;
                    winograd_outer_products(c, of_run, last - unit, count, u, d + unit * V, width, s, t0 == tile_begin);
                    for (int64_t k = unit; k < last && c->whole; k++)
                        for (int64_t i = of_run.begin; i < of_run.end; i++)
                            transform_back(rows, columns, 1, s + (i - ch) * c->s_row + (k - unit) * V, c->s_point,
                                           partial + ((units.begin + k) * channels + i) * rows * columns * V, columns * V, V);
                }
            }
        }
    }
}

static int winograd_backward_weights(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                                     const uint8_t *learns, const void *dy, const void *x, void *partial)
{
    (void)layout, (void)x_layout;
    winograd_gradient_args a = {.pass = build_winograd_gradient(shape), .dy = dy, .x = x, .partial = partial};
    const winograd_gradient *c = &a.pass;
    if (learns && !(a.learns = copied_flags(learns, shape->k))) return PYCNN_NO_MEMORY;
    const int status = PREPARE(step, run_winograd_gradient, c->chunks * c->unit_splits,
                               (size_t)(c->points * (c->u_point + c->d_point + (c->whole ? c->s_point : 0))) * sizeof(real)
                                   + (size_t)c->block * sizeof(winograd_tile), a);
    if (status == PYCNN_OK) step->release = release_winograd_gradient;
    else free(a.learns);
    return status;
}

/* ---- the sum of the partial sums ------------------------------------------------------------------------------------------ */

typedef struct {
    winograd_gradient pass;
    int accumulate;
    const real *partial;
    real *dw, *db;
} winograd_reduce_args;

#define WINOGRAD_REDUCE_SOURCES 16      /* channels of x in a task, with a unit of filters */

static void run_winograd_reduce(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const winograd_reduce_args *a = args;
    const winograd_gradient *c = &a->pass;
    const int64_t rows = c->axis[0].taps, columns = c->axis[1].taps, taps = rows * columns, per_filter = c->shape.c * taps;
    real *made = scratch, *before = made + WINOGRAD_REDUCE_SOURCES * taps * V, sums[WINOGRAD_MOST * WINOGRAD_MOST * V];
    for (int64_t task = begin; task < end; task++) {
        const int64_t unit = task % c->units, source = task / c->units * WINOGRAD_REDUCE_SOURCES;
        const int64_t count = min64(WINOGRAD_REDUCE_SOURCES, c->shape.c - source), lanes = min64(V, c->shape.k - unit * V);
        for (int64_t ch = 0; ch < count && !c->whole; ch++) {
            for (int64_t p = 0; p < c->points; p++) {
                const real *from = a->partial + p * c->s_point + (source + ch) * c->s_row + unit * V;
                vec total = vload(from);
                for (int64_t i = 1; i < c->chunks; i++) total += vload(from + i * c->partial_size);
                vstore(sums + p * V, total);
            }
            transform_back(rows, columns, 1, sums, V, made + ch * taps * V, columns * V, V);
        }
        const real *values = c->whole ? a->partial + (unit * c->shape.c + source) * taps * V : made;
        real *to[V];
        const real *old[V];
        for (int64_t l = 0; l < V; l++) old[l] = to[l] = a->dw + (unit * V + min64(l, lanes - 1)) * per_filter + source * taps;
        if (a->accumulate) {
            rows_to_lanes(old, count * taps, before);
            for (int64_t i = 0; i < count * taps * V; i += V) vstore(made + i, vload(values + i) + vload(before + i));
            values = made;
        }
        lanes_to_rows(values, count * taps, to, lanes);
        if (source || !a->db) continue;
        const real *from = a->partial + c->weights_size + unit * V;
        vec total = vload(from);
        for (int64_t i = 1; i < c->chunks; i++) total += vload(from + i * c->partial_size);
        real *db = a->db + unit * V;
        if (a->accumulate) total += vload_first(db, lanes);
        vstore_first(db, total, lanes);
    }
}

static int winograd_reduce_weights(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                                   int accumulate, const void *partial, void *dw, void *db)
{
    (void)layout, (void)x_layout;
    const winograd_reduce_args a = {.pass = build_winograd_gradient(shape), .accumulate = accumulate, .partial = partial,
                                    .dw = dw, .db = db};
    const winograd_gradient *c = &a.pass;
    return PREPARE(step, run_winograd_reduce, c->units * ceil_div(shape->c, WINOGRAD_REDUCE_SOURCES),
                   (size_t)(2 * WINOGRAD_REDUCE_SOURCES * c->axis[0].taps * c->axis[1].taps * V) * sizeof(real), a);
}
