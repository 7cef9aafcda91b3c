/* Convolution of stride one with fewer multiplications (Winograd; Lavin & Gray 2015, arXiv:1509.09308).
 *
 *     Y = A^T [ (G g G^T) . (B^T d B) ] A          summed over channels between the brackets
 *
 * A tile d of 6 x 6 sources makes a tile Y of m x m targets under r x r taps, m + r = 7: F(4x4, 3x3) takes 36 multiplications
 * where the sum over taps takes 144, F(2x2, 5x5) 36 for 100, F(5x5, 2x2) 36 for 100. All have the same points 0, +-a, +-b and
 * infinity at which polynomials are multiplied, and so the same B. An axis with one tap has one point and stays as it is.
 * With a = 3/4 and b = 3/2 all constants but those of G are exact, and the error is half of that of the usual 1 and 2.
 *
 * Between the brackets are `points` matrix products of the building block, one for each pair of points:
 *
 *     M[p][t][k] = sum over c of U[p][t][c] W[p][c][k]        t tiles, A = U (broadcast), B = W, lanes are V targets
 *
 * A task is a block of tiles and perhaps a share of the targets. It transforms its sources into U, and then, for each tile of
 * targets, multiplies into M and transforms M into the target: U and M stay in the caches, W streams. Where there are
 * few blocks and many weights, W is made on the way from the taps, which are a quarter as many. With dilation the positions
 * of equal remainder are a convolution without. Backward_data is the same with the taps reversed, as in conv.h. */

#define WINOGRAD_POINTS 6
#define WINOGRAD_A 0.75
#define WINOGRAD_B 1.5

/* ---- transforms of one axis ---------------------------------------------------------------------------------------- */

/* B^T d: the coefficients of d at each point. */
INLINE void winograd_source(const int points, const vec *d, vec *t)
{
    if (points == 1) {
        t[0] = d[0];
        return;
    }
    const vec a = vset1(WINOGRAD_A), b = vset1(WINOGRAD_B);
    const vec minus_a2 = vset1(-WINOGRAD_A * WINOGRAD_A), minus_b2 = vset1(-WINOGRAD_B * WINOGRAD_B);
    const vec both = vset1(WINOGRAD_A * WINOGRAD_A * WINOGRAD_B * WINOGRAD_B);
    const vec minus_sum = vset1(-WINOGRAD_A * WINOGRAD_A - WINOGRAD_B * WINOGRAD_B);
    const vec even_a = vfma(minus_b2, d[2], d[4]), odd_a = vfma(minus_b2, d[1], d[3]);
    const vec even_b = vfma(minus_a2, d[2], d[4]), odd_b = vfma(minus_a2, d[1], d[3]);
    t[0] = vfma(both, d[0], vfma(minus_sum, d[2], d[4]));
    t[1] = vfma(a, odd_a, even_a);
    t[2] = vfma(-a, odd_a, even_a);
    t[3] = vfma(b, odd_b, even_b);
    t[4] = vfma(-b, odd_b, even_b);
    t[5] = vfma(both, d[1], vfma(minus_sum, d[3], d[5]));
}

/* The polynomial g of `count` coefficients at each point. */
INLINE void winograd_evaluate(const int count, const vec *g, vec *t)
{
    if (count == 1) {
        t[0] = g[0];
        return;
    }
    t[0] = g[0];
    for (int half = 0; half < 2; half++) {
        const vec p = vset1(half ? WINOGRAD_B : WINOGRAD_A), p2 = p * p;
        vec even = g[0], odd = g[1];
        if (count == 3) even = vfma(p2, g[2], even);
        if (count >= 4) odd = vfma(p2, g[3], odd);
        if (count == 4) even = vfma(p2, g[2], even);
        if (count == 5) even = vfma(p2, vfma(p2, g[4], g[2]), even);
        t[1 + 2 * half] = vfma(p, odd, even);
        t[2 + 2 * half] = vfma(-p, odd, even);
    }
    t[5] = g[count - 1];
}

/* Its adjoint: y[j] = the sum of p^j t[p] over the points. */
INLINE void winograd_gather(const int count, const vec *t, vec *y)
{
    if (count == 1) {
        y[0] = t[0];
        return;
    }
    const vec a = vset1(WINOGRAD_A), b = vset1(WINOGRAD_B), a2 = a * a, b2 = b * b;
    const vec even_a = t[1] + t[2], even_b = t[3] + t[4], odd_a = a * (t[1] - t[2]), odd_b = b * (t[3] - t[4]);
    y[0] = t[0] + (even_a + even_b);
    y[1] = odd_a + odd_b;
    if (count > 2) y[2] = vfma(a2, even_a, b2 * even_b);
    if (count > 3) y[3] = vfma(a2, odd_a, b2 * odd_b);
    if (count > 4) y[4] = vfma(a2 * a2, even_a, b2 * b2 * even_b);
    y[count - 1] += t[5];
}

/* What makes polynomials at the points of their product: the scale of each point, in G. */
INLINE void winograd_scale(const int points, vec *t)
{
    const double a2 = WINOGRAD_A * WINOGRAD_A, b2 = WINOGRAD_B * WINOGRAD_B;
    if (points == 1) return;
    t[0] *= vset1((real)(1 / (a2 * b2)));
    for (int i = 1; i < 3; i++) t[i] *= vset1((real)(1 / (2 * a2 * (a2 - b2))));
    for (int i = 3; i < 5; i++) t[i] *= vset1((real)(1 / (2 * b2 * (b2 - a2))));
}

/* ---- transforms of a tile: columns first, then rows ------------------------------------------------------------------- */

/* The side of a tile of sources, and its points, along an axis with so many taps. */
INLINE int winograd_points(int64_t taps) { return taps == 1 ? 1 : WINOGRAD_POINTS; }
/* How many targets it makes. */
INLINE int winograd_outputs(int64_t taps) { return taps == 1 ? 1 : WINOGRAD_POINTS + 1 - (int)taps; }

#define WINOGRAD_MOST 6     /* of anything along an axis */

/* points: U[p] at y + p * y_point. */
INLINE void winograd_source_tile(const int rows, const int columns, const real *x, int64_t x_row, int64_t x_column,
                                 real *y, int64_t y_point)
{
    vec half[WINOGRAD_MOST][WINOGRAD_MOST], in[WINOGRAD_MOST], out[WINOGRAD_MOST];
#pragma GCC unroll 6
    for (int j = 0; j < columns; j++) {
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) in[i] = vload(x + i * x_row + j * x_column);
        winograd_source(rows, in, out);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) half[i][j] = out[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
        winograd_source(columns, half[i], out);
#pragma GCC unroll 6
        for (int j = 0; j < columns; j++) vstore(y + (i * columns + j) * y_point, out[j]);
    }
}

/* A tile of rows x columns values -> points, `scaled` for weights. */
INLINE void winograd_evaluate_tile(const int rows, const int columns, const int scaled, const real *x, int64_t x_row,
                                   int64_t x_column, real *y, int64_t y_point)
{
    const int row_points = rows == 1 ? 1 : WINOGRAD_POINTS, column_points = columns == 1 ? 1 : WINOGRAD_POINTS;
    vec half[WINOGRAD_MOST][WINOGRAD_MOST], in[WINOGRAD_MOST], out[WINOGRAD_MOST];
#pragma GCC unroll 6
    for (int j = 0; j < columns; j++) {
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) in[i] = vload(x + i * x_row + j * x_column);
        winograd_evaluate(rows, in, out);
        if (scaled) winograd_scale(row_points, out);
#pragma GCC unroll 6
        for (int i = 0; i < row_points; i++) half[i][j] = out[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < row_points; i++) {
        winograd_evaluate(columns, half[i], out);
        if (scaled) winograd_scale(column_points, out);
#pragma GCC unroll 6
        for (int j = 0; j < column_points; j++) vstore(y + (i * column_points + j) * y_point, out[j]);
    }
}

/* Points -> a tile of rows x columns values, `scaled` for the gradient of weights. */
INLINE void winograd_gather_tile(const int rows, const int columns, const int scaled, const real *x, int64_t x_point,
                                 real *y, int64_t y_row, int64_t y_column)
{
    const int row_points = rows == 1 ? 1 : WINOGRAD_POINTS, column_points = columns == 1 ? 1 : WINOGRAD_POINTS;
    vec half[WINOGRAD_MOST][WINOGRAD_MOST], in[WINOGRAD_MOST], out[WINOGRAD_MOST];
#pragma GCC unroll 6
    for (int i = 0; i < row_points; i++) {
#pragma GCC unroll 6
        for (int j = 0; j < column_points; j++) in[j] = vload(x + (i * column_points + j) * x_point);
        if (scaled) winograd_scale(column_points, in);
        winograd_gather(columns, in, out);
#pragma GCC unroll 6
        for (int j = 0; j < columns; j++) half[j][i] = out[j];
    }
#pragma GCC unroll 6
    for (int j = 0; j < columns; j++) {
        if (scaled) winograd_scale(row_points, half[j]);
        winograd_gather(rows, half[j], out);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) vstore(y + i * y_row + j * y_column, out[i]);
    }
}

/* Both axes, or one: each shape of a tile is code of its own. */
#define WINOGRAD_SHAPES(CASE)                                                                                          \
    CASE(2, 2) CASE(3, 3) CASE(4, 4) CASE(5, 5) CASE(1, 2) CASE(1, 3) CASE(1, 4) CASE(1, 5)                            \
    CASE(2, 1) CASE(3, 1) CASE(4, 1) CASE(5, 1)

static void transform_source(int64_t rows, int64_t columns, const real *x, int64_t x_row, int64_t x_column, real *y,
                             int64_t y_point)
{
    if (rows == 1) winograd_source_tile(1, WINOGRAD_POINTS, x, x_row, x_column, y, y_point);
    else if (columns == 1) winograd_source_tile(WINOGRAD_POINTS, 1, x, x_row, x_column, y, y_point);
    else winograd_source_tile(WINOGRAD_POINTS, WINOGRAD_POINTS, x, x_row, x_column, y, y_point);
}

static void transform_values(int64_t rows, int64_t columns, int scaled, const real *x, int64_t x_row, int64_t x_column,
                             real *y, int64_t y_point)
{
#define TRANSFORM(R, S)                                                                                                \
    if (rows == R && columns == S) {                                                                                   \
        if (scaled) winograd_evaluate_tile(R, S, 1, x, x_row, x_column, y, y_point);                                   \
        else winograd_evaluate_tile(R, S, 0, x, x_row, x_column, y, y_point);                                          \
        return;                                                                                                        \
    }
    WINOGRAD_SHAPES(TRANSFORM)
#undef TRANSFORM
}

static void transform_back(int64_t rows, int64_t columns, int scaled, const real *x, int64_t x_point, real *y,
                           int64_t y_row, int64_t y_column)
{
#define TRANSFORM(R, S)                                                                                                \
    if (rows == R && columns == S) {                                                                                   \
        if (scaled) winograd_gather_tile(R, S, 1, x, x_point, y, y_row, y_column);                                     \
        else winograd_gather_tile(R, S, 0, x, x_point, y, y_row, y_column);                                            \
        return;                                                                                                        \
    }
    WINOGRAD_SHAPES(TRANSFORM)
#undef TRANSFORM
}

/* ---- where tiles lie ---------------------------------------------------------------------------------------------------- */

/* Target i reads the sources i - before + t dilation, t < taps. */
typedef struct {
    int64_t taps, points, outputs, dilation, before, source, target;
    int64_t phases, tiles;          /* remainders of positions by dilation; tiles of each */
} winograd_axis;

static winograd_axis winograd_axis_of(const pycnn_window *w, int axis, int backward)
{
    const int64_t taps = w->kernel[axis], dilation = taps == 1 ? 1 : w->dilation[axis];
    winograd_axis a = {.taps = taps, .points = winograd_points(taps), .outputs = winograd_outputs(taps),
                       .dilation = dilation, .before = w->before[axis], .source = w->in[axis], .target = w->out[axis]};
    if (backward) {
        a.before = dilation * (taps - 1) - a.before;
        a.source = w->out[axis], a.target = w->in[axis];
    }
    a.phases = min64(dilation, a.target);
    a.tiles = ceil_div(ceil_div(a.target, dilation), a.outputs);
    return a;
}

/* The first target of a tile along an axis, the first source it reads, and how many targets it makes. */
typedef struct { int64_t target, source, count; } winograd_place;

INLINE winograd_place winograd_place_of(const winograd_axis *a, int64_t phase, int64_t tile)
{
    winograd_place p = {.target = phase + tile * a->outputs * a->dilation};
    p.source = p.target - a->before;
    p.count = p.target < a->target ? min64(a->outputs, ceil_div(a->target - p.target, a->dilation)) : 0;
    return p;
}

typedef struct { int64_t sample; winograd_place row, column; } winograd_tile;

INLINE int64_t winograd_tiles_of_sample(const winograd_axis axis[2])
{
    return axis[0].phases * axis[1].phases * axis[0].tiles * axis[1].tiles;
}

static winograd_tile winograd_tile_of(const winograd_axis axis[2], int64_t number)
{
    const int64_t column = number % axis[1].tiles, row = number / axis[1].tiles % axis[0].tiles;
    const int64_t phase = number / (axis[0].tiles * axis[1].tiles);
    return (winograd_tile){.sample = phase / (axis[0].phases * axis[1].phases),
                           .row = winograd_place_of(&axis[0], phase / axis[1].phases % axis[0].phases, row),
                           .column = winograd_place_of(&axis[1], phase % axis[1].phases, column)};
}

/* The tile of values of a plane (height x width vectors) from `row` and `column` on, `rows` x `columns` of them: in place
   where it is inside, else copied into `copy` with zeros around it. */
typedef struct { const real *at; int64_t row, column; } winograd_values;

static winograd_values winograd_tile_values(const winograd_axis axis[2], const real *plane, int64_t height, int64_t width,
                                            int64_t row, int64_t column, int64_t rows, int64_t columns, real *copy)
{
    const int64_t row_step = axis[0].dilation, column_step = axis[1].dilation;
    if (row >= 0 && row + (rows - 1) * row_step < height && column >= 0 && column + (columns - 1) * column_step < width)
        return (winograd_values){plane + (row * width + column) * V, row_step * width * V, column_step * V};
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            const int64_t h = row + i * row_step, w = column + j * column_step;
            const int inside = h >= 0 && h < height && w >= 0 && w < width;
            vstore(copy + (i * columns + j) * V, inside ? vload(plane + (h * width + w) * V) : vset1(0));
        }
    return (winograd_values){copy, columns * V, V};
}

/* Asks for a tile of vectors. */
INLINE void winograd_fetch(const real *at, int64_t row, int64_t column, int64_t rows, int64_t columns, const int write)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            if (write) __builtin_prefetch(at + i * row + j * column, 1);
            else __builtin_prefetch(at + i * row + j * column);
}

#define WINOGRAD_AHEAD 2        /* tiles from the one at work to the one whose memory is asked for */

/* ---- the pass as prepared ------------------------------------------------------------------------------------------------ */

typedef struct {
    pycnn_conv shape;
    int backward;
    winograd_axis axis[2];
    int64_t sources, targets, points;
    int64_t units, unit_tiles;              /* vectors of targets, and into how many register tiles they go */
    int64_t tiles, blocks, block, tile_rows;    /* tiles; tasks along them; most tiles of a task; of a register tile */
    int64_t splits;                         /* tasks along the targets */
    int64_t u_row, u_point, m_point, w_point;   /* strides of U, M and W, in reals */
    int late;                               /* tasks transform their weights, `run` sources at a time */
    int64_t run;
    int64_t bias_size;
} winograd_pass;

#define WINOGRAD_BLOCK_BYTES (640 * 1024)   /* of U in the second-level cache, where a block of FEWEST_TILES allows it */
#define WINOGRAD_FEWEST_TILES 32            /* of a block: each weight that streams by is used as often, */
#define WINOGRAD_MOST_TILES 64              /* more often where weights come from far */
#define WINOGRAD_FAR_BYTES (2 * 1024 * 1024)
#define WINOGRAD_FEWEST_TASKS 4
#define WINOGRAD_LATE_BLOCKS 4              /* of tiles, for which it takes less time to make W again than to store it, */
#define WINOGRAD_LATE_BYTES (16 * 1024 * 1024)  /* if W is as large */
#define WINOGRAD_WEIGHT_BYTES (384 * 1024)  /* of W in the second-level cache, where tasks make it */

/* The points of a tile are an odd number of vectors apart, so that they do not fall on the same few lines of a cache. */
INLINE int64_t odd_vectors(int64_t reals) { return (reals / V | 1) * V; }

static winograd_pass build_winograd(const pycnn_conv *shape, int backward)
{
    const pycnn_window *w = &shape->window;
    winograd_pass c = {.shape = *shape, .backward = backward, .sources = backward ? shape->k : shape->c,
                       .targets = backward ? shape->c : shape->k};
    for (int a = 0; a < 2; a++) c.axis[a] = winograd_axis_of(w, a + 1, backward);
    c.points = c.axis[0].points * c.axis[1].points;
    c.units = ceil_div(c.targets, V);
    c.bias_size = c.units * V;
    c.tiles = shape->n * winograd_tiles_of_sample(c.axis);

    c.u_row = round_up(c.sources, V) + V;
    const int64_t tile_bytes = c.points * c.u_row * (int64_t)sizeof(real);
    const int64_t weight_bytes = c.points * c.sources * c.units * V * (int64_t)sizeof(real);
    const int64_t near = min64(WINOGRAD_MOST_TILES, WINOGRAD_BLOCK_BYTES / tile_bytes);
    const int64_t wanted = weight_bytes > WINOGRAD_FAR_BYTES ? WINOGRAD_MOST_TILES : max64(WINOGRAD_FEWEST_TILES, near);
    c.blocks = ceil_div(c.tiles, wanted);
    if (c.blocks > 1 && c.blocks < 4 * WINOGRAD_FEWEST_TASKS) c.blocks = round_up(c.blocks, 2);
    c.block = ceil_div(c.tiles, c.blocks);
    const brgemm_cut cut = brgemm_choose_cut(c.block, c.units, c.sources);
    c.unit_tiles = cut.j_parts;
    c.tile_rows = ceil_div(c.block, cut.i_parts);
    c.splits = min64(c.unit_tiles, ceil_div(WINOGRAD_FEWEST_TASKS, c.blocks));
    c.u_point = odd_vectors(c.block * c.u_row);
    c.m_point = odd_vectors(c.block * ceil_div(c.units, c.unit_tiles) * V);
    const int64_t tile_width = ceil_div(c.units, c.unit_tiles) * V;
    c.late = c.blocks <= WINOGRAD_LATE_BLOCKS && weight_bytes > WINOGRAD_LATE_BYTES;
    c.run = c.sources;
    if (c.late) c.run = min64(c.sources, max64(V, WINOGRAD_WEIGHT_BYTES / (c.points * tile_width * (int64_t)sizeof(real))));
    c.w_point = odd_vectors(c.run * tile_width);
    return c;
}

/* ---- packed weights ------------------------------------------------------------------------------------------------------ */

/* Bias, then W as [tile of units][point][source][unit of the tile][V], or, where tasks transform their weights themselves, the
   taps as [unit][source][tap][V]. */
static int64_t winograd_packed_size(const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout, int backward)
{
    (void)layout, (void)x_layout;
    const winograd_pass c = build_winograd(shape, backward);
    const int64_t taps = c.axis[0].taps * c.axis[1].taps;
    return c.bias_size + (c.late ? c.units * c.sources * taps * V : c.unit_tiles * c.points * c.w_point);
}

typedef struct { winograd_pass pass; const real *w, *bias; real *packed; } winograd_pack_args;

#define WINOGRAD_PACK_SOURCES 16        /* source channels of a task */

/* The taps of `count` source channels from `source` on, for the V targets of a unit: [source][tap][V]. */
static void winograd_taps(const winograd_pass *c, const real *w, int64_t unit, int64_t source, int64_t count, real *taps)
{
    const int64_t per_pair = c->axis[0].taps * c->axis[1].taps, per_filter = c->shape.c * per_pair, target = unit * V;
    const int64_t lanes = min64(V, c->targets - target), runs = c->backward ? count : 1, length = count / runs * per_pair;
    for (int64_t run = 0; run < runs; run++) {
        const real *rows[V];
        for (int64_t l = 0; l < V; l++) {
            const int64_t t = target + min64(l, lanes - 1);
            rows[l] = c->backward ? w + (source + run) * per_filter + t * per_pair : w + t * per_filter + source * per_pair;
        }
        rows_to_lanes(rows, length, taps + run * length * V);
    }
    if (lanes < V) clear_lanes(taps, count * per_pair, lanes);
}

/* Taps [source][tap][V] of `count` sources -> a unit's part of W, rows of `width` reals. */
static void winograd_transform_weights(const winograd_pass *c, const real *taps, int64_t count, int64_t width, real *w)
{
    const int64_t rows = c->axis[0].taps, columns = c->axis[1].taps, per_pair = rows * columns;
    const int64_t first = c->backward ? (per_pair - 1) * V : 0, step = c->backward ? -V : V;
    for (int64_t s = 0; s < count; s++, taps += per_pair * V) {
        winograd_fetch(taps + WINOGRAD_AHEAD * per_pair * V, columns * V, V, rows, columns, 0);
        transform_values(rows, columns, 1, taps + first, columns * step, step, w + s * width, c->w_point);
    }
}

static void run_winograd_pack(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const winograd_pack_args *a = args;
    const winograd_pass *c = &a->pass;
    const int64_t per_pair = c->axis[0].taps * c->axis[1].taps;
    real *packed = a->packed + c->bias_size;
    for (int64_t task = begin; task < end; task++) {
        const int64_t source = task * WINOGRAD_PACK_SOURCES, count = min64(WINOGRAD_PACK_SOURCES, c->sources - source);
        for (int64_t tile = 0; tile < c->unit_tiles; tile++) {
            const int64_t first = part_begin(c->units, c->unit_tiles, tile), last = part_begin(c->units, c->unit_tiles, tile + 1);
            const int64_t width = (last - first) * V;
            for (int64_t unit = first; unit < last; unit++) {
                real *taps = c->late ? packed + (unit * c->sources + source) * per_pair * V : scratch;
                winograd_taps(c, a->w, unit, source, count, taps);
                if (!c->late)
                    winograd_transform_weights(c, taps, count, width,
                                     packed + tile * c->points * c->w_point + source * width + (unit - first) * V);
            }
        }
        for (int64_t l = 0; l < c->bias_size && !source; l++) a->packed[l] = a->bias && l < c->targets ? a->bias[l] : 0;
    }
}

static int winograd_pack(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                         int backward, const void *w, const void *bias, void *packed)
{
    (void)layout, (void)x_layout;
    const winograd_pack_args a = {.pass = build_winograd(shape, backward), .w = w, .bias = bias, .packed = packed};
    const winograd_pass *c = &a.pass;
    return PREPARE(step, run_winograd_pack, ceil_div(c->sources, WINOGRAD_PACK_SOURCES),
                   (size_t)(WINOGRAD_PACK_SOURCES * c->axis[0].taps * c->axis[1].taps * V) * sizeof(real), a);
}

/* ---- running ----------------------------------------------------------------------------------------------------------------- */

typedef struct {
    winograd_pass pass;
    pycnn_activation forward, backward;
    int has_pool;
    pycnn_window pool;
    const real *source, *packed, *activated, *added;
    real *target;
    lane_int *indices;
} winograd_args;

/* Whether windows of pooling lie within tiles, so that the full map need not be written. */
INLINE int winograd_fuses_pool(const pycnn_conv *shape, const pycnn_window *pool)
{
    for (int a = 1; a < 3; a++) {
        const int64_t side = pool->kernel[a], outputs = winograd_outputs(shape->window.kernel[a]);
        if (side != pool->stride[a] || pool->before[a] || outputs % side || pool->out[a] * side > pool->in[a]) return 0;
        if (shape->window.dilation[a] != 1 || (side > 1 && pool->dilation[a] != 1)) return 0;
    }
    return pool->kernel[0] == 1 && pool->in[0] == 1;
}

/* Tiles of the source's `channels` -> U. */
static void winograd_sources(const winograd_axis axis[2], int64_t channels, const real *source, const winograd_tile *tiles,
                             int64_t count, real *u, int64_t u_row, int64_t u_point)
{
    const int64_t plane = axis[0].source * axis[1].source * V, vectors = ceil_div(channels, V);
    real copy[WINOGRAD_MOST * WINOGRAD_MOST * V];
    const int64_t row = axis[0].dilation * axis[1].source * V, column = axis[1].dilation * V;
    for (int64_t v = 0; v < vectors; v++)
        for (int64_t t = 0; t < count; t++) {
            const winograd_tile *tile = &tiles[t], *next = &tiles[min64(t + WINOGRAD_AHEAD, count - 1)];
            /* The part that the tiles before it in its row and column do not share. */
            winograd_fetch(source + (next->sample * vectors + v) * plane
                               + ((next->row.target + axis[0].dilation) * axis[1].source + next->column.target) * V + column,
                           row, column, axis[0].outputs, axis[1].outputs, 0);
            const winograd_values x = winograd_tile_values(axis, source + (tile->sample * vectors + v) * plane,
                                                           axis[0].source, axis[1].source, tile->row.source,
                                                           tile->column.source, axis[0].points, axis[1].points, copy);
            transform_source(axis[0].points, axis[1].points, x.at, x.row, x.column, u + t * u_row + v * V, u_point);
        }
}

/* A tile of targets from the sums at its points: bias, activation or mask, pooling. */
static void winograd_target(const winograd_args *a, const winograd_tile *tile, int64_t unit, const real *m)
{
    const winograd_pass *c = &a->pass;
    const winograd_axis *axis = c->axis;
    const int64_t rows = axis[0].outputs, columns = axis[1].outputs;
    real values[WINOGRAD_MOST * WINOGRAD_MOST * V];
    const vec bias = vload(a->packed + unit * V);
    transform_back(rows, columns, 0, m, c->m_point, values, columns * V, V);
    for (int64_t i = 0; i < rows * columns * V; i += V) vstore(values + i, vload(values + i) + bias);
    if (a->has_pool) {
        const pycnn_window *w = &a->pool;
        const int64_t h = w->kernel[1], s = w->kernel[2];
        const tap_box taps = {.count = {1, h, s}, .step = {0, columns * V, V}, .row_number = (lane_int)s};
        const int64_t first = tile->column.target / s, count = min64(tile->column.count / s, w->out[2] - first);
        for (int64_t i = 0; i < tile->row.count / h && tile->row.target / h + i < w->out[1]; i++) {
            const int64_t at = (((tile->sample * c->units + unit) * w->out[1] + tile->row.target / h + i) * w->out[2] + first) * V;
            real *y = a->target + at;
            if (a->indices) max_span_of_shape(&taps, 1, values + i * h * columns * V, s * V, count, y, a->indices + at);
            else max_span_of_shape(&taps, 0, values + i * h * columns * V, s * V, count, y, NULL);
            activate(a->forward, y, count * V);
        }
        return;
    }
    const int64_t plane = (tile->sample * c->units + unit) * axis[0].target * axis[1].target * V;
    const int64_t row_step = axis[0].dilation * axis[1].target * V, step = axis[1].dilation * V;
    const int64_t first = plane + (tile->row.target * axis[1].target + tile->column.target) * V;
    const int plain = a->forward.kind == PYCNN_IDENTITY && !a->activated;
    const vec alpha = vset1((real)a->forward.alpha), slope = vset1((real)a->backward.alpha);
    for (int64_t i = 0; i < tile->row.count; i++) {
        const real *from = values + i * columns * V;
        real *to = a->target + first + i * row_step;
        for (int64_t j = 0; j < tile->column.count; j++, from += V, to += step) {
            vec y = vload(from);
            if (a->added) y += vload(a->added + (to - a->target));
            if (!plain) {
                y = activation_of(a->forward.kind, alpha, y);
                if (a->activated) y = gradient_of(a->backward.kind, slope, vload(a->activated + (to - a->target)), y);
            }
            vstore(to, y);
        }
    }
}

INLINE void fetch_target(const winograd_args *a, const winograd_tile *tile, int64_t unit)
{
    const winograd_axis *axis = a->pass.axis;
    const int64_t plane = (tile->sample * a->pass.units + unit) * axis[0].target * axis[1].target * V;
    winograd_fetch(a->target + plane + (tile->row.target * axis[1].target + tile->column.target) * V,
                   axis[0].dilation * axis[1].target * V, axis[1].dilation * V, tile->row.count, tile->column.count, 1);
}

/* M of a tile of units: products of U with W, which is packed or made here from the taps, a run of sources at a time. */
static void winograd_products(const winograd_args *a, int64_t tile, int64_t count, const real *u, real *w, real *m)
{
    const winograd_pass *c = &a->pass;
    static const real zero[V];
    const real *packed = a->packed + c->bias_size;
    const int64_t taps = c->axis[0].taps * c->axis[1].taps, parts = ceil_div(count, c->tile_rows);
    const int64_t unit = part_begin(c->units, c->unit_tiles, tile);
    const int64_t units = part_begin(c->units, c->unit_tiles, tile + 1) - unit, width = units * V;
    for (int64_t source = 0; source < c->sources; source += c->run) {
        const brgemm_run run = {.length = (int32_t)min64(c->run, c->sources - source)};
        const real *weights = c->late ? w : packed + tile * c->points * c->w_point;
        for (int64_t j = 0; j < units && c->late; j++)
            winograd_transform_weights(c, packed + ((unit + j) * c->sources + source) * taps * V, run.length, width, w + j * V);
        for (int64_t p = 0; p < c->points; p++)
            for (int64_t part = 0; part < parts; part++) {
                const int64_t t = part_begin(count, parts, part);
                brgemm_args g = {.a = u + p * c->u_point + t * c->u_row + source, .a_i = c->u_row, .a_k = 1,
                                 .b = weights + p * c->w_point, .b_j = V, .b_k = width, .init = zero,
                                 .c = m + p * c->m_point + t * width, .c_i = width, .c_j = V,
                                 .runs = &run, .run_count = 1, .floor = -INFINITY};
                if (source) g.init = g.c, g.init_i = g.c_i, g.init_j = g.c_j;
                brgemm(part_begin(count, parts, part + 1) - t, units, &g);
            }
    }
}

static void run_winograd(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const winograd_args *a = args;
    const winograd_pass *c = &a->pass;
    real *u = scratch, *m = u + c->points * c->u_point, *w = m + c->points * c->m_point;
    winograd_tile *tiles = (winograd_tile *)(w + (c->late ? c->points * c->w_point : 0));
    for (int64_t task = begin; task < end; task++) {
        const int64_t block = task / c->splits, split = task % c->splits;
        const int64_t first = part_begin(c->tiles, c->blocks, block), count = part_begin(c->tiles, c->blocks, block + 1) - first;
        for (int64_t t = 0; t < count; t++) tiles[t] = winograd_tile_of(c->axis, first + t);
        winograd_sources(c->axis, c->sources, a->source, tiles, count, u, c->u_row, c->u_point);
        for (int64_t tile = part_begin(c->unit_tiles, c->splits, split);
             tile < part_begin(c->unit_tiles, c->splits, split + 1); tile++) {
            const int64_t unit = part_begin(c->units, c->unit_tiles, tile);
            const int64_t units = part_begin(c->units, c->unit_tiles, tile + 1) - unit;
            winograd_products(a, tile, count, u, w, m);
            for (int64_t j = 0; j < units; j++)
                for (int64_t t = 0; t < count; t++) {
                    if (!a->has_pool) fetch_target(a, &tiles[min64(t + WINOGRAD_AHEAD, count - 1)], unit + j);
                    winograd_target(a, &tiles[t], unit + j, m + (t * units + j) * V);
                }
        }
    }
}

static int prepare_winograd(pycnn_step *step, winograd_args a)
{
    const winograd_pass *c = &a.pass;
    return PREPARE(step, run_winograd, c->blocks * c->splits,
                   (size_t)(c->points * (c->u_point + c->m_point + (c->late ? c->w_point : 0))) * sizeof(real)
                       + (size_t)c->block * sizeof(winograd_tile), a);
}

static int winograd_forward(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                            pycnn_activation activation, const pycnn_window *pool,
                            const void *x, const void *packed, const void *added, void *y, void *indices)
{
    (void)layout, (void)x_layout;
    winograd_args a = {.pass = build_winograd(shape, 0), .forward = activation, .has_pool = pool != NULL, .source = x,
                       .packed = packed, .added = added, .target = y, .indices = indices};
    if (pool) a.pool = *pool;
    return prepare_winograd(step, a);
}

static int winograd_backward_data(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                                  pycnn_activation forward, pycnn_activation backward,
                                  const void *dy, const void *packed, const void *x, const void *added, void *dx)
{
    (void)layout, (void)x_layout;
    return prepare_winograd(step, (winograd_args){.pass = build_winograd(shape, 1), .forward = forward, .backward = backward,
                                                  .source = dy, .packed = packed, .activated = x, .added = added,
                                                  .target = dx});
}
