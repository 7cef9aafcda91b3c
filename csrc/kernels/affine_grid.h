/* Where an affine map takes the positions of a grid (Jaderberg et al. 2015, arXiv:1506.02025, eq. 1). PLAIN.
 *
 *     grid[n][q][a] = sum over b of theta[n][a][b] base[b](q) + theta[n][a][rank]
 *     base[b](q) = (2 q_b + 1 - size_b) / size_b, or / (size_b - 1) with align_corners: from -1 to 1
 *     dtheta[n][a][b] = sum over q of dgrid[n][q][a] base[b](q),    dtheta[n][a][rank] = sum of dgrid[n][q][a]
 *
 * Coordinates a and b count from the last axis: x, y, z. The coordinates of a row of positions are neighbours in memory, so
 * that vector k of every `rank` vectors has the coordinates (k V + l) mod rank in its lanes l, and reads the columns
 * (k V + l) / rank. Bound by memory. */
enum { MOST_AXES = 3 };

typedef struct {
    int64_t rank, size[3];      /* along x, y, z */
    real divisor[3];
    const real *theta, *dgrid;
    real *grid, *dtheta;
} affine_args;

static affine_args affine_of(int64_t rank, const int64_t size[3], int align_corners)
{
    affine_args g = {.rank = rank};
    for (int b = 0; b < 3; b++) {
        g.size[b] = size[2 - b];
        g.divisor[b] = (real)max64(1, size[2 - b] - (align_corners != 0));
    }
    return g;
}

INLINE int64_t grid_rows(const affine_args *g) { return g->size[1] * g->size[2]; }

/* Coordinate b of number q along its axis. */
INLINE vec base_of(const affine_args *g, const int b, vec q)
{
    return (q + q + vset1((real)(1 - g->size[b]))) / vset1(g->divisor[b]);
}

/* The columns of the first `rank` vectors of a row; later ones are V further with every `rank` vectors. */
static void first_columns(int64_t rank, vec columns[MOST_AXES])
{
    real lanes[V];
    for (int64_t k = 0; k < rank; k++) {
        for (int64_t l = 0; l < V; l++) lanes[l] = (real)((k * V + l) / rank);
        columns[k] = vload(lanes);
    }
}

/* Column b of theta, spread over the lanes of the first `rank` vectors. */
static void spread_column(const affine_args *g, const real *theta, int64_t b, vec spread[MOST_AXES])
{
    real lanes[V];
    for (int64_t k = 0; k < g->rank; k++) {
        for (int64_t l = 0; l < V; l++) lanes[l] = theta[(k * V + l) % g->rank * (g->rank + 1) + b];
        spread[k] = vload(lanes);
    }
}

static void run_affine_grid_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const affine_args *g = args;
    const int64_t rows = grid_rows(g), length = g->size[0] * g->rank;
    vec columns[MOST_AXES], slopes[MOST_AXES + 1][MOST_AXES], offsets[MOST_AXES];
    (void)scratch;
    first_columns(g->rank, columns);
    for (int64_t row = begin; row < end; row++) {
        const int64_t n = row / rows, y = row % rows % g->size[1], z = row % rows / g->size[1];
        if (row == begin || row % rows == 0)
            for (int64_t b = 0; b <= g->rank; b++)
                spread_column(g, g->theta + n * g->rank * (g->rank + 1), b, slopes[b]);
        for (int64_t k = 0; k < g->rank; k++) {
            offsets[k] = slopes[g->rank][k];
            if (g->rank > 1) offsets[k] = vfma(slopes[1][k], base_of(g, 1, vset1((real)y)), offsets[k]);
            if (g->rank > 2) offsets[k] = vfma(slopes[2][k], base_of(g, 2, vset1((real)z)), offsets[k]);
        }
        real *grid = g->grid + row * length;
        for (int64_t from = 0; from < g->size[0]; from += V)
            for (int64_t k = 0, i = from * g->rank; k < g->rank && i < length; k++, i += V) {
                const vec base = base_of(g, 0, columns[k] + vset1((real)from));
                vstore_upto(grid + i, vfma(slopes[0][k], base, offsets[k]), length - i);
            }
    }
}

static int affine_grid_forward(pycnn_step *step, int64_t n, int64_t rank, const int64_t size[3], int align_corners,
                               const void *theta, void *grid)
{
    affine_args g = affine_of(rank, size, align_corners);
    g.theta = theta, g.grid = grid;
    return PREPARE(step, run_affine_grid_forward, n * grid_rows(&g), 0, g);
}

static void run_affine_grid_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const affine_args *g = args;
    const int64_t rows = grid_rows(g), length = g->size[0] * g->rank;
    vec columns[MOST_AXES];
    (void)scratch;
    first_columns(g->rank, columns);
    for (int64_t n = begin; n < end; n++) {
        vec sums[MOST_AXES + 1][MOST_AXES] = {{{0}}};
        for (int64_t row = 0; row < rows; row++) {
            const real *dgrid = g->dgrid + (n * rows + row) * length;
            vec of_row[MOST_AXES] = {{0}};
            for (int64_t from = 0; from < g->size[0]; from += V)
                for (int64_t k = 0, i = from * g->rank; k < g->rank && i < length; k++, i += V) {
                    const vec d = vload_upto(dgrid + i, length - i);
                    of_row[k] += d;
                    sums[0][k] = vfma(d, base_of(g, 0, columns[k] + vset1((real)from)), sums[0][k]);
                }
            for (int64_t k = 0; k < g->rank; k++) {
                if (g->rank > 1) sums[1][k] = vfma(of_row[k], base_of(g, 1, vset1((real)(row % g->size[1]))), sums[1][k]);
                if (g->rank > 2) sums[2][k] = vfma(of_row[k], base_of(g, 2, vset1((real)(row / g->size[1]))), sums[2][k]);
                sums[g->rank][k] += of_row[k];
            }
        }
        real *dtheta = g->dtheta + n * g->rank * (g->rank + 1);
        memset(dtheta, 0, (size_t)(g->rank * (g->rank + 1)) * sizeof *dtheta);
        for (int64_t b = 0; b <= g->rank; b++)
            for (int64_t k = 0; k < g->rank; k++) {
                real lanes[V];
                vstore(lanes, sums[b][k]);
                for (int64_t l = 0; l < V; l++) dtheta[(k * V + l) % g->rank * (g->rank + 1) + b] += lanes[l];
            }
    }
}

static int affine_grid_backward(pycnn_step *step, int64_t n, int64_t rank, const int64_t size[3], int align_corners,
                                const void *dgrid, void *dtheta)
{
    affine_args g = affine_of(rank, size, align_corners);
    g.dgrid = dgrid, g.dtheta = dtheta;
    return PREPARE(step, run_affine_grid_backward, n, 0, g);
}
