/* The axes of every sample in another order: y[o_0, o_1, o_2, o_3] = x[i_0, i_1, i_2, i_3] with o_a = i_axes[a].
 *
 * Elements are reals, in PLAIN, or vectors: of samples, or of channels that stay where they are. The gradient is the
 * same kernel with the inverse order. Axes that stay neighbours are one. If the last one stays last, runs of it are
 * copied; else two axes matter: that along which x is contiguous and that along which y is. They span matrices that
 * are transposed, in blocks that the nearest caches hold: reals in squares of V rows of V, in registers, or where one
 * side is that of a few channels, as pixels that are interleaved; vectors one by one. Bound by memory. */

#define PERMUTE_BLOCK 64                /* elements of a block's edge */

/* Sizes in the order of y; strides in elements. `across` is the axis along which x is contiguous; y is along the last. */
typedef struct {
    int rank, across;
    int64_t n, unit, size[4], x_stride[4], y_stride[4];
    int64_t blocks_down, blocks_along;  /* of a matrix: along `across`, and along the last axis */
    int64_t matrices;                   /* of a sample */
    pixel_lanes lanes;                  /* where one side of them is at most MOST_INTERLEAVED */
    const real *x;
    real *y;
} permute_args;

/* Offsets in x and y of a matrix of a sample: the first element of the given number along all axes but two. */
INLINE void begin_of_matrix(const permute_args *p, int64_t matrix, int64_t *x, int64_t *y)
{
    *x = *y = 0;
    for (int a = p->rank - 2; a >= 0; a--) {
        if (a == p->across) continue;
        *x += matrix % p->size[a] * p->x_stride[a];
        *y += matrix % p->size[a] * p->y_stride[a];
        matrix /= p->size[a];
    }
}

/* y[j][i] = x[i][j] for i < rows and j < columns of reals, both at most V. */
INLINE void transpose_square(const real *x, int64_t x_stride, int64_t rows, int64_t columns, real *y, int64_t y_stride)
{
    vec t[V];
    if (rows == V && columns == V) {
#pragma GCC unroll 16
        for (int l = 0; l < V; l++) t[l] = vload(x + l * x_stride);
        transpose_vectors(t);
#pragma GCC unroll 16
        for (int l = 0; l < V; l++) vstore(y + l * y_stride, t[l]);
        return;
    }
    for (int64_t l = 0; l < V; l++) t[l] = l < rows ? vload_upto(x + l * x_stride, columns) : vset1(0);
    transpose_vectors(t);
    for (int64_t l = 0; l < columns; l++) vstore_upto(y + l * y_stride, t[l], rows);
}

/* Rows of x are along the last axis of y, columns along `across`. */
INLINE void transpose_block(const permute_args *p, const real *x, int64_t rows, int64_t columns, real *y)
{
    const int64_t x_stride = p->x_stride[p->rank - 1] * p->unit, y_stride = p->y_stride[p->across] * p->unit;
    if (p->unit == 1 && y_stride == rows && rows <= MOST_INTERLEAVED) {
        interleave(&p->lanes, x, x_stride, rows, columns, y);
    } else if (p->unit == 1 && x_stride == columns && columns <= MOST_INTERLEAVED) {
        pixels_to_rows(&p->lanes, x, columns, rows, y, y_stride);
    } else if (p->unit == 1) {
        for (int64_t j = 0; j < columns; j += V)
            for (int64_t i = 0; i < rows; i += V)
                transpose_square(x + i * x_stride + j, x_stride, min64(V, rows - i), min64(V, columns - j),
                                 y + j * y_stride + i, y_stride);
    } else {
        for (int64_t j = 0; j < columns; j++)
            for (int64_t i = 0; i < rows; i++) vstore(y + j * y_stride + i * V, vload(x + i * x_stride + j * V));
    }
}

static void run_permute(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const permute_args *p = args;
    const int64_t rows = p->size[p->rank - 1], columns = p->size[p->across], blocks = p->blocks_down * p->blocks_along;
    const int64_t sample = p->matrices * rows * columns;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const int64_t block = task % blocks, matrix = task / blocks;
        const int64_t i = block % p->blocks_along * PERMUTE_BLOCK, j = block / p->blocks_along * PERMUTE_BLOCK;
        int64_t x, y;
        begin_of_matrix(p, matrix % p->matrices, &x, &y);
        x += matrix / p->matrices * sample + i * p->x_stride[p->rank - 1] + j;
        y += matrix / p->matrices * sample + i + j * p->y_stride[p->across];
        transpose_block(p, p->x + x * p->unit, min64(PERMUTE_BLOCK, rows - i), min64(PERMUTE_BLOCK, columns - j),
                        p->y + y * p->unit);
    }
}

/* The last axis stays where it is: a task copies so many runs of it. */
#define RUNS_PER_TASK(p) max64(1, ELEMENTS_PER_TASK / ((p)->size[(p)->rank - 1] * (p)->unit))

static void run_permute_runs(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const permute_args *p = args;
    const int64_t length = p->size[p->rank - 1], each = RUNS_PER_TASK(p), last = min64(p->n * p->matrices, end * each);
    (void)scratch;
    for (int64_t run = begin * each; run < last; run++) {
        int64_t x, y;
        begin_of_matrix(p, run % p->matrices, &x, &y);
        const int64_t sample = run / p->matrices * p->matrices * length;
        const real *from = p->x + (sample + x) * p->unit;
        real *to = p->y + (sample + y) * p->unit;
        if (p->unit == 1) memcpy(to, from, (size_t)length * sizeof(real));
        else for (int64_t i = 0; i < length * V; i += V) vstore(to + i, vload(from + i));
    }
}

/* Axes of one element are left out, and those of y that follow each other in x too become one. */
static permute_args joined_axes(const int64_t size[4], const int axes[4])
{
    permute_args p = {0};
    int64_t x_stride[4] = {1, 1, 1, 1}, y_stride = 1;
    for (int a = 2; a >= 0; a--) x_stride[a] = x_stride[a + 1] * size[a + 1];
    for (int o = 0; o < 4; o++) {
        const int a = axes[o], last = p.rank - 1;
        if (size[a] == 1) continue;
        if (p.rank && p.x_stride[last] == size[a] * x_stride[a])
            p.size[last] *= size[a], p.x_stride[last] = x_stride[a];
        else
            p.size[p.rank] = size[a], p.x_stride[p.rank++] = x_stride[a];
    }
    if (!p.rank) p.size[p.rank] = 1, p.x_stride[p.rank++] = 1;
    for (int o = p.rank - 1; o >= 0; o--) {
        p.y_stride[o] = y_stride, y_stride *= p.size[o];
        if (p.x_stride[o] == 1) p.across = o;
    }
    return p;
}

static int permute(pycnn_step *step, pycnn_layout layout, int64_t n, const int64_t size[4], const int axes[4],
                   const void *x, void *y)
{
    permute_args p = joined_axes(size, axes);
    p.unit = layout == PYCNN_PLAIN ? 1 : V;
    p.n = n, p.x = x, p.y = y, p.matrices = 1;
    const int last = p.rank - 1;
    for (int a = 0; a < last; a++)
        if (a != p.across) p.matrices *= p.size[a];
    if (p.across == last)
        return PREPARE(step, run_permute_runs, ceil_div(n * p.matrices, RUNS_PER_TASK(&p)), 0, p);
    if (p.size[last] <= MOST_INTERLEAVED) find_pixel_lanes(p.size[last], &p.lanes);
    else find_row_lanes(p.size[p.across], &p.lanes);
    p.blocks_along = ceil_div(p.size[last], PERMUTE_BLOCK), p.blocks_down = ceil_div(p.size[p.across], PERMUTE_BLOCK);
    return PREPARE(step, run_permute, n * p.matrices * p.blocks_down * p.blocks_along, 0, p);
}
